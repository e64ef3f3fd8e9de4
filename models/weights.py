"""Loads what a training left: a model with its weights, or the step of a report.

Headers are not trusted: settings are parsed strictly (:mod:`pixelvae.models.checked`), and a model
takes no more memory than the file that describes it.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pixelvae.lib import noise
from pixelvae.lib.runs.folder import best_weights, is_run
from pixelvae.lib.runs.settings import differences
from pixelvae.machine.errors import UserError, did_you_mean
from pixelvae.machine.files.arrays import export_arrays, load_arrays
from pixelvae.machine.files.atomic import PathLike
from pixelvae.machine.kinds import whole
from pixelvae.models import growth
from pixelvae.models.checked import Checked
from pixelvae.models.family import Family, header_of, named
from pixelvae.models.registry import parse_header

if TYPE_CHECKING:
    from pixelvae.lib.model import Model

#: The folder of the repository's trained weights, one ``NAME.npz`` a model.
PRETRAINED = Path(__file__).resolve().parents[1] / "pretrained"

_COUNT = whole(least=0)


@dataclass(frozen=True)
class Weights:
    """A model with its weights, and the metadata of their file.

    Parameters
    ----------
    model, family
        The model, and how such models are made and trained.
    header
        The whole header, of which nothing else has been checked.
    """

    model: Model
    family: Family
    header: Mapping[str, Any]

    @property
    def trained(self) -> Mapping[str, Any]:
        """The settings of the run that they are from; empty if the file does not say them."""
        config = self.header.get("config")
        settings = config.get("settings") if isinstance(config, Mapping) else None
        return settings if isinstance(settings, Mapping) else {}

    @property
    def iteration(self) -> int | None:
        """The iteration that they are from, if the file holds it."""
        return self.header.get("iteration")

    @property
    def seed(self) -> int | None:
        """The seed of the training, if the file holds it."""
        seed = self.trained.get("seed")
        return seed if _COUNT.holds(seed) else None

    @property
    def data(self) -> str | None:
        """The name of the data set that they were trained on, if the file holds it."""
        data = self.trained.get("data")
        name = data.get("name") if isinstance(data, Mapping) else None
        return name if isinstance(name, str) else None

    def export(self, path: PathLike) -> None:
        """Write the arrays, with the header, for other libraries (docs/pytorch.md).

        Else as :func:`pixelvae.machine.files.arrays.export_arrays`.
        """
        header = {**self.header, "model": self.model.header()}
        export_arrays(path, self.model.parameters.arrays(), header)


def load(path: str, family: Family | None = None, **modes: str) -> Weights:
    """Load the model of a name from ``pretrained/``, of a run's folder or of a weights file.

    Parameters
    ----------
    path
        NAME, RUN or FILE.
    family
        The only family that will do; any if not given.
    modes
        How the model is evaluated: the ``modes`` of its family, such as ``batch_norm``.

    Raises
    ------
    UserError
        There are none, or the file is damaged, or its header and its arrays are not those of one
        model, or of another family.
    """
    return assemble(path, read(path), family, **modes)


def assemble(
    path: str,
    contents: tuple[Mapping[str, np.ndarray], Mapping[str, Any]],
    family: Family | None = None,
    **modes: str,
) -> Weights:
    """The model of arrays and header that :func:`read` has read from ``path``.

    Else as :func:`load`.
    """
    arrays, header = contents
    size = sum(array.nbytes for array in arrays.values())
    with _refused(f"{path} holds the weights of another kind of model"):
        family, model = _model(header, size, family, modes)
        if "iteration" in header and not _COUNT.holds(header["iteration"]):
            raise UserError(f"its iteration must be {_COUNT.wanted}")
    model.parameters.assign(arrays)
    return Weights(model, family, header)


def grow(weights: Weights, settings: Checked, seed: int = 0) -> tuple[Weights, list[str]]:
    """Weights in a larger model of their family that computes the same, and what grew, in words.

    See :mod:`pixelvae.models.growth`; of what begins anew, the layers are named. Weights of these
    very settings are returned as they are.

    Raises
    ------
    UserError
        The settings differ in what cannot grow.
    """
    family, start = weights.family, parse_header(weights.model.header())[1]
    arrays, reached = weights.model.parameters.arrays(), start
    anew: list[str] = []
    for step in named(family.growth)(start, settings) if family.growth else ():
        reached, fresh = step.settings, family.build(step.settings, seed).parameters.arrays()
        if step.approximate:
            anew += _layers_anew(arrays, fresh)
        arrays = growth.take(step, arrays, fresh, noise.generator(seed, "growth", len(fresh)))
    of_start, of_reached, wanted = (header_of(family.name, s) for s in (start, reached, settings))
    if left := differences(of_reached, wanted):
        raise UserError(f"these settings cannot grow: {', '.join(left)}")
    if not (grown := differences(of_start, wanted)):
        return weights, []
    model = family.build(settings, seed)
    model.parameters.assign(arrays)
    return Weights(model, family, weights.header), grown + anew


def _layers_anew(arrays: Mapping[str, np.ndarray], fresh: Mapping[str, np.ndarray]) -> list[str]:
    anew = growth.begun_anew(arrays, fresh)
    if not anew:
        return []
    share = sum(fresh[n].size for n in anew) / sum(array.size for array in fresh.values())
    layers = dict.fromkeys(".".join(name.split(".")[:2]) for name in anew)
    return [f"{share:.0%} of the parameters begin anew: {', '.join(layers)}"]


def read(path: str) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Arrays and header of what :func:`load` loads, as they are. Raises UserError."""
    file = Path(path)
    if is_name(path):
        file = PRETRAINED / f"{path}.npz"
        if not file.exists():
            known = sorted(p.stem for p in PRETRAINED.glob("*.npz"))
            raise UserError(
                f"{path} is not a run's folder or a weights file, and not the name of trained "
                f"weights ({', '.join(known) or 'none yet'}){did_you_mean(path, known)}"
            )
    elif file.is_dir():
        file = best_weights(file)
    elif not file.exists():
        beside = [str(other) for other in file.parent.glob("*")]
        raise UserError(f"cannot read {path}: No such file or folder{did_you_mean(path, beside)}")
    return load_arrays(file, kind="weights")


def is_name(path: str) -> bool:
    """Whether it is a name from ``pretrained/``: a bare word, and no run or weights file here.

    A clone may well be called what weights are called, and hides none.
    """
    here = Path(path)
    if here.name != path or here.suffix:
        return False
    shipped = (PRETRAINED / f"{path}.npz").exists()
    return not here.exists() or shipped and not (is_run(here) or zipfile.is_zipfile(here))


def replay(path: str) -> Iterator[str]:
    """Take the step again that a run reported as not finite; yields lines for the user.

    ``path`` is the report or its run's folder. Raises UserError if the report is damaged, or its
    header and its arrays are not those of one model.
    """
    from pixelvae.lib.training import replay as reports
    from pixelvae.lib.training.step import TrainingStep

    arrays, header = reports.load_report(path)
    size = sum(array.nbytes for array in arrays.values())
    with _refused(f"{path} is the report of another kind of model"):
        family, model = _model(header, size)
        config = header.get("config")
        recipe = family.recipe(config.get("settings") if isinstance(config, Mapping) else None)
    yield from reports.replay(TrainingStep(model, recipe), arrays, header)


def _model(
    header: Mapping[str, Any],
    limit: int,
    wanted: Family | None = None,
    modes: Mapping[str, Any] | None = None,
) -> tuple[Family, Model]:
    family, settings = parse_header(header.get("model"))
    if wanted is not None and wanted != family:
        raise UserError(f"of the family {family.name}, not {wanted.name}")
    words = {mode.name: mode.words for mode in family.modes}
    for name, word in (modes or {}).items():
        if word not in words.get(name, ()):
            raise UserError(f"a model of the family {family.name} has no {name} {word!r}")
    return family, family.build(settings, limit=limit, **(modes or {}))


@contextmanager
def _refused(what: str) -> Iterator[None]:
    """Says of an error in the body which file it is about."""
    try:
        yield
    except UserError as problem:
        raise UserError(f"{what} ({problem})") from problem
