"""Fuel HDF5 files: their header, their checksum, and what it means if one cannot be opened.

A file is called damaged only if its content is. One that another program has locked, that lies on a
disk without locks, or that the system does not let us read may be good, and is never replaced.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import resource
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from fuel.datasets import H5PYDataset

from pixelvae.datasets.base import LABELS, brief_errors
from pixelvae.machine.errors import UserError
from pixelvae.machine.files.atomic import open_ordinary, user_errors

FORMAT = 1  # raised whenever the same sources would be converted to something else
DROPPED = "duplicates_dropped"  # attribute of a file: how many training images
_PREFIX = "pixelvae_"
_BOOKKEEPING = 1 << 20  # bytes, at most, beside images and labels
_MOST_OF_FAT32 = (1 << 32) - 1  # bytes of a file
# What reading comes to if the content names places that no file has; the rest is the system's.
_BY_CONTENT = {None, 0, errno.EINVAL, errno.EFBIG, errno.EOVERFLOW, errno.ERANGE}
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP}


class UnusableFile(UserError):
    """A converted file is damaged or of another format: converting again mends it."""


@dataclass(frozen=True)
class Header:
    """The header of a converted file.

    Parameters
    ----------
    checksum
        SHA-256 of its content.
    sources
        The source files by name: how to tell that they have changed.
    left_out
        How many damaged pictures were left out, by split; and how many training images as
        near duplicates, under "duplicates".
    overlap
        The remark on images that are in several splits; None if there are none.
    """

    checksum: str
    sources: Mapping[str, Mapping[str, Any]]
    left_out: Mapping[str, int] = field(default_factory=dict)
    overlap: str | None = None


def open_hdf5(path: Path) -> h5py.File:
    """Open a file to read.

    Raises
    ------
    UserError
        It cannot be read now: another program has locked it, or the system refuses.
    OSError
        Without a number: its content is not HDF5.
    """
    with user_errors(f"cannot read {path}"), open_ordinary(path):
        pass
    try:
        try:
            return h5py.File(path, "r")
        except OSError as problem:
            if problem.errno not in _NO_LOCKS:
                raise
            return h5py.File(path, "r", locking=False)  # nobody changes it: it is replaced whole
    except OSError as problem:
        if problem.errno in (errno.EAGAIN, errno.EACCES) or "already open" in str(problem):
            raise UserError(
                f"{path} is in use by another program, which has locked it: try again when that "
                "has ended"
            ) from problem
        raise


def check_room(path: Path, size: int) -> None:
    """Raise OSError, as writing would later, if so many bytes of images find no room at a path.

    The HDF5 library ends the process when a file that it writes cannot grow.
    """
    size += _BOOKKEEPING
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
    if limit != resource.RLIM_INFINITY and size > limit:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
    if size > shutil.disk_usage(path.parent).free:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    if size > _MOST_OF_FAT32:
        with tempfile.TemporaryFile(dir=path.parent) as file:
            file.truncate(size)


class HDF5Part(H5PYDataset):
    """Fuel's data set, whose file is opened by :func:`open_hdf5`."""

    def _out_of_memory_open(self) -> None:
        if self.path not in self._file_handles:
            self._file_handles[self.path] = open_hdf5(Path(self.path))
        self._ref_counts[self.path] += 1


def hdf5_part(
    path: Path,
    split: str,
    source: str,
    subset: slice | None = None,
    in_memory: bool = True,
    kind: type[HDF5Part] = HDF5Part,
) -> HDF5Part:
    """One source of one split of a converted file; `subset` takes part of the split."""
    with _damage(path):
        with open_hdf5(path) as file:
            if source == LABELS and LABELS not in file:
                raise UserError(f"{path.stem} has no labels: choose a data set that has")
        return kind(str(path), (split,), subset=subset, sources=(source,), load_in_memory=in_memory)


def write_header(path: Path, header: Header) -> None:
    """Store the header of a converted file."""
    with h5py.File(path, "r+", locking=False) as file:
        file.attrs[_PREFIX + "format"] = FORMAT
        texts = {
            "checksum": header.checksum,
            "sources": json.dumps(header.sources),
            "left_out": json.dumps(header.left_out),
            "overlap": header.overlap or "",
        }
        for name, text in texts.items():
            # Of fixed length: damage to others, which lie in a heap, can bring HDF5 down.
            file.attrs[_PREFIX + name] = np.bytes_(text.encode())


def read_header(path: Path, name: str | None = None) -> Header:
    """Header of a converted file; `name` opens it, if that is not what the file is called.

    Raises
    ------
    UnusableFile
        It is damaged, or of another format than this program's.
    UserError
        It cannot be read, or another program has written it.
    """
    with _damage(path, name), open_hdf5(path) as file:
        found = file.attrs.get(_PREFIX + "format")
        if found is None:
            raise UserError(
                f"{path} was not written by this program: move it away, or set FUEL_DATA_PATH to "
                "another folder"
            )
        if found != FORMAT:
            raise UnusableFile(f"{path} has format {found}, not {FORMAT}: {_advice(path, name)}")
        left_out = json.loads(_text(file, "left_out", "{}"))  # which earlier files lack
        return Header(
            _text(file, "checksum"),
            json.loads(_text(file, "sources")),
            {"duplicates": int(file.attrs.get(DROPPED, 0)), **left_out},
            _text(file, "overlap", "") or None,
        )


def _text(file: h5py.File, name: str, default: str | None = None) -> str:
    if default is not None and _PREFIX + name not in file.attrs:
        return default
    text = file.attrs[_PREFIX + name]
    line = text.decode() if isinstance(text, bytes) else str(text)
    if not line.isprintable():
        raise ValueError(f"its {name} is damaged")
    return line


def verify(path: Path, name: str | None = None) -> Header:
    """Compare a converted file's content with its recorded checksum; UserError if they differ."""
    header = read_header(path, name)
    checksum = content_checksum(path)
    if checksum != header.checksum:
        raise UnusableFile(
            f"{path} is damaged (its content has SHA-256 {checksum}, not {header.checksum}): "
            f"{_advice(path, name)}"
        )
    return header


def content_checksum(path: Path) -> str:
    """SHA-256 of all that counts in a Fuel HDF5 file: names, shapes, types, values, splits."""
    digest = hashlib.sha256()
    with _damage(path), open_hdf5(path) as file:
        for name in sorted(file):
            array = file[name]
            digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
            rows = max(1, (1 << 20) * len(array) // array.nbytes)  # about a megabyte at a time
            for start in range(0, len(array), rows):
                digest.update(array[start : start + rows])
        rows = file.attrs["split"][["split", "source", "start", "stop"]].tolist()
        digest.update(str(sorted(rows)).encode())
    return digest.hexdigest()


@contextlib.contextmanager
def _damage(path: Path, name: str | None = None) -> Iterator[None]:
    try:
        yield
    except (OSError, KeyError, ValueError, RuntimeError, AttributeError, TypeError) as problem:
        if isinstance(problem, OSError) and problem.errno not in _BY_CONTENT:
            with user_errors(f"cannot read {path}"), brief_errors():
                raise
        raise UnusableFile(
            f"{path} is damaged or not an HDF5 file ({problem}): {_advice(path, name)}"
        ) from problem


def _advice(path: Path, name: str | None) -> str:
    return f"run `python -m datasets prepare {name or path.stem}` to convert again"
