"""An experiment: which family of models is trained on which data.

:mod:`pixelvae.experiments.command_line` makes a command line of it. Imports no Theano, so that this
can still choose the device.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pixelvae.experiments import together
from pixelvae.machine.console.command import path, path_or_name
from pixelvae.machine.errors import UserError
from pixelvae.models.family import Family, Preset

if TYPE_CHECKING:
    from pixelvae.models.weights import Weights


@dataclass(frozen=True)
class Experiment:
    """A family of models on data.

    Parameters
    ----------
    prog, doc
        The script's name, and its docstring.
    family
        The models.
    data
        The name of the data set for each image shape (C, H, W). Presets for other shapes are not
        offered; those for any size take the first data set by default.
    default
        The preset that is trained unless another is named.
    splits
        What a finished training is tested on.
    folder
        A run's folder by default, with the names of options in braces.
    picture_files
        Whether its data are files of pictures, of which damaged ones can be left out.
    """

    prog: str
    doc: str
    family: Family
    data: Mapping[tuple[int, int, int], str]
    default: str
    splits: Sequence[str] = ("valid", "test")
    folder: str = "runs/{preset}"
    picture_files: bool = False

    @property
    def presets(self) -> dict[str, Preset]:
        """What can be trained, by name."""
        return {
            name: preset
            for name, preset in self.family.presets.items()
            if preset.any_size or preset.settings.image_shape in self.data
        }

    def data_for(self, preset: Preset) -> str:
        """The name of the data set that a preset is trained on by default."""
        return self.data.get(preset.settings.image_shape, next(iter(self.data.values())))

    def open_data(self, options: argparse.Namespace, name: str, image_shape: tuple[int, int, int]):
        """The data set that the options of :meth:`add_data_options` name, else the one of ``name``.

        A folder or zip of pictures is converted to images (C, H, W) of ``image_shape``.
        """
        return together.open_data(
            options.data or name,
            options.source,
            image_size=image_shape[1],
            skip_damaged=self.picture_files and options.skip_damaged,
        )

    def add_data_options(self, parser: argparse.ArgumentParser, default: str) -> None:
        """Add what names the data; ``default`` is what help gives as the default."""
        kinds = "a data set's name, a .npz file"
        if self.picture_files:
            kinds += ", a folder or zip of pictures"
            parser.add_argument(
                "--skip-damaged", action="store_true", help="leave damaged pictures out, counted"
            )
        parser.add_argument("--data", type=path_or_name, help=f"{kinds} (default: {default})")
        parser.add_argument(
            "--source", type=path, metavar="DIR", help="the folder with the data set's source files"
        )

    def size_words(self, image_shape: tuple[int, int, int]) -> list[str]:
        """The options that bring its data to images (C, H, W); none if they come in one size."""
        return []

    def load(self, options: argparse.Namespace) -> Weights:
        """The weights that the options name. Raises UserError if they are of another family."""
        return together.load(options.weights, self.family, **self.modes(options))

    def modes(self, options: argparse.Namespace) -> dict[str, str]:
        """How models are to be evaluated, from the options."""
        return {mode.name: getattr(options, mode.name) for mode in self.family.modes}

    def open_data_of(self, options: argparse.Namespace, weights: Weights) -> Any:
        """The data set asked for, or the one that the weights were trained on.

        Raises UserError if it cannot be had, or does not fit the model.
        """
        name = "" if options.data else trained_on(weights)
        dataset = self.open_data(options, name, weights.model.image_shape)
        check_fits(dataset, weights, same=not options.data)
        return dataset


def trained_on(weights: Weights) -> str:
    """The name of the data set that weights were trained on.

    Raises UserError if they do not hold it.
    """
    if weights.data is None:
        raise UserError(
            "these weights do not name the data they were trained on: name it", setting="data"
        )
    return weights.data


def check_fits(dataset, weights: Weights, same: bool = True) -> None:
    """Raises UserError if the images of a data set are not those that a model is for.

    ``same``: if they have to be the very images that the weights were trained on.
    """
    from pixelvae.lib.runs.settings import check_data

    model = weights.model
    if same:
        check_data(weights.trained, dataset)
    if dataset.image_shape != model.image_shape or dataset.levels != model.levels:
        raise UserError(
            f"{dataset.name} has {dataset.levels}-level images of {dataset.image_shape}; these "
            f"weights are for {model.levels} levels and {model.image_shape}"
        )
