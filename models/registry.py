"""The families of models, each registered here once, and loaded when it is needed.

Imports no Theano.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pixelvae.machine.errors import UserError
from pixelvae.models.checked import Checked
from pixelvae.models.family import Family, named

#: The dotted path of each family by its name, which stands in the headers of weights files.
FAMILIES = {
    "mnist": "pixelvae.models.mnist.presets.MNIST",
    "hierarchical": "pixelvae.models.hierarchical.presets.HIERARCHICAL",
}


def parse_header(header: Any) -> tuple[Family, Checked]:
    """The family and settings in a header.

    Files from before families had names are recognised by what only one family's settings hold.

    Raises
    ------
    UserError
        It is not a model's header (:func:`pixelvae.models.family.header_of`).
    """
    if not isinstance(header, Mapping):
        raise UserError("the header does not describe a model")
    settings = dict(header)
    name = settings.pop("family") if "family" in settings else _recognised(settings)
    if not isinstance(name, str) or name not in FAMILIES:
        raise UserError(f"there is no family of models {str(name)[:40]!r} here")
    family: Family = named(FAMILIES[name])
    return family, family.settings.parse(settings)


def _recognised(settings: Mapping[str, Any]) -> str | None:
    for name, path in FAMILIES.items():
        known = named(path).settings.names()
        if settings and all(setting in known for setting in settings):
            return name
    return None
