"""Images of the user's own: one `.npz` file, used as it is."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pixelvae.datasets.duplicates import overlap
from pixelvae.datasets.memory import InMemory
from pixelvae.lib.data import SPLITS
from pixelvae.machine.backend import device
from pixelvae.machine.errors import UserError
from pixelvae.machine.files.atomic import open_ordinary, user_errors

_COPIES = 2  # of each image, while they are read
_NAMES = (*SPLITS, *(f"{split}_labels" for split in SPLITS))


def open_npz(path: Path) -> InMemory:
    """The data set in an `.npz` file; its name is the path as it was given.

    It holds the arrays "train", "valid" and "test": uint8 or bool, (N, H, W) or (N, C, H, W), and,
    if wanted, "train_labels" and so on: uint8, (N,). Images of 0 and 1 alone have two levels,
    others have 256.

    Raises
    ------
    UserError
        The file cannot be read, or an array is missing or is something else.
    """
    with user_errors(f"cannot read {path}"), open_ordinary(path) as file:
        try:
            with np.load(file, allow_pickle=False) as npz:
                wanted = [name for name in npz.files if name in _NAMES]
                # A file of some megabytes can unpack to more than there is.
                sizes = [npz.zip.getinfo(f"{name}.npy").file_size for name in wanted]
                if _COPIES * sum(sizes) > device.memory():
                    raise MemoryError
                arrays = {name: npz[name] for name in wanted}
        except OSError:
            raise
        except MemoryError as problem:  # or one that a few bytes claim to need
            raise UserError(f"{path} needs more memory than there is: make it smaller") from problem
        except Exception as problem:  # parsers raise what they like on bytes without sense
            raise UserError(f"{path} is damaged or no .npz file: write it again") from problem
    images = {split: _images(path, split, arrays) for split in SPLITS}
    if len({array.shape[1:] for array in images.values()}) > 1:
        shapes = ", ".join(f"{split} {array.shape[1:]}" for split, array in images.items())
        raise UserError(f"{path}: the images differ in (C, H, W): {shapes}; make them alike")
    names = {split: f"{split}_labels" for split in SPLITS}
    labels = {
        split: _labels(path, name, arrays[name], len(images[split]))
        for split, name in names.items()
        if name in arrays
    }
    dataset = InMemory(images, labels, str(path))
    dataset.remarks = tuple(filter(None, (_two_values(images), overlap(dataset, SPLITS))))
    return dataset


def _two_values(images: dict[str, np.ndarray]) -> str | None:
    """The remark on binary images that are not stored as zeros and ones, or None."""
    values: set[int] = set()
    for array in images.values():
        for image in array:
            values.update(np.unique(image).tolist())
            if len(values) > 2:
                return None
    low, high = min(values), max(values)
    if high <= 1 or low == high:
        return None
    return f"two values, {low} and {high}: store 0 and 1 if the images are binary"


def _images(path: Path, split: str, arrays: dict[str, np.ndarray]) -> np.ndarray:
    if split not in arrays:
        raise UserError(f"{path} has no array {split!r}: it needs {', '.join(SPLITS)}")
    array = arrays[split]
    if array.dtype not in (np.uint8, np.bool_):
        raise UserError(f"{path}: {split} is {array.dtype}; store uint8 (0 and 1, or 0 to 255)")
    if array.ndim not in (3, 4) or 0 in array.shape:
        raise UserError(f"{path}: {split} has shape {array.shape}, not (N, H, W) or (N, C, H, W)")
    return array.astype(np.uint8).reshape(len(array), -1, *array.shape[-2:])


def _labels(path: Path, name: str, array: np.ndarray, count: int) -> np.ndarray:
    if array.dtype != np.uint8 or array.shape != (count,):
        raise UserError(
            f"{path}: {name} is {array.dtype} of shape {array.shape}; "
            f"store uint8 of shape ({count},)"
        )
    return array
