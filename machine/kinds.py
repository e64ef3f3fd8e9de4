"""What the value of an option or setting may be, and how it is read from text.

Imports no Theano.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import math
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Callable

LARGEST = 2**31 - 1  # what NumPy's seeds and Theano's sizes take everywhere


@dataclass(frozen=True, eq=False)
class Kind:
    """What the values of an option or setting may be; a type for argparse.

    Parameters
    ----------
    wanted
        Completes "must be …".
    holds
        Whether a value is one of them.
    convert
        Gives the value that a text stands for, not yet checked. Raises ValueError if it stands for
        none.
    words
        All of them, if they are some words.
    metavar
        Stands for a value in an option's help.
    """

    wanted: str
    holds: Callable[[Any], bool]
    convert: Callable[[str], Any] = str
    words: Collection[str] = ()
    metavar: str = "N"

    def __call__(self, text: str) -> Any:
        """The value that a text stands for, as argparse asks for it: else ArgumentTypeError."""
        with contextlib.suppress(ValueError):
            value = self.convert(text)
            if self.holds(value):
                return value
        raise argparse.ArgumentTypeError(f"must be {self.wanted}, not {text[:20]!r}")


def whole(least: int = 1, most: int = LARGEST, odd: bool = False) -> Kind:
    """Whole numbers."""

    def holds(value: Any) -> bool:
        integer = isinstance(value, int) and not isinstance(value, bool)
        return integer and least <= value <= most and (not odd or value % 2 == 1)

    return Kind(f"{'an odd' if odd else 'a whole'} number from {least} to {most}", holds, int)


def number(below: float = math.inf) -> Kind:
    """Finite numbers above 0 and below a limit."""

    def holds(value: Any) -> bool:
        real = isinstance(value, (int, float)) and not isinstance(value, bool)
        return real and 0 < value < below

    limit = "" if math.isinf(below) else f" and below {below:g}"
    metavar = "FRACTION" if below == 1 else "X"
    return Kind(f"a number above 0{limit}", holds, float, metavar=metavar)


def choice(words: Collection[str]) -> Kind:
    """Some words."""

    def holds(value: Any) -> bool:
        return isinstance(value, str) and value in words

    return Kind(f"one of {', '.join(words)}", holds, words=words)


def text() -> Kind:
    """One line of text."""

    def holds(value: Any) -> bool:
        return isinstance(value, str) and 0 < len(value) <= 200 and value.isprintable()

    return Kind("a line of text", holds)


def maybe(kind: Kind) -> Kind:
    """None, or a value of another kind."""
    return dataclasses.replace(kind, holds=lambda value: value is None or kind.holds(value))


def tuples(kind: Kind, least: int = 0, most: int = 100) -> Kind:
    """Tuples of so many values of one kind."""

    def holds(value: Any) -> bool:
        many = isinstance(value, tuple) and least <= len(value) <= most
        return many and all(map(kind.holds, value))

    return Kind(f"{least} to {most} times {kind.wanted}", holds)


def pair(first: Kind, second: Kind) -> Kind:
    """Tuples of two values, each of a kind of its own."""

    def holds(value: Any) -> bool:
        two = isinstance(value, tuple) and len(value) == 2
        return two and first.holds(value[0]) and second.holds(value[1])

    return Kind(f"a pair of {first.wanted} and {second.wanted}", holds)
