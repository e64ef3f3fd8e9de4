"""Scikit-learn's handwritten digits as binary 28×28 images: real data that need no network.

1,797 grey images of 8×8 with 17 values, by 13 writers (Alpaydin & Kaynak 1998). They are enlarged
three times (bilinear) to 24×24, framed by two empty pixels, and binarized once, as MNIST was: a
pixel is 1 with the probability that its grey value gives. All of it is integer arithmetic from a
fixed seed, and so the same everywhere. A fixed random order makes the splits, 1,397 / 200 / 200
images, and mixes the writers.
"""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
from fuel.converters.base import fill_hdf5_file

from pixelvae.datasets.base import IMAGES, LABELS
from pixelvae.datasets.conversion import Recipe
from pixelvae.datasets.hdf5 import check_room

_SEED = 20161115
_SIZES = {"train": 1397, "valid": 200, "test": 200}
_SCALE, _FRAME, _GREY_MAX = 3, 2, 16


def enlarge(images: np.ndarray) -> np.ndarray:
    """Grey images (N, 8, 8) of 0..16 as (N, 28, 28) of 0..144, exactly: int64, bilinear, framed."""
    weights = np.zeros((8 * _SCALE, 8), dtype=np.int64)
    for row in range(8 * _SCALE):
        cell, phase = divmod(row, _SCALE)  # phase 1 is the middle of a cell
        neighbour = min(max(cell + phase - 1, 0), 7)
        weights[row, cell] += _SCALE - abs(phase - 1)
        weights[row, neighbour] += abs(phase - 1)
    large = weights @ images.astype(np.int64) @ weights.T
    return np.pad(large, ((0, 0), (_FRAME, _FRAME), (_FRAME, _FRAME)))


def _convert(folder: Path, path: Path) -> None:
    from sklearn.datasets import load_digits  # slow to import, and needed here only

    digits = load_digits()
    random = np.random.RandomState(_SEED)
    order = random.permutation(sum(_SIZES.values()))
    grey = enlarge(digits.images)
    threshold = random.randint(_GREY_MAX * _SCALE**2, size=grey.shape)
    images = (threshold < grey).astype(np.uint8)[order, None]
    labels = digits.target.astype(np.uint8)[order, None]
    data, start = [], 0
    for split, size in _SIZES.items():
        data.append((split, IMAGES, images[start : start + size]))
        data.append((split, LABELS, labels[start : start + size]))
        start += size
    check_room(path, images.nbytes + labels.nbytes)
    with h5py.File(path, "w") as file:
        fill_hdf5_file(file, data)


RECIPE = Recipe(
    name="digits",
    about="scikit-learn's digits, enlarged to 28×28, two values, with labels; needs no network",
    levels=2,
    convert=_convert,
)
