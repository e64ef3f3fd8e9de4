"""Writing a file whole or not at all, and saying in one line why it could not be done."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import io
import json
import math
import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, Union

import numpy as np

from pixelvae.machine.errors import UserError

PathLike = Union[str, "os.PathLike[str]"]

#: What to do where a file finds no room.
NO_ROOM = {
    errno.ENOSPC: "free some space and try again",
    errno.EDQUOT: "free some space and try again",
    errno.EFBIG: "raise the limit of a file's size (ulimit -f), or choose a disk that takes larger ones",
}
_ADVICE = {
    **NO_ROOM,
    errno.EROFS: "choose another place",
    errno.EACCES: "change its permissions or choose another place",
    errno.EPERM: "change its permissions or choose another place",
    errno.ENOENT: "see that the name is right and its folder there",
    errno.ENOTDIR: "a file is where a folder should be",
    errno.EEXIST: "a file is where a folder should be",
    errno.ENOTSUP: "choose a folder on a file system that can lock files",
    errno.ENOLCK: "choose a folder on a file system that can lock files",
}


@contextlib.contextmanager
def user_errors(task: str) -> Iterator[None]:
    """Turn an operating system's error in the body into a `UserError` that begins with `task`."""
    try:
        yield
    except OSError as problem:
        advice = _ADVICE.get(problem.errno or 0)
        reason = problem.strerror or str(problem)
        raise UserError(f"{task}: {reason}" + (f"; {advice}" if advice else "")) from problem


def open_ordinary(path: PathLike) -> io.BufferedReader:
    """Open a file to read.

    Raises `UserError` for pipes and devices, which may never end; `OSError`.
    """
    # Else opening a pipe that nobody writes to would wait for ever.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise UserError(f"cannot read {path}: it is not an ordinary file; choose another name")
    return os.fdopen(descriptor, "rb")


@contextlib.contextmanager
def atomic_write(path: PathLike) -> Iterator[BinaryIO]:
    """Open a file whose content takes the place of `path` all at once when the body ends.

    Until then, and whenever the body fails, what was at `path` stays as it was. The content is on
    the disk (fsync of file and folder) when this returns. A process that is killed leaves at most
    `.NAME.tmp` beside the file, which the next writer of the same file takes over.

    Raises
    ------
    UserError
        The file cannot be written (disk full, read-only, folder gone), or is not an ordinary file.
    """
    target = Path(os.path.realpath(path))  # a symbolic link stays one
    temporary = target.with_name(f".{target.name}.tmp")
    with user_errors(f"cannot write {path}"):
        if target.exists() and not target.is_file():
            raise UserError(f"cannot write {path}: it is not an ordinary file; choose another name")
        file = _open_temporary(temporary)
        try:
            with file:
                yield file
                file.flush()
                os.fsync(file.fileno())
                # Before closing: that would free the lock to a waiting writer of the same file.
                os.replace(temporary, target)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise
        _sync_folder(target.parent)


def write_json(path: PathLike, value: Any) -> None:
    """Write `value` as indented JSON, whole or not at all; see :func:`atomic_write`."""
    with atomic_write(path) as file:
        file.write((to_json(value, indent=2) + "\n").encode())


def to_json(value: Any, indent: int | None = None) -> str:
    """JSON text of `value`: NumPy's scalars and arrays as numbers and lists, NaN and ∞ as null.

    JSON has no NaN, and strict readers refuse a file that holds one.
    """
    return json.dumps(_plain(value), indent=indent, allow_nan=False, default=_refuse)


def _plain(value: Any) -> Any:
    if isinstance(value, (np.generic, np.ndarray)):
        value = value.tolist()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {name: _plain(v) for name, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    return value


def _refuse(value: Any) -> Any:
    raise TypeError(f"{type(value).__name__} has no place in JSON: {value!r}")


def _open_temporary(path: Path) -> BinaryIO:
    """Open the temporary file, empty and locked, after any other process that is writing it."""
    while True:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            # A writer that was waited for has renamed the file that it locked: leave that alone.
            if path.exists() and os.path.samestat(os.fstat(descriptor), os.lstat(path)):
                os.ftruncate(descriptor, 0)
                return os.fdopen(descriptor, "wb")
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as problem:
        if problem.errno != errno.EINVAL:  # some network file systems have no fsync for folders
            raise
    finally:
        os.close(descriptor)
