"""CIFAR-10 (Krizhevsky 2009): 32×32 photographs of ten classes, with labels.

Source: the archive of the binary version as published, read as a stream and never unpacked. Its
five training batches of 10,000 images make the training split, but for the last 5,000 images, which
are the validation split. A record is a byte of label and 3,072 bytes of red, green and blue planes.
"""

from __future__ import annotations

import tarfile
import zlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from pixelvae.datasets.conversion import Recipe
from pixelvae.datasets.sources import SourceFile
from pixelvae.datasets.streaming import Split, write_images
from pixelvae.machine.errors import UserError
from pixelvae.machine.files.atomic import open_ordinary, user_errors

_ARCHIVE = "cifar-10-binary.tar.gz"
_SHAPE = (3, 32, 32)
_RECORD = 1 + 3 * 32 * 32
_FOLDER = "cifar-10-batches-bin"
_TRAINING = [f"{_FOLDER}/data_batch_{n}.bin" for n in range(1, 6)]
_TEST = [f"{_FOLDER}/test_batch.bin"]
_VALID = 5000


def read_records(archive: Path) -> dict[str, np.ndarray]:
    """The records of the archive's training and test batches: uint8 (N, 3073), label first.

    Raises
    ------
    UserError
        It cannot be read, is damaged, or lacks a batch.
    """
    wanted = {*_TRAINING, *_TEST}
    batches = {}
    with user_errors(f"cannot read {archive}"), open_ordinary(archive) as file:
        try:
            with tarfile.open(fileobj=file, mode="r|gz") as tar:
                for member in tar:
                    if member.name in wanted and member.isfile():
                        content = tar.extractfile(member).read()  # type: ignore[union-attr]
                        batches[member.name] = np.frombuffer(content, np.uint8)
        except (tarfile.TarError, EOFError, zlib.error, ValueError) as problem:
            raise UserError(f"{archive} is damaged ({problem}): get it again") from problem
    for name in [*_TRAINING, *_TEST]:
        if name not in batches or len(batches[name]) % _RECORD or not len(batches[name]):
            raise UserError(f"{archive} has no whole {name}: get it again")
    return {
        "train": np.concatenate([batches[name] for name in _TRAINING]).reshape(-1, _RECORD),
        "test": batches[_TEST[0]].reshape(-1, _RECORD),
    }


def _convert(folder: Path, path: Path) -> None:
    found = read_records((folder / _ARCHIVE).resolve())
    records = {
        "train": found["train"][:-_VALID],
        "valid": found["train"][-_VALID:],
        "test": found["test"],
    }

    def images(split: str, start: int) -> Iterator[np.ndarray]:
        return iter(records[split][start:, 1:])

    splits = {
        split: Split(len(rows), partial(images, split), rows[:, 0].copy())
        for split, rows in records.items()
    }
    write_images(path, _SHAPE, splits)


RECIPE = Recipe(
    name="cifar10",
    about="CIFAR-10, 32×32, colour, with labels; from the archive of its binary version",
    levels=256,
    convert=_convert,
    files=[
        SourceFile(
            _ARCHIVE,
            _ARCHIVE,
            md5="c32a1d4ab5d03f1284b67883e8d87530",
            urls=["https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"],
            large=True,
        )
    ],
    estimate_s=10,
)
