"""Settings that cannot hold nonsense: each field of a dataclass declares what its values may be.

A :class:`Checked` object made of a file's header, a command line or a caller's arguments is checked
when it is made, so whoever holds one need not ask again. Imports no Theano.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from pixelvae.machine.errors import UserError
from pixelvae.machine.kinds import Kind

_KIND = "kind"
_SHOWN = 40  # characters of a value in a message

C = TypeVar("C", bound="Checked")


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
