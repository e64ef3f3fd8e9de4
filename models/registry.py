"""The families of models, each registered here once. Imports no Theano."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pixelvae.machine.errors import UserError
from pixelvae.models.checked import Checked
from pixelvae.models.family import Family, Mode
from pixelvae.models.hierarchical import presets
from pixelvae.models.hierarchical.ablations import ABLATIONS
from pixelvae.models.hierarchical.settings import BATCH_NORMS, Settings
from pixelvae.models.mnist import presets as mnist_presets

if TYPE_CHECKING:
    from pixelvae.lib.model import Model


def _mnist(settings: Any, seed: int = 0, limit: int | None = None) -> Model:
    from pixelvae.models.mnist.model import MnistModel

    return MnistModel(settings, seed, limit)


def _hierarchical(
    settings: Any, seed: int = 0, limit: int | None = None, batch_norm: str = BATCH_NORMS[0]
) -> Model:
    from pixelvae.models.hierarchical.model import HierarchicalModel

    return HierarchicalModel(settings, seed, batch_norm, limit)


MNIST = Family(
    "mnist",
    mnist_presets.Settings,
    mnist_presets.Training,
    _mnist,
    mnist_presets.PRESETS,
    levels=2,
    layered=False,
)
HIERARCHICAL = Family(
    "hierarchical",
    Settings,
    presets.Training,
    _hierarchical,
    presets.PRESETS,
    levels=256,
    layered=True,
    columns=("kl1", "kl2", "alpha1", "alpha2", "sigma_floor", "free_bits"),
    variations=ABLATIONS,
    modes=(
        Mode(
            "batch_norm",
            "statistics: blended with the image's own, as the released code does, or moving alone",
            BATCH_NORMS,
        ),
    ),
    evaluation_batch=16,
)
FAMILIES = {family.name: family for family in (MNIST, HIERARCHICAL)}


def parse_header(header: Any) -> tuple[Family, Checked]:
    """Family and settings of what a header says about a model.

    Files from before families had names are recognised by what only one family's settings hold.

    Raises
    ------
    UserError
        It is not what a model says about itself (:func:`pixelvae.models.family.header_of`).
    """
    if not isinstance(header, Mapping):
        raise UserError("the header does not describe a model")
    settings = dict(header)
    name = settings.pop("family") if "family" in settings else _recognised(settings)
    family = FAMILIES.get(name) if isinstance(name, str) else None
    if family is None:
        raise UserError(f"there is no family of models {str(name)[:40]!r} here")
    return family, family.settings.parse(settings)


def _recognised(settings: Mapping[str, Any]) -> str | None:
    for family in FAMILIES.values():
        if settings and all(name in family.settings.names() for name in settings):
            return family.name
    return None
