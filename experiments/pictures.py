#!/usr/bin/env python
"""PixelVAE on photographs of your own: a folder or a zip of them.

python experiments/pictures.py train --data PHOTOS --preset 32px_small --out runs/photos
python experiments/pictures.py evaluate runs/photos
python experiments/pictures.py sample runs/photos
python experiments/pictures.py reconstruct runs/photos
python experiments/pictures.py report runs/photos
python experiments/pictures.py vary runs/photos
"""

from __future__ import annotations

import argparse
import sys

from pixelvae.experiments.command_line import main
from pixelvae.experiments.experiment import Experiment
from pixelvae.machine.console.command import positive_int
from pixelvae.machine.errors import UserError
from pixelvae.models.family import Preset
from pixelvae.models.hierarchical.presets import HIERARCHICAL


class Pictures(Experiment):
    """An experiment whose data have to be named, and can be converted to any size."""

    def add_data_options(self, parser: argparse.ArgumentParser, default: str) -> None:
        """Add the size of the images to what names the data."""
        super().add_data_options(parser, default)
        parser.add_argument(
            "--image-size",
            type=positive_int,
            metavar="N",
            help="height and width that pictures are brought to, a multiple of 16 (default: the preset's)",
        )

    def data_for(self, preset: Preset) -> str:
        """Raise UserError, since there is no data set to take."""
        raise UserError("name a folder or a zip of pictures", setting="data")

    def size_words(self, image_shape: tuple[int, int, int]) -> list[str]:
        """The height, to which they are brought."""
        return ["--image-size", str(image_shape[1])]

    def open_data(self, options: argparse.Namespace, name: str, image_shape: tuple[int, int, int]):
        """The pictures at the size asked for, else at that of ``image_shape``."""
        size = options.image_size or image_shape[1]
        return super().open_data(options, name, (image_shape[0], size, size))


EXPERIMENT = Pictures(
    "pictures.py",
    __doc__,
    HIERARCHICAL,
    data={(3, 32, 32): "", (3, 64, 64): ""},
    default="32px_small",
    picture_files=True,
)

if __name__ == "__main__":
    sys.exit(main(EXPERIMENT, sys.argv[1:]))
