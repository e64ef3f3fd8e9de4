"""Announces a compilation with an estimate of how long it takes."""

from __future__ import annotations

import os

import theano

from lib.console.progress import phase

# Measured on two cores: what g++ needs for one model with an empty cache, and what every parameter array adds in
# Theano's Python with a full one.
_EMPTY_CACHE_S = 45
_PER_ARRAY_S = 0.06
_MODULES_OF_A_MODEL = 60


def compiling(what: str, arrays: int):
    """A context manager around compiling a function of a model with that many parameter arrays."""
    folder = theano.config.compiledir
    cached = len(os.listdir(folder)) if os.path.isdir(folder) else 0
    missing = max(0.0, 1 - cached / _MODULES_OF_A_MODEL)
    return phase(f"compiling {what}", _EMPTY_CACHE_S * missing + 1 + _PER_ARRAY_S * arrays)
