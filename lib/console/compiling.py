"""Announces a compilation with an estimate of how long it takes."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from functools import lru_cache

import theano

from lib.console.progress import phase, say
from lib.parallel.disks import network_disk
from lib.parallel.world import world

# Measured on two cores: what g++ needs for one model with an empty cache, and what every parameter array adds in
# Theano's Python with a full one.
_EMPTY_CACHE_S = 45
_PER_ARRAY_S = 0.06
_MODULES_OF_A_MODEL = 60


@contextlib.contextmanager
def compiling(what: str, arrays: int) -> Iterator[None]:
    """Around compiling a function of a model with that many parameter arrays.

    One rank of each machine compiles, and the others then find what it compiled; all must enter.
    """
    folder = theano.config.compiledir
    _warn_of_network_disk(folder)
    cached = len(os.listdir(folder)) if os.path.isdir(folder) else 0
    missing = max(0.0, 1 - cached / _MODULES_OF_A_MODEL)
    estimate = _EMPTY_CACHE_S * missing + 1 + _PER_ARRAY_S * arrays
    with phase(f"compiling {what}", estimate), world().one_of_each_machine_first():
        yield


@lru_cache(maxsize=None)  # says it once
def _warn_of_network_disk(folder: str) -> None:
    kind = network_disk(folder)
    if kind is not None:
        say(
            f"compiled code is kept on a network disk ({kind}), {folder}, which is slow and whose locks may "
            "fail: THEANO_FLAGS=base_compiledir=FOLDER names one on a disk of each machine"
        )
