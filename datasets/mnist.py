"""MNIST (LeCun et al. 1998): 28×28 images with 256 grey values, and labels.

`mnist_256` is the same data: grey values v/255 in [0, 1] times 256, floored (and 1 to 255), which
is v again.

The 60,000 training images are split as is usual: the last 10,000 are the validation split. The
converted file keeps Fuel's own two splits, so that `fuel.datasets.MNIST` reads it too.
"""

from __future__ import annotations

import dataclasses
import math
import struct
from functools import partial
from pathlib import Path

from fuel.converters.mnist import MNIST_IMAGE_MAGIC, MNIST_LABEL_MAGIC, convert_mnist

from pixelvae.datasets.conversion import Recipe
from pixelvae.datasets.hdf5 import HDF5Part, check_room, hdf5_part
from pixelvae.datasets.sources import SourceFile, reading

_URLS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)
_SPLITS = {
    "train": ("train", slice(0, 50000)),
    "valid": ("train", slice(50000, 60000)),
    "test": ("test", None),
}


def idx_problem(path: Path, shape: tuple[int, ...]) -> str | None:
    """What is wrong with an IDX file of bytes that has to have this shape: (N, 28, 28) or (N,)."""
    images = len(shape) == 3
    kind, magic = ("images", MNIST_IMAGE_MAGIC) if images else ("labels", MNIST_LABEL_MAGIC)
    header = struct.pack(f">{1 + len(shape)}i", magic, *shape)
    size = len(header) + math.prod(shape)
    with reading(path) as file:
        begin = file.read(len(header))
        if begin[:4] != header[:4]:
            return f"is not an IDX file of {kind} (it begins with {begin[:4]!r})"
        if begin != header:
            return f"is an IDX file of {kind} of another shape than {shape}"
        count = len(header) + sum(map(len, iter(partial(file.read, 1 << 20), b"")))
    if count != size:
        return f"has {count} bytes, not {size}" + (": it is truncated" if count < size else "")
    return None


def _file(name: str, shape: tuple[int, ...], size: int, md5: str) -> SourceFile:
    urls = [f"{url}{name}.gz" for url in _URLS]
    pattern = name.replace("-idx", "[-.]idx")  # as some unpack it: train-images.idx3-ubyte
    return SourceFile(f"{name}.gz", pattern, partial(idx_problem, shape=shape), size, md5, urls)


def _convert(folder: Path, path: Path) -> None:
    check_room(path, sum(file.size or 0 for file in RECIPE.files))
    convert_mnist(str(folder), str(path.parent), path.name)


def _part(path: Path, split: str, source: str) -> HDF5Part:
    fuel_split, subset = _SPLITS[split]
    return hdf5_part(path, fuel_split, source, subset)


RECIPE = Recipe(
    name="mnist",
    about="MNIST, 28×28, 256 grey values, with labels",
    levels=256,
    convert=_convert,
    files=[
        _file(
            "train-images-idx3-ubyte", (60000, 28, 28), 47040016, "6bbc9ace898e44ae57da46a324031adb"
        ),
        _file("train-labels-idx1-ubyte", (60000,), 60008, "a25bea736e30d166cdddb491f175f624"),
        _file(
            "t10k-images-idx3-ubyte", (10000, 28, 28), 7840016, "2646ac647ad5339dbf082846283269ea"
        ),
        _file("t10k-labels-idx1-ubyte", (10000,), 10008, "27ae3e4e09519cfbb04c329615203637"),
    ],
    part=_part,
    estimate_s=5,
)

RECIPE_256 = dataclasses.replace(
    RECIPE,
    name="mnist_256",
    about="the same, as the paper's 256-level models name it",
    stored_as="mnist",
)
