"""Settings that cannot hold nonsense: each field of a dataclass declares what its values may be.

A :class:`Checked` object made of a file's header, a command line or a caller's arguments is checked
when it is made, so whoever holds one need not ask again. Imports no Theano.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Callable, TypeVar

from pixelvae.machine.errors import UserError

LARGEST = 2**31 - 1  # what NumPy's seeds and Theano's sizes take everywhere
_KIND = "kind"
_SHOWN = 40  # characters of a value in a message

C = TypeVar("C", bound="Checked")


@dataclass(frozen=True)
class Kind:
    """What the values of a setting may be.

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

    def read(self, text: str) -> Any:
        """The value that a text stands for, checked. Raises ValueError if it stands for none."""
        value = self.convert(text)
        if not self.holds(value):
            raise ValueError(value)
        return value


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


def setting(
    kind: Kind, default: Any = dataclasses.MISSING, *, about: str = "", option: str = ""
) -> Any:
    """Declare a field of a :class:`Checked` dataclass.

    Parameters
    ----------
    kind
        What its values may be.
    default
        Without one the field must be given.
    about
        Its help on a command line. Fields without are not options.
    option
        The option's name, if it is not the field's.
    """
    return dataclasses.field(
        default=default, metadata={_KIND: kind, "about": about, "option": option}
    )


@dataclass(frozen=True)
class Option:
    """A field that can be chosen from outside."""

    field: str
    name: str
    kind: Kind
    about: str


@dataclass(frozen=True)
class Checked:
    """Base of dataclasses whose fields are all made by :func:`setting`.

    Making one raises UserError if a value is not of its field's kind; the error's ``setting`` is
    the name of the option.
    """

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            kind, value = field.metadata[_KIND], getattr(self, field.name)
            if not kind.holds(value):
                shown = repr(value)
                shown = shown if len(shown) <= _SHOWN else shown[:_SHOWN] + "…"
                raise UserError(
                    f"{field.name} must be {kind.wanted}, not {shown}",
                    setting=field.metadata["option"] or field.name,
                )

    @classmethod
    def names(cls) -> list[str]:
        """The names of all fields."""
        return [field.name for field in dataclasses.fields(cls)]

    @classmethod
    def options(cls) -> list[Option]:
        """The fields that can be chosen from outside."""
        return [
            Option(f.name, f.metadata["option"] or f.name, f.metadata[_KIND], f.metadata["about"])
            for f in dataclasses.fields(cls)
            if f.metadata["about"]
        ]

    @classmethod
    def parse(cls: type[C], values: Any) -> C:
        """The settings that JSON holds, in which tuples have become lists.

        Raises
        ------
        UserError
            It is not an object with these fields, or a value is not of its field's kind.
        """
        if not isinstance(values, Mapping):
            raise UserError(f"settings must be an object, not {str(values)[:_SHOWN]!r}")
        names = cls.names()
        unknown = [str(name)[:_SHOWN] for name in values if name not in names]
        if unknown:
            raise UserError(f"there is no setting {unknown[0]!r}")
        for field in dataclasses.fields(cls):
            if field.default is dataclasses.MISSING and field.name not in values:
                raise UserError(f"the setting {field.name!r} is missing")
        return cls(**{name: _tuples(value) for name, value in values.items()})

    @classmethod
    def within(cls: type[C], values: Any) -> C:
        """The same from an object that holds other things beside them."""
        if not isinstance(values, Mapping):
            return cls.parse(values)
        return cls.parse({name: values[name] for name in cls.names() if name in values})

    def changed(self: C, changes: Mapping[str, Any]) -> C:
        """With other values for those of its fields that the changes name."""
        mine = {name: value for name, value in changes.items() if name in self.names()}
        return dataclasses.replace(self, **mine)


def _tuples(value: Any) -> Any:
    return tuple(_tuples(v) for v in value) if isinstance(value, (list, tuple)) else value
