"""ImageNet at 64×64 in its second edition (Chrabaszcz et al. 2017): 1,281,167 and 50,000 images.

Source: the NumPy batches `train_data_batch_1.npz` to `_10.npz` and `val_data.npz`, as they are or
in the zips around them. A row of `data` is an image: uint8, 12,288 values, its red, green and blue
planes; `labels` are 1 to 1,000, and become 0 to 999. The batches are read as a stream, never
unpacked. There is no test split: "test" is the validation split.

These images were made smaller in another way than those of the first edition, and are easier to
compress.
"""

from __future__ import annotations

import contextlib
import hashlib
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path, PurePosixPath
from tokenize import TokenError
from typing import Any, BinaryIO

import numpy as np

from pixelvae.datasets.conversion import Recipe
from pixelvae.datasets.places import entries, is_directory
from pixelvae.datasets.sources import SourceFile, open_zip, sampled_md5
from pixelvae.datasets.streaming import Split, streamed_part, write_images
from pixelvae.machine.errors import UserError
from pixelvae.machine.files.atomic import open_ordinary, user_errors

_SHAPE = (3, 64, 64)
_PIXELS = 3 * 64 * 64
_BATCHES = {
    "train": [f"train_data_batch_{n}.npz" for n in range(1, 11)],
    "valid": ["val_data.npz"],
}
_NAMES = {name for names in _BATCHES.values() for name in names}
_ROWS = 256  # read at a time
# The last two come from NumPy's reader of headers on newer Pythons.
_DAMAGE = (
    zipfile.BadZipFile, EOFError, KeyError, ValueError, RuntimeError, zlib.error, SyntaxError, TokenError,
)  # fmt: skip


@dataclass(frozen=True)
class _Batch:
    """A batch: an .npz file, alone or as a member of a zip."""

    file: Path
    member: str | None = None

    def __str__(self) -> str:
        return f"{self.file}: {self.member}" if self.member else str(self.file)

    @contextlib.contextmanager
    def opened(self) -> Iterator[zipfile.ZipFile]:
        """The batch, an .npz file, as a zip; whatever is wrong with it is one clear line."""
        with user_errors(f"cannot read {self}"), contextlib.ExitStack() as stack:
            file: Any = stack.enter_context(open_ordinary(self.file))
            try:
                if self.member:
                    file = stack.enter_context(zipfile.ZipFile(file).open(self.member))
                yield zipfile.ZipFile(file)
            except _DAMAGE as problem:
                raise UserError(f"{self} is damaged ({problem}): get it again") from problem


def find_batches(folder: Path) -> dict[str, _Batch]:
    """The batches in a folder, by name: its own files before those in its zips."""
    found: dict[str, _Batch] = {}
    names = sorted(entries(folder))
    for name in names:
        if name in _NAMES:
            found[name] = _Batch(folder / name)
    for name in names:
        if not name.lower().endswith(".zip"):
            continue
        path = folder / name
        with open_zip(path) as archive:
            members = archive.namelist()
        for member in members:
            if PurePosixPath(member).name in _NAMES:
                found.setdefault(PurePosixPath(member).name, _Batch(path, member))
    return found


def _there(folder: Path) -> bool:
    return is_directory(folder) and bool(find_batches(folder))


def _fingerprint(folder: Path) -> str:
    files = sorted({batch.file for batch in find_batches(folder).values()})
    return hashlib.md5("".join(map(sampled_md5, files)).encode()).hexdigest()


def _array(npz: zipfile.ZipFile, name: str) -> tuple[BinaryIO, tuple[int, ...], np.dtype]:
    """An array's stream, after its header; shape and type."""
    stream: Any = npz.open(f"{name}.npy")
    version = np.lib.format.read_magic(stream)
    read = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    shape, fortran, dtype = read[version](stream)
    if fortran and len(shape) > 1:
        raise ValueError(f"{name} lies column by column")
    return stream, shape, dtype


def _size(batch: _Batch) -> int:
    with batch.opened() as npz:
        _, shape, dtype = _array(npz, "data")
        if dtype != np.uint8 or len(shape) != 2 or shape[1] != _PIXELS or not shape[0]:
            raise ValueError(f"data is {dtype} {shape}, not uint8 (N, {_PIXELS})")
        return shape[0]


def _labels(batch: _Batch, size: int) -> np.ndarray | None:
    """Labels 0 to 999, uint16 (size,); None if the batch has none."""
    with batch.opened() as npz:
        if "labels.npy" not in npz.namelist():
            return None
        stream, shape, dtype = _array(npz, "labels")
        if shape not in {(size,), (size, 1)} or dtype.kind not in "iu":
            raise ValueError(f"labels are {dtype} {shape}, not whole numbers ({size},)")
        values = np.frombuffer(stream.read(size * dtype.itemsize), dtype)
        if len(values) != size or values.min() < 1 or values.max() > 1000:
            raise ValueError("labels are not 1 to 1,000")
        return (values - 1).astype(np.uint16)


def _images(batches: Sequence[_Batch], sizes: Sequence[int], start: int) -> Iterator[np.ndarray]:
    """Images number `start` and following of some batches, one after the other."""
    for batch, size in zip(batches, sizes):
        if start >= size:
            start -= size
            continue
        with batch.opened() as npz:
            stream, _, _ = _array(npz, "data")
            for first in range(0, size, _ROWS):
                count = min(_ROWS, size - first)
                content = stream.read(count * _PIXELS)
                if len(content) < count * _PIXELS:
                    raise EOFError("truncated")
                if first + count > start:
                    rows = np.frombuffer(content, np.uint8).reshape(count, *_SHAPE)
                    yield from rows[max(start - first, 0) :]
        start = 0


def _convert(folder: Path, path: Path) -> None:
    source = (folder / "batches").resolve()
    found, splits = find_batches(source), {}
    for split, names in _BATCHES.items():
        missing = [name for name in names if name not in found]
        if missing:
            raise UserError(f"{source} has no {missing[0]}, as it is or in a zip: put it there")
        batches = [found[name] for name in names]
        sizes = [_size(batch) for batch in batches]
        labels = [_labels(batch, size) for batch, size in zip(batches, sizes)]
        whole = [some for some in labels if some is not None]
        splits[split] = Split(
            sum(sizes),
            partial(_images, batches, sizes),
            np.concatenate(whole) if len(whole) == len(labels) else None,
        )
    if any(split.labels is None for split in splits.values()):
        splits = {name: replace(split, labels=None) for name, split in splits.items()}
    write_images(path, _SHAPE, splits)


RECIPE = Recipe(
    name="imagenet64_2017",
    about="ImageNet, 64×64, its second edition, with labels; from its NumPy batches or their zips",
    levels=256,
    convert=_convert,
    files=[
        SourceFile(
            "batches",
            "set of NumPy batches (train_data_batch_1.npz … val_data.npz, or zips of them)",
            large=True,
            fingerprint=_fingerprint,
            whole=_there,
        )
    ],
    part=streamed_part,
    splits=("train", "valid"),
    published={"train": 1_281_167, "valid": 50_000},
    remark=(
        "the second edition of 64×64 ImageNet: its bits/dim do not compare with those of the first, "
        "which table 2 of the paper is about"
    ),
)
