"""The shapes of an operation's inputs and outputs, declared once: for C++, NumPy and Theano."""

from __future__ import annotations

from functools import reduce
from operator import mul
from typing import Any, Iterable, Mapping, NamedTuple, Sequence, Union

Declared = Mapping[str, Union[str, type]]


class Argument(NamedTuple):
    """An input or an output, as :class:`pixelvae.lib.ops.native.NativeOp` declares it."""

    axes: tuple[str, ...]  #: each axis's size: a name or a product of names and numbers, ``2*D``
    optional: bool = False  #: may be left out
    shared: bool = False  #: may hold one image for all N, if its type says so

    @classmethod
    def parse(cls, text: str) -> Argument:
        """``"N C H W"``, with ``1|`` before and ``?`` behind, if it is so."""
        axes = text.replace("1|", "").replace("?", "").split()
        return cls(tuple(axes), text.endswith("?"), text.startswith("1|"))


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
        self.arrays = {n: Argument.parse(str(t)) for n, t in takes.items() if n not in self.numbers}
        self.results = {name: Argument.parse(text) for name, text in gives.items()}
        self.shared = [name for name, array in self.arrays.items() if array.shared]
        self.functions = sizes
        #: Size -> (array, axis, the axis's other factors), in the order in which they can be found.
        self.axes: dict[str, tuple[str, int, list[str]]] = {}
        known = {*scalars, *self.numbers, *sizes, *("N" if self.shared_images() else "")}
        for products in (False, True):
            for name, array in self.arrays.items():
                for i, axis in enumerate(array.axes):
                    factors = axis.split("*")
                    new = [f for f in factors if not f.isdigit() and f not in known]
                    if new and not array.optional and (len(factors) > 1) is products:
                        rest = [f for f in factors if f != new[0]]
                        self.axes[new[0]] = name, i, rest
                        known.add(new[0])

    def shared_images(self) -> bool:
        """Whether every input that tells the number of images N may hold one for all of them."""
        of_images = [a for a in self.arrays.values() if a.axes[0] == "N" and not a.optional]
        return bool(self.shared) and all(array.shared for array in of_images)

    def broadcastable(self, patterns: Mapping[str, Sequence[bool]]) -> list[list[bool]]:
        """Which axes of the outputs are known to be 1, from those of the inputs that are by their types."""
        known = {
            axis
            for name, array in self.arrays.items()
            for axis, one in zip(array.axes, patterns[name])
            if one and not (axis == "N" and array.shared)
        }
        if self.shared_images() and all(patterns[name][0] for name in self.shared):
            known.add("N")
        known.add("1")
        return [[axis in known for axis in result.axes] for result in self.results.values()]

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
        return [_shape(result, sizes) for result in self.results.values()]

    def fit(
        self, shapes: Mapping[str, tuple], sizes: Mapping[str, Any], one: Iterable[str]
    ) -> bool:
        """Whether the inputs' shapes agree with the sizes, as :meth:`find` has them."""
        of_one = {**sizes, "N": 1}
        return all(
            shape == _shape(self.arrays[name], of_one if name in one else sizes)
            for name, shape in shapes.items()
        )


def _shape(argument: Argument, sizes: Mapping[str, Any]) -> tuple:
    return tuple(_product(axis.split("*"), sizes) for axis in argument.axes)


def _product(factors: Iterable[str], sizes: Mapping[str, Any]):
    """The product of names of sizes and of numbers; 1 if there are none."""
    values = [int(f) if f.isdigit() else sizes[f] for f in factors]
    return reduce(mul, values) if values else 1


def _quotient(size, rest):
    """In C++ alike, for an array without elements must not divide by 0."""
    if isinstance(rest, int) and rest < 2:
        return size if rest else 0
    return size // rest
