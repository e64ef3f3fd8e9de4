"""Settings that cannot hold nonsense: each field of a dataclass says what its values may be.

A :class:`Checked` object made of a file's header, a command line or a caller's arguments is checked
when it is made, so whoever holds one need not ask again. Imports no Theano.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from pixelvae.machine.errors import UserError

LARGEST = 2**31 - 1  # what NumPy's seeds and Theano's sizes take everywhere
_KIND = "kind"
_SHOWN = 40  # characters of a value in a message

C = TypeVar("C", bound="Checked")


class Kind:
    """What the values of a setting may be.

    ``wanted`` completes "must be …", ``metavar`` stands for a value in an option's help.
    """

    wanted = ""
    metavar = "N"

    def holds(self, value: Any) -> bool:
        """Whether the value is one of them."""
        raise NotImplementedError

    def read(self, text: str) -> Any:
        """The value that a text stands for, checked. Raises ValueError if it stands for none."""
        raise NotImplementedError


@dataclass(frozen=True)
class Whole(Kind):
    """Whole numbers."""

    least: int = 1
    most: int = LARGEST
    odd: bool = False

    @property
    def wanted(self) -> str:  # type: ignore[override]
        return f"{'an odd' if self.odd else 'a whole'} number from {self.least} to {self.most}"

    def holds(self, value: Any) -> bool:
        whole = isinstance(value, int) and not isinstance(value, bool)
        return whole and self.least <= value <= self.most and (not self.odd or value % 2 == 1)

    def read(self, text: str) -> int:
        return _held(self, int(text))


@dataclass(frozen=True)
class Number(Kind):
    """Finite numbers above 0 and below a limit."""

    below: float = math.inf

    @property
    def wanted(self) -> str:  # type: ignore[override]
        return "a number above 0" + ("" if math.isinf(self.below) else f" and below {self.below:g}")

    @property
    def metavar(self) -> str:  # type: ignore[override]
        return "FRACTION" if self.below == 1 else "X"

    def holds(self, value: Any) -> bool:
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        return number and 0 < value < self.below

    def read(self, text: str) -> float:
        return _held(self, float(text))


@dataclass(frozen=True)
class Choice(Kind):
    """Some words."""

    words: Collection[str]

    @property
    def wanted(self) -> str:  # type: ignore[override]
        return f"one of {', '.join(self.words)}"

    def holds(self, value: Any) -> bool:
        return isinstance(value, str) and value in self.words

    def read(self, text: str) -> str:
        return _held(self, text)


class Text(Kind):
    """One line of text."""

    wanted = "a line of text"

    def holds(self, value: Any) -> bool:
        return isinstance(value, str) and 0 < len(value) <= 200 and value.isprintable()


@dataclass(frozen=True)
class Maybe(Kind):
    """Nothing, or a value of another kind."""

    kind: Kind

    @property
    def wanted(self) -> str:  # type: ignore[override]
        return self.kind.wanted

    @property
    def metavar(self) -> str:  # type: ignore[override]
        return self.kind.metavar

    def holds(self, value: Any) -> bool:
        return value is None or self.kind.holds(value)

    def read(self, text: str) -> Any:
        return self.kind.read(text)


@dataclass(frozen=True)
class Tuples(Kind):
    """Tuples of so many values of one kind."""

    kind: Kind
    least: int = 0
    most: int = 100

    @property
    def wanted(self) -> str:  # type: ignore[override]
        return f"{self.least} to {self.most} times {self.kind.wanted}"

    def holds(self, value: Any) -> bool:
        number = self.least <= len(value) <= self.most if isinstance(value, tuple) else False
        return number and all(map(self.kind.holds, value))


@dataclass(frozen=True)
class Pair(Kind):
    """Tuples of two values, each of a kind of its own."""

    first: Kind
    second: Kind

    @property
    def wanted(self) -> str:  # type: ignore[override]
        return f"a pair of {self.first.wanted} and {self.second.wanted}"

    def holds(self, value: Any) -> bool:
        pair = isinstance(value, tuple) and len(value) == 2
        return pair and self.first.holds(value[0]) and self.second.holds(value[1])


def _held(kind: Kind, value: Any) -> Any:
    if not kind.holds(value):
        raise ValueError(value)
    return value


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
        What a command line says about it. Fields that say nothing are no options.
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

    Making one raises UserError if a value is not of its field's kind; the error's ``setting`` is the
    name of the option.
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
