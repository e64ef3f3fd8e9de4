"""The shapes of an operation's inputs and outputs, declared once: for C++, NumPy and Theano.

And the C++ around the call of the operation's function, which follows from them.
"""

from __future__ import annotations

import zlib
from functools import lru_cache, reduce
from operator import mul
from pathlib import Path
from typing import Any, Iterable, Iterator, Mapping, Sequence, Union

Declared = Mapping[str, Union[str, type]]


class Shapes:
    """Which sizes there are, where each is found, and what must agree.

    Parameters
    ----------
    takes, gives, sizes
        As :class:`pixelvae.lib.ops.native.NativeOp` declares them.
    scalars
        Sizes that are known from elsewhere.
    """

    def __init__(
        self,
        takes: Declared,
        gives: Mapping[str, str],
        sizes: Mapping[str, Sequence[str]],
        scalars: Iterable[str],
    ):
        self.numbers = [name for name, text in takes.items() if text is int]
        texts = {name: str(text) for name, text in takes.items() if text is not int}
        #: Array -> the size of each axis: a name or a product of names and numbers, ``2*D``.
        self.arrays = {n: t.replace("1|", "").replace("?", "").split() for n, t in texts.items()}
        self.results = {name: text.split() for name, text in gives.items()}
        self.optional = [name for name, text in texts.items() if text.endswith("?")]
        self.shared = [name for name, text in texts.items() if text.startswith("1|")]
        self.functions = sizes
        #: Size -> (array, axis, the axis's other factors), in the order in which they can be found.
        self.axes: dict[str, tuple[str, int, list[str]]] = {}
        known = {*scalars, *self.numbers, *sizes, *("N" if self.shared_images() else "")}
        for products in (False, True):
            for name, i, axis in self._all_axes():
                if name not in self.optional:
                    factors = axis.split("*")
                    new = [f for f in factors if not f.isdigit() and f not in known]
                    if new and (len(factors) > 1) is products:
                        rest = [f for f in factors if f != new[0]]
                        self.axes[new[0]] = name, i, rest
                        known.add(new[0])

    def _all_axes(self) -> Iterator[tuple[str, int, str]]:
        for name, axes in self.arrays.items():
            for i, axis in enumerate(axes):
                yield name, i, axis

    def shared_images(self) -> bool:
        """Whether every input with N images may hold one for all of them."""
        of_images = {n for n, axes in self.arrays.items() if axes[0] == "N"} - {*self.optional}
        return bool(self.shared) and of_images.issubset(self.shared)

    def broadcastable(self, patterns: Mapping[str, Sequence[bool]]) -> list[list[bool]]:
        """Which axes of the outputs are known to be 1, from the types of the inputs."""
        known = {
            axis
            for name, i, axis in self._all_axes()
            if patterns[name][i] and not (axis == "N" and name in self.shared)
        }
        if self.shared_images() and all(patterns[name][0] for name in self.shared):
            known.add("N")
        known.add("1")
        return [[axis in known for axis in axes] for axes in self.results.values()]

    def find(
        self, op, shapes: Mapping[str, Sequence], numbers: Mapping[str, Any], one: Iterable[str]
    ) -> dict[str, Any]:
        """All sizes by name.

        Parameters
        ----------
        op
            Has the scalars as attributes and the functions as methods.
        shapes, numbers
            Of the inputs, in whole numbers or symbolic variables.
        one
            The inputs that have one image for all.
        """
        found = {name: getattr(op, name) for name in op.__props__}
        found.update(numbers)
        if self.shared_images():
            several = [name for name in self.shared if name not in one]
            found["N"] = shapes[(several or self.shared)[0]][0]
        for size, (name, i, rest) in self.axes.items():
            found[size] = _quotient(shapes[name][i], _product(rest, found))
        for size, (function, *arguments) in self.functions.items():
            found[size] = getattr(op, function)(*[found[a] for a in arguments])
        return found

    def outputs(self, sizes: Mapping[str, Any]) -> list[tuple]:
        """The outputs' shapes."""
        return [_shape(axes, sizes) for axes in self.results.values()]

    def fit(
        self, shapes: Mapping[str, tuple], sizes: Mapping[str, Any], one: Iterable[str]
    ) -> bool:
        """Whether the inputs' shapes agree with the sizes, as :meth:`find` has them."""
        of_one = {**sizes, "N": 1}
        return all(
            shape == _shape(self.arrays[name], of_one if name in one else sizes)
            for name, shape in shapes.items()
        )


def _shape(axes: Sequence[str], sizes: Mapping[str, Any]) -> tuple:
    return tuple(_product(axis.split("*"), sizes) for axis in axes)


def _product(factors: Iterable[str], sizes: Mapping[str, Any]):
    """The product of names of sizes and of numbers; 1 if there are none."""
    values = [int(f) if f.isdigit() else sizes[f] for f in factors]
    return reduce(mul, values) if values else 1


def _quotient(size, rest):
    """In C++ alike, for an array without elements must not divide by 0."""
    if isinstance(rest, int) and rest < 2:
        return size if rest else 0
    return size // rest


# The C++ around the call.


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
    for name, (first, *rest) in shapes.arrays.items():
        axes = [f"({name}_is_one ? 1 : {first})" if name in shapes.shared else first, *rest]
        fits = " && ".join(f"{name}_axes[{i}] == {axis}" for i, axis in enumerate(axes))
        absent = f"!PyArray_SIZE({variables[name]})"
        conditions.append(f"({absent} || ({fits}))" if name in shapes.optional else fits)
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
    """Lines that declare pointers to the inputs and outputs.

    Those named in ``over`` hold an input's values.
    """
    lines = [f"typedef {real} Real;"]
    for name in shapes.arrays:
        access = "optional_data" if name in shapes.optional else "data"
        lines.append(dense(name, variables[name], fail))
        lines.append(f"Real *{name} = (Real *){name}_dense.{access}();")
    like = next(iter(variables.values()))
    for (name, axes), variable in zip(shapes.results.items(), outputs):
        old = over.get(name)
        lines += output(name, variable, axes, like, old if in_place else None, fail)
        if old and not in_place:
            lines.append(f"memcpy({name}, {old}, PyArray_NBYTES({variable}));")
    return lines


def dense(name: str, variable: str, fail: str) -> str:
    """A line that declares an input as a dense array."""
    return f"const Dense {name}_dense({variable}); if (!{name}_dense.array) {{ {fail} }}"


def output(
    name: str, variable: str, axes: Sequence[str], like: str, over: str | None, fail: str
) -> list[str]:
    """Lines that declare a pointer to an output typed as ``like``: new, reused, or ``over``."""
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
    """A number that changes with the text of the C++, so that Theano's cache notices an edit.

    It covers all headers of the folder, since they include each other.
    """
    result = 0
    for source in (Path(__file__), *sorted(header.parent.glob("*.h"))):
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
