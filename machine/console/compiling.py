"""Announces a compilation with an estimate of how long it takes."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import theano

from pixelvae.machine.console.progress import phase, say
from pixelvae.machine.parallel.disks import network_disk
from pixelvae.machine.parallel.world import world

# Measured on two cores: what g++ needs for one model with an empty cache, and what every parameter array adds in
# Theano's Python with a full one.
_EMPTY_CACHE_S = 45
_PER_ARRAY_S = 0.06
_MODULES_OF_A_MODEL = 60


_TIMES = "seconds.json"  # in Theano's compile folder: what each compilation took the last time


@contextlib.contextmanager
def compiling(what: str, arrays: int) -> Iterator[None]:
    """Around compiling a function of a model with that many parameter arrays.

    One rank of each machine compiles, and the others then find what it compiled; all must enter.
    """
    folder = Path(theano.config.compiledir)
    _warn_of_network_disk(str(folder))
    name = f"{what}, {arrays} arrays"
    with phase(
        f"compiling {what}", _estimate(folder, name, arrays)
    ), world().one_of_each_machine_first():
        start = time.monotonic()
        yield
        seconds = time.monotonic() - start
    if world().first:
        _remember(folder, name, seconds)


def _estimate(folder: Path, name: str, arrays: int) -> float:
    cached = len(os.listdir(folder)) if folder.is_dir() else 0
    missing = max(0.0, 1 - cached / _MODULES_OF_A_MODEL)
    estimate = _EMPTY_CACHE_S * missing + 1 + _PER_ARRAY_S * arrays
    # The last time may have been with an empty cache, and this one is not.
    return min(estimate, _times(folder).get(name, estimate))


def _times(folder: Path) -> dict[str, float]:
    try:
        times = json.loads((folder / _TIMES).read_text())
        return {name: float(seconds) for name, seconds in times.items()}
    except (OSError, ValueError, AttributeError, TypeError):
        return {}  # only an estimate


def _remember(folder: Path, name: str, seconds: float) -> None:
    with contextlib.suppress(OSError):
        (folder / _TIMES).write_text(json.dumps({**_times(folder), name: round(seconds, 1)}))


@lru_cache(maxsize=None)  # says it once
def _warn_of_network_disk(folder: str) -> None:
    kind = network_disk(folder)
    if kind is not None:
        say(
            f"compiled code is kept on a network disk ({kind}), {folder}, which is slow and whose locks may "
            "fail: THEANO_FLAGS=base_compiledir=FOLDER names one on a disk of each machine"
        )
