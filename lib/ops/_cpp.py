"""The C++ around the call of an operation's function, from the declaration of its shapes."""

from __future__ import annotations

import zlib
from functools import lru_cache
from pathlib import Path
from typing import Mapping, Sequence

from pixelvae.lib.ops import _shapes
from pixelvae.lib.ops._shapes import Shapes


def sizes(shapes: Shapes, variables: Mapping[str, str], scalars: Mapping[str, str]) -> list[str]:
    """Lines that declare all sizes and the inputs' axes, as :meth:`Shapes.find` finds them.

    ``variables`` are the names that Theano gives to the inputs, ``scalars`` expressions of what is
    known besides.
    """
    lines = [f"const npy_intp *{n}_axes = PyArray_DIMS({variables[n]});" for n in shapes.arrays]
    found = [*scalars.items()]
    found += [(n, f"*(npy_int64 *)PyArray_DATA({variables[n]})") for n in shapes.numbers]
    if shapes.shared_images():
        last, *others = reversed(shapes.shared)
        images = f"{last}_axes[0]"
        for name in others:
            images = f"{name}_is_one ? {images} : {name}_axes[0]"
        found.append(("N", images))
    for size, (name, i, factors) in shapes.axes.items():
        axis, rest = f"{name}_axes[{i}]", "*".join(factors)
        found.append((size, f"({rest}) ? {axis} / ({rest}) : 0" if rest else axis))
    for size, (function, *arguments) in shapes.functions.items():
        found.append((size, f"pixelvae::{function}({', '.join(arguments)})"))
    return lines + [f"const long {name} = {value};" for name, value in found]


def check(shapes: Shapes, variables: Mapping[str, str], op: str, fail: str) -> list[str]:
    """Lines that refuse inputs whose shapes do not fit, as :meth:`Shapes.fit` does."""
    conditions = []
    for name, array in shapes.arrays.items():
        axes = list(array.axes)
        if array.shared:
            axes[0] = f"({name}_is_one ? 1 : {axes[0]})"
        fits = " && ".join(f"{name}_axes[{i}] == {axis}" for i, axis in enumerate(axes))
        absent = f"!PyArray_SIZE({variables[name]})"
        conditions.append(f"({absent} || ({fits}))" if array.optional else fits)
    form = ", ".join(f"{name} %S" for name in shapes.arrays)
    shown = "".join(f", Shape({variables[name]}).tuple" for name in shapes.arrays)
    return [
        f"if (!({' && '.join(conditions)})) {{",
        f'PyErr_Format(PyExc_ValueError, "{op}: shapes do not fit: {form}"{shown});',
        f"{fail} }}",
    ]


def data(
    shapes: Shapes,
    variables: Mapping[str, str],
    outputs: Sequence[str],
    over: Mapping[str, str],
    in_place: bool,
    real: str,
    fail: str,
) -> list[str]:
    """Lines that declare pointers to the inputs and outputs; those named in ``over`` hold an input's values."""
    lines = [f"typedef {real} Real;"]
    for name, array in shapes.arrays.items():
        access = "optional_data" if array.optional else "data"
        lines.append(dense(name, variables[name], fail))
        lines.append(f"Real *{name} = (Real *){name}_dense.{access}();")
    like = next(iter(variables.values()))
    for (name, result), variable in zip(shapes.results.items(), outputs):
        old = over.get(name)
        lines += output(name, variable, result.axes, like, old if in_place else None, fail)
        if old and not in_place:
            lines.append(f"memcpy({name}, {old}, PyArray_NBYTES({variable}));")
    return lines


def dense(name: str, variable: str, fail: str) -> str:
    """A line that declares an input as a dense array."""
    return f"const Dense {name}_dense({variable}); if (!{name}_dense.array) {{ {fail} }}"


def output(
    name: str, variable: str, axes: Sequence[str], like: str, over: str | None, fail: str
) -> list[str]:
    """Lines that declare a pointer to an output of the type of ``like``: made, reused, or the input ``over``."""
    if over:
        lines = [f"give(&{variable}, {over}_dense.array);"]
    else:
        lines = [
            f"const npy_intp {name}_axes[] = {{{', '.join(axes)}}};",
            f"if (reuse(&{variable}, {len(axes)}, {name}_axes, PyArray_TYPE({like}))) {{ {fail} }}",
        ]
    return [*lines, f"Real *{name} = (Real *)PyArray_DATA({variable});"]


def call(text: str, op: str, fail: str) -> list[str]:
    """Lines that call the function and raise what it returns."""
    return [
        f"const char *problem = pixelvae::{text};",
        f'if (problem) {{ PyErr_Format(PyExc_ValueError, "{op}: %s", problem); {fail} }}',
    ]


@lru_cache(maxsize=None)
def digest(header: Path) -> int:
    """A number that changes with the text that the C++ is made of, so that Theano's cache notices an edit.

    It covers all headers of the folder, since they include each other.
    """
    result = 0
    for source in (Path(__file__), Path(_shapes.__file__), *sorted(header.parent.glob("*.h"))):
        result = zlib.crc32(source.read_bytes(), result)
    return result


SUPPORT = """
struct Dense {  // an array, or a copy of it if it is not contiguous
    PyArrayObject *array;
    explicit Dense(PyArrayObject *given) : array((PyArrayObject *)PyArray_GETCONTIGUOUS(given)) {}
    ~Dense() { Py_XDECREF(array); }
    void *data() const { return PyArray_DATA(array); }
    void *optional_data() const { return PyArray_SIZE(array) ? data() : NULL; }
private:
    Dense(const Dense &);
};
struct Shape {  // as Python shows it
    PyObject *tuple;
    explicit Shape(PyArrayObject *array) : tuple(PyObject_GetAttrString((PyObject *)array, "shape")) {}
    ~Shape() { Py_XDECREF(tuple); }
};
static inline int reuse(PyArrayObject **out, int nd, npy_intp const *axes, int type) {
    // Makes *out a contiguous array of the given shape, keeping the old one if it is.
    if (*out && PyArray_NDIM(*out) == nd && PyArray_CompareLists(PyArray_DIMS(*out), axes, nd) &&
        PyArray_IS_C_CONTIGUOUS(*out))
        return 0;
    Py_XDECREF(*out);
    *out = (PyArrayObject *)PyArray_EMPTY(nd, axes, type, 0);
    return *out ? 0 : -1;
}
static inline void give(PyArrayObject **out, PyArrayObject *array) {
    Py_INCREF(array);
    Py_XDECREF(*out);
    *out = array;
}
"""
