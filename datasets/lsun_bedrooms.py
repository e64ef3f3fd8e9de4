"""LSUN bedrooms (Yu et al. 2015): 3,033,042 training and 300 validation photographs, as 64×64.

Source: the published LMDB folders `bedroom_train_lmdb` and `bedroom_val_lmdb`, whose values are
JPEG or WebP files. Each photograph is cropped to the square in its centre, which becomes 64×64
pixels by the mean over areas (Pillow's BOX filter). Then duplicates are dropped from the training
images: see :mod:`pixelvae.datasets.deduplicate`. `lsun_bedrooms_32` is the 2×2 mean of that, taken
while reading. There is no test split: "test" is the validation split.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import lmdb
import numpy as np

from pixelvae.datasets.base import IMAGES
from pixelvae.datasets.conversion import Recipe
from pixelvae.datasets.decoding import (
    DamagedPicture,
    UnusablePicture,
    centre_square,
    channels_first,
    decode,
)
from pixelvae.datasets.deduplicate import distinct
from pixelvae.datasets.hdf5 import DROPPED, HDF5Part
from pixelvae.datasets.sources import SourceFile
from pixelvae.datasets.streaming import Split, halve, streamed_part, write_images
from pixelvae.machine.console.progress import say
from pixelvae.machine.errors import UserError
from pixelvae.machine.files.atomic import atomic_write, open_ordinary, user_errors

_SIZE = 64
_SHAPE = (3, _SIZE, _SIZE)
_FOLDERS = {"train": "bedroom_train_lmdb", "valid": "bedroom_val_lmdb"}

_LOOK_AT_ALL = """
import sys, lmdb
with lmdb.open(sys.argv[1], readonly=True, lock=False, readahead=False) as environment:
    with environment.begin(buffers=True) as transaction:
        for _, value in transaction.cursor():
            bytes(value[-1:])
"""


def _convert(folder: Path, path: Path, skip_damaged: bool = False) -> dict[str, int]:
    """Decode everything, find duplicates, write the rest: each once, interrupted or not."""
    decoded, kept = path.with_name("decoded.hdf5"), path.with_name("distinct.npy")
    lmdbs = {split: (folder / name).resolve() for split, name in _FOLDERS.items()}
    sizes = {split: _size(source) for split, source in lmdbs.items()}
    if not decoded.exists():
        for source in lmdbs.values():
            _check_pages(source)
    damaged = write_images(
        decoded,
        _SHAPE,
        {split: Split(sizes[split], partial(_images, source)) for split, source in lmdbs.items()},
        skip_damaged=skip_damaged,
    )
    with h5py.File(decoded, "r", locking=False) as file:
        images, count = file[IMAGES], sizes["train"] - damaged["train"]
        valid = sizes["valid"] - damaged["valid"]
        if not kept.exists():
            with atomic_write(kept) as out:
                np.save(out, distinct(images, count))
        numbers = np.load(kept)
        dropped = count - len(numbers)
        say(f"{dropped} of {count} training images are duplicates of others, and dropped")
        write_images(
            path,
            _SHAPE,
            {
                "train": Split(len(numbers), lambda start: (images[i] for i in numbers[start:])),
                "valid": Split(
                    valid, lambda start: (images[count + i] for i in range(start, valid))
                ),
            },
            {DROPPED: dropped},
        )
    return {**damaged, "duplicates": dropped}


def _images(path: Path, start: int) -> Iterator[np.ndarray | DamagedPicture]:
    """Images number `start` and following of an LMDB, in the order of its keys."""
    with _reading(path) as transaction:
        cursor = transaction.cursor()
        for number, key in enumerate(cursor.iternext(keys=True, values=False)):
            if number < start:
                continue
            try:
                image = centre_square(decode(cursor.value(), "JPEG", "WEBP", least=_SIZE), _SIZE)
            except UnusablePicture as problem:
                name = f"the image with key {key[:40]!r}, number {number + 1},"
                yield DamagedPicture(f"{path}: {name}", problem)
            else:
                yield channels_first(image)


def _size(path: Path) -> int:
    with _reading(path) as transaction:
        entries = transaction.stat()["entries"]
    if not entries:
        raise UserError(f"{path} has no images: get it again")
    return entries


def _check_pages(path: Path) -> None:
    """Read an LMDB in another process, which noise in its pages would kill: LMDB trusts them."""
    say(f"checking {path}")
    scout = subprocess.run([sys.executable, "-c", _LOOK_AT_ALL, path], capture_output=True)
    if scout.returncode < 0:
        raise UserError(f"{path} is damaged (its pages lead nowhere): get it again")


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[Any]:
    """A transaction that reads an LMDB; the folder may be read-only."""
    content = path / "data.mdb"
    with user_errors(f"cannot read {content}"), open_ordinary(content) as file:
        size = file.seek(0, os.SEEK_END)
    if not size:
        raise UserError(f"{path} is damaged or no LMDB (it is empty): get it again")
    try:
        with lmdb.open(str(path), readonly=True, lock=False, readahead=False) as environment:
            # LMDB maps the file into memory, where reading behind its end kills the process.
            if size < (environment.info()["last_pgno"] + 1) * environment.stat()["psize"]:
                raise UserError(f"{path} is truncated: get it again")
            with environment.begin() as transaction:
                yield transaction
    except lmdb.Error as problem:
        if type(problem) is lmdb.Error:  # the system's, not one of LMDB's own
            raise UserError(f"cannot read {path}: {problem}") from problem
        raise UserError(f"{path} is damaged or no LMDB ({problem}): get it again") from problem


class _Halved(HDF5Part):
    """Images of half the height and width, taken while reading."""

    def get_data(self, state: Any = None, request: Any = None) -> tuple[np.ndarray]:
        (images,) = super().get_data(state, request)
        return (halve(images),)


RECIPE = Recipe(
    name="lsun_bedrooms",
    about="LSUN bedrooms, 64×64, colour, no duplicates (test: the validation split)",
    levels=256,
    convert=_convert,
    files=[SourceFile(name, name, large=True) for name in _FOLDERS.values()],
    part=streamed_part,
    splits=("train", "valid"),
    published={"train": 3_033_042, "valid": 300},
    pictures=True,
)
RECIPE_32 = dataclasses.replace(
    RECIPE,
    name="lsun_bedrooms_32",
    about="the same, 32×32",
    part=partial(streamed_part, kind=_Halved),
    stored_as="lsun_bedrooms",
)
