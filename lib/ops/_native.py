"""What the operations with C code have in common: one header folder, one set of compiler flags."""

from __future__ import annotations

import inspect
import os
import zlib
from functools import lru_cache
from typing import Any

import numpy as np
import theano
from theano import gof

HEADERS = os.path.join(os.path.dirname(__file__), "c")


@lru_cache(maxsize=None)
def _digest(operation: type[NativeOp]) -> int:
    """A number that changes with the text of an operation's code, so that Theano's cache notices an edit.

    It covers all headers, since they include each other, and the Python of the class and of those it is derived from.
    """
    bases = operation.__mro__[: operation.__mro__.index(NativeOp) + 1]
    paths = [os.path.join(HEADERS, name) for name in sorted(os.listdir(HEADERS))]
    digest = 0
    for path in (*paths, *map(inspect.getfile, bases)):
        with open(path, "rb") as file:
            digest = zlib.crc32(file.read(), digest)
    return digest


class NativeOp(gof.Op):
    """An operation written in C++ in ``lib/ops/c``, with NumPy as its plain reference in ``perform``."""

    header: str

    def c_headers(self):
        return [f'"{self.header}"']

    def c_header_dirs(self):
        return [HEADERS]

    def c_compile_args(self):
        # Vector code needs -O3; Theano's own flags name the processor (lib.backend.compiler). NaN and infinity keep
        # their meaning.
        return ["-O3", "-fopenmp", "-fno-math-errno", "-fno-trapping-math"]

    def c_code_cache_version(self):
        kind: Any = type(self)
        return (1, _digest(kind))

    def as_tensor(self, x, ndim: int):
        """An input as a float variable of that many dimensions."""
        x = as_float(x)
        if x.ndim != ndim:
            raise ValueError(f"{type(self).__name__}: an input has {x.ndim} dimensions, not {ndim}")
        return x

    def require(self, fits: bool) -> None:
        """Raises ValueError where the shapes that ``perform`` is given do not fit each other."""
        if not fits:
            raise ValueError(f"{type(self).__name__}: shapes do not fit")


def c_type(variable) -> str:
    """The C type of a variable's elements (``npy_float32`` or ``npy_float64``)."""
    return variable.type.dtype_specs()[1]


def as_float(x):
    """A symbolic variable of a float type; numbers and integer arrays become ``floatX``."""
    x = theano.tensor.as_tensor_variable(x)
    return x if x.dtype in ("float32", "float64") else x.astype(theano.config.floatX)


def same_dtype(*variables):
    """The variables in their common float type, so that one C type serves the whole operation."""
    dtype = theano.scalar.upcast(*[v.dtype for v in variables])
    return [v if v.dtype == dtype else v.astype(dtype) for v in variables]


CHECK_CONTIGUOUS = """
static inline PyArrayObject *contiguous(PyArrayObject *a) {
    // A new reference, to a copy only where the array is not dense already.
    return (PyArrayObject *)PyArray_GETCONTIGUOUS(a);
}
static inline int reuse(PyArrayObject **out, int nd, npy_intp const *dims, int type) {
    // Makes *out a dense array of the given shape, keeping the old one where it fits.
    if (*out && PyArray_NDIM(*out) == nd && PyArray_CompareLists(PyArray_DIMS(*out), dims, nd) &&
        PyArray_IS_C_CONTIGUOUS(*out))
        return 0;
    Py_XDECREF(*out);
    *out = (PyArrayObject *)PyArray_EMPTY(nd, dims, type, 0);
    return *out ? 0 : -1;
}
"""


def stable_sigmoid(x: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-x)) for NumPy arrays without overflow."""
    return 0.5 * (1 + np.tanh(0.5 * x))
