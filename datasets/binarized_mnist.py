"""The fixed binarization of MNIST (Salakhutdinov & Murray 2008, as distributed by Larochelle).

50,000 / 10,000 / 10,000 images of 28×28, each pixel 0 or 1, never sampled again (section 4.1 of the
paper). Source: three text files, one image a line, 784 values of 0 or 1 separated by a space. The
same format serves for data of the user's own: see :func:`amat_recipe`.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from fuel.converters.binarized_mnist import convert_binarized_mnist
from fuel.datasets import IndexableDataset

from pixelvae.datasets import mnist
from pixelvae.datasets.base import LABELS
from pixelvae.datasets.conversion import Recipe, open_recipe
from pixelvae.datasets.hdf5 import check_room, hdf5_part
from pixelvae.datasets.sources import SourceFile, reading
from pixelvae.machine.errors import UserError

_PIXELS = 28 * 28
_URL = "http://www.cs.toronto.edu/~larocheh/public/datasets/binarized_mnist/binarized_mnist_{}.amat"
_PUBLISHED = {
    "train": (50000, "db28b1a6ae0fe70cbd3da91acf46e477"),
    "valid": (10000, "bf37822a04e94123630de6a7dfd9c9ef"),
    "test": (10000, "14e41ae11040adba6ab8cb291eda0dd8"),
}


def amat_problem(path: Path, lines: int | None = None) -> str | None:
    """What is wrong with an `.amat` file of `lines` images (None: any number from 1), or None."""
    count = 0
    with reading(path) as file:
        # At most so many bytes at a time, for a file that is something else may have no lines.
        for line in iter(partial(file.readline, 4 * _PIXELS), b""):
            count += 1
            values = line.split()
            if not {b"0", b"1"}.issuperset(values):
                column = next(i for i, value in enumerate(values) if value not in (b"0", b"1"))
                text = values[column][:20].decode(errors="replace")
                return f"has {text!r}, not 0 or 1, in line {count}, column {column + 1}"
            if len(values) < _PIXELS and not line.endswith(b"\n"):
                return f"is truncated: line {count} ends after {len(values)} of {_PIXELS} values"
            if len(values) != _PIXELS:
                return f"has {len(values)} values in line {count}, not {_PIXELS}"
            if lines is not None and count > lines:
                return f"has more than {lines} lines"
    if count == 0 or lines is not None and count < lines:
        return f"has too few lines: {count}, not {lines or '1 or more'}"
    return None


def _convert(folder: Path, path: Path) -> None:
    characters = sum(file.stat().st_size for file in folder.iterdir())
    check_room(path, characters // 2)  # a blank after each pixel
    convert_binarized_mnist(str(folder), str(path.parent), path.name)


def _file(split: str, pattern: str, lines: int | None = None, **published: Any) -> SourceFile:
    return SourceFile(
        f"binarized_mnist_{split}.amat", pattern, partial(amat_problem, lines=lines), **published
    )


def amat_recipe(name: str) -> Recipe:
    """Binary 28×28 images of the user's own, in `*train.amat`, `*valid.amat` and `*test.amat`."""
    files = [_file(split, f"*{split}.amat") for split in _PUBLISHED]
    return Recipe(name, "data of your own in .amat files", 2, _convert, files)


def _part(path: Path, split: str, source: str) -> Any:
    """As in the file, and labels for the test images.

    The file has none, but its test images are MNIST's, stably sorted by label and then binarized:
    so MNIST's own test labels, sorted, label them.
    """
    if source != LABELS:
        return hdf5_part(path, split, source)
    if split != "test":
        raise UserError(f"binarized_mnist has no labels for {split}: take the test split, or mnist")
    return IndexableDataset({LABELS: np.sort(open_recipe(mnist.RECIPE).labels("test"))})


RECIPE = Recipe(
    name="binarized_mnist",
    about="binarized MNIST, 28×28, two values (labels: test split, where mnist is there)",
    levels=2,
    convert=_convert,
    files=[
        _file(
            split,
            f"binarized_mnist_{split}.amat",
            lines,
            size=2 * _PIXELS * lines,
            md5=md5,
            urls=[_URL.format(split)],
        )
        for split, (lines, md5) in _PUBLISHED.items()
    ],
    part=_part,
    estimate_s=20,
)
