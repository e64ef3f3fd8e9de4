"""Announces a compilation with an estimate of how long it takes."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import time
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path

import theano

from pixelvae.machine.console.progress import phase, say

# Measured on two cores: what g++ needs for one model with an empty cache, and what every parameter
# array adds in Theano's Python with a full one.
_EMPTY_CACHE_S = 45
_PER_ARRAY_S = 0.06
_MODULES_OF_A_MODEL = 60


_TIMES = "seconds.json"  # in Theano's compile folder: what each took the last time that it found all modules there


@contextlib.contextmanager
def compiling(what: str, arrays: int) -> Iterator[None]:
    """Around compiling a function of a model with that many parameter arrays.

    Of several processes that come to it at the same time one compiles, and the others then find
    what it has compiled.
    """
    folder = Path(theano.config.compiledir)
    _warn_of_network_disk(str(folder))
    name = f"{what}, {arrays} arrays"
    modules = _modules(folder)
    missing = max(0.0, 1 - modules / _MODULES_OF_A_MODEL)
    estimate = _EMPTY_CACHE_S * missing + 1 + _PER_ARRAY_S * arrays
    estimate = _times(folder).get(name, estimate)
    with phase(f"compiling {what}", estimate), _first(folder, name) as first:
        start = time.monotonic()
        yield
        # The next time all modules will be there, so one with g++ at work is not representative.
        if first and _modules(folder) == modules:
            _remember(folder, name, time.monotonic() - start)


@contextlib.contextmanager
def _first(folder: Path, name: str) -> Iterator[bool]:
    """Waits while another process is in the body; gives whether this one had not to wait."""
    try:
        lock = open(folder / f"{re.sub('[^A-Za-z0-9]+', '-', name)}.lock", "w")
    except OSError:  # not writable: then there is nothing to be found either
        yield True
        return
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            first = True
        except OSError:
            with contextlib.suppress(OSError):  # of a disk without locks
                fcntl.flock(lock, fcntl.LOCK_SH)
            first = False
        yield first


def _modules(folder: Path) -> int:
    """How many modules Theano has compiled there."""
    return sum(1 for _ in folder.glob("*/key.pkl"))


def _times(folder: Path) -> dict[str, float]:
    try:
        times = json.loads((folder / _TIMES).read_text())
        return {name: float(seconds) for name, seconds in times.items()}
    except (OSError, ValueError, AttributeError, TypeError):
        return {}  # only an estimate


def _remember(folder: Path, name: str, seconds: float) -> None:
    with contextlib.suppress(OSError):
        (folder / _TIMES).write_text(json.dumps({**_times(folder), name: round(seconds, 1)}))


@lru_cache(maxsize=None)  # announces it once
def _warn_of_network_disk(folder: str) -> None:
    kind = network_disk(folder)
    if kind is not None:
        say(
            f"compiled code is kept on a network disk ({kind}), {folder}, which is slow and whose locks may "
            "fail: THEANO_FLAGS=base_compiledir=FOLDER names one on a disk of each machine"
        )


_NETWORK = (
    "nfs", "cifs", "smb", "lustre", "gpfs", "beegfs", "ceph", "afs", "panfs", "pvfs", "orangefs", "gfs2", "glusterfs",
    "fuse.sshfs", "fuse.glusterfs", "fuse.ceph", "fuse.beegfs", "wekafs", "9p",
)  # fmt: skip


def network_disk(folder: str, mounts: Iterable[str] | None = None) -> str | None:
    """The kind of network file system that a folder lies on ("nfs4"), None for a local disk.

    ``mounts`` are the lines of /proc/self/mounts, by default this machine's.
    """
    if mounts is None:
        try:
            with open("/proc/self/mounts") as file:
                mounts = file.readlines()
        except OSError:  # not on Linux
            return None
    path, best, kind = os.path.realpath(folder), "", ""
    for line in mounts:
        _, point, system, *_ = line.split(" ")
        point = point.replace("\\040", " ")
        inside = os.path.commonpath([point, path]) == point
        if inside and len(point) >= len(best):
            best, kind = point, system
    return kind if kind.startswith(_NETWORK) else None
