"""Operations called on arrays, each compiled once for all tests of a process."""

from __future__ import annotations

import ctypes
from contextlib import contextmanager
from functools import lru_cache

import numpy as np
import theano
import theano.tensor as T

PYTHON = theano.Mode(linker="py", optimizer=None)  # the NumPy of ``perform``, as without a compiler
C = theano.Mode(linker="vm", optimizer=None)  # the operation itself, in C++

BOTH = [C, PYTHON]


def guarded(array: np.ndarray) -> np.ndarray:
    """A copy with NaN before and behind it in memory, which shows when more than it is read."""
    memory = np.full(array.size + 128, np.nan, array.dtype)
    memory[64 : 64 + array.size] = array.ravel()
    return memory[64 : 64 + array.size].reshape(array.shape)


def apply(op, *arguments, mode=C):
    """The outputs for arrays, integers and None; one array where there is one output."""
    signature = tuple(
        a if a is None or isinstance(a, int) else (a.dtype.name, _broadcastable(op, a))
        for a in arguments
    )
    arrays = [a for a in arguments if isinstance(a, np.ndarray)]
    return _function(op, signature, mode)(*arrays)


def _broadcastable(op, array: np.ndarray) -> tuple:
    # The one operation that looks at it is the gate, whose bias may be one row for all images.
    return (array.ndim == 2 and len(array) == 1, *(False,) * (array.ndim - 1))[: array.ndim]


@contextmanager
def fast_compile():
    """Theano's default mode is FAST_COMPILE: NumPy on a CPU, for graphs that are used for a few passes.

    Theano keeps the mode that it made last for all of one class, and FAST_RUN is of the same.
    """
    module = theano.compile.mode
    with theano.configparser.change_flags(mode="FAST_COMPILE"):
        before, module.instantiated_default_mode = module.instantiated_default_mode, None
        try:
            yield
        finally:
            module.instantiated_default_mode = before


@lru_cache(maxsize=None)
def _function(op, signature, mode):
    inputs = [s if s is None or isinstance(s, int) else T.TensorType(*s)() for s in signature]
    symbols = [i for i in inputs if isinstance(i, theano.Variable)]
    return theano.function(symbols, op(*inputs), mode=mode)


@contextmanager
def threads(count: int):
    """Runs the C++ with that many OpenMP threads."""
    openmp = ctypes.CDLL("libgomp.so.1")
    before = openmp.omp_get_max_threads()
    openmp.omp_set_num_threads(count)
    try:
        yield
    finally:
        openmp.omp_set_num_threads(before)
