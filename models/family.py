"""What is known of a family of models without building one: settings, presets, how it is trained.

Imports no Theano, so that a command line that names a model can still choose the device.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import import_module
from typing import TYPE_CHECKING, Any, Callable

from pixelvae.lib.training.recipe import Recipe
from pixelvae.machine.errors import UserError
from pixelvae.machine.kinds import maybe, number, whole
from pixelvae.models.checked import Checked, setting

if TYPE_CHECKING:
    from pixelvae.lib.model import Model

_SEED = whole(least=0)


@dataclass(frozen=True)
class Preset:
    """A size of a model and how it is trained, under a name.

    Parameters
    ----------
    settings, training
        Objects of the family's classes. Where both have a field of one name, it has one value.
    any_size
        Whether it takes images of any height and width rather than those of its settings alone.
    """

    name: str
    settings: Any
    training: Any
    any_size: bool = False

    def changed(self, changes: Mapping[str, Any]) -> Preset:
        """With other values for what the changes name, in settings and training."""
        return replace(
            self, settings=self.settings.changed(changes), training=self.training.changed(changes)
        )


@dataclass(frozen=True)
class Variation:
    """A change to a preset that is more than other values: an ablation of the paper.

    Parameters
    ----------
    name, about
        Its name, and its help on a command line.
    words
        What can be chosen, the preset's own way first; none if it is only on or off.
    apply
        Gives the preset changed, for one of the words, or for True. Raises UserError if that makes
        no sense for the preset.
    """

    name: str
    about: str
    apply: Callable[[Preset, Any], Preset]
    words: Sequence[str] = ()


@dataclass(frozen=True)
class Mode:
    """A choice in how a model is evaluated and sampled, which its training does not depend on."""

    name: str
    about: str
    words: Sequence[str]  # the default first


@dataclass(frozen=True)
class Pictured:
    """How many images the pictures of such models show by default.

    Parameters
    ----------
    samples
        Drawn from the model.
    originals, draws
        Originals, and reconstructions beside each.
    few
        Samples, if drawing has to take little time: while training, and for a page.
    """

    samples: int
    originals: int
    draws: int
    few: int


@dataclass(frozen=True)
class Family:
    """Models that are made, trained and saved in one way.

    Parameters
    ----------
    name
        What a weights file's header calls it.
    settings, training
        The :class:`pixelvae.models.checked.Checked` classes of what makes a model
        and of how it is trained. The first has ``name``, ``image_shape`` (C, H, W) and a method
        ``fitted(image_shape)``, which gives the same model for images of another size or raises
        UserError; the second has a method ``recipe(seed, on_nan)``.
    model
        The dotted path of the class of its models, a :class:`pixelvae.lib.model.Model`. It is
        called with settings, ``seed``, ``limit`` (see
        :class:`pixelvae.lib.layers.parameters.Parameters`) and the ``modes`` by name.
    presets
        By name.
    levels
        How many values a pixel can have.
    pictured
        How many images pictures show.
    columns
        What metrics.csv holds beside what all models have.
    variations, modes
        What can be chosen beside the fields of settings and training.
    growth
        The dotted path of a function of settings and larger ones, which gives the steps of
        :mod:`pixelvae.models.growth`; none if the models cannot grow.
    evaluation_batch
        Images in a batch while evaluating, by default.
    """

    name: str
    settings: type[Checked]
    training: type[Checked]
    model: str
    presets: Mapping[str, Preset]
    levels: int
    pictured: Pictured
    columns: Sequence[str] = ()
    variations: Sequence[Variation] = field(default=())
    modes: Sequence[Mode] = field(default=())
    growth: str = ""
    evaluation_batch: int = 100

    def build(self, settings: Any, seed: int = 0, limit: int | None = None, **modes: Any) -> Model:
        """A model of these settings, untrained."""
        return named(self.model)(settings, seed=seed, limit=limit, **modes)

    def recipe(self, settings: Any) -> Recipe:
        """The recipe that a run's settings describe. Raises UserError if they describe none."""
        training: Any = self.training.within(settings)
        if not _SEED.holds(settings.get("seed")):
            raise UserError(f"the seed must be {_SEED.wanted}")
        return training.recipe(settings["seed"])


def header_of(family: str, settings: Checked) -> dict[str, Any]:
    """The header of a model's weights file: the name of its family and its settings."""
    return {"family": family, **vars(settings)}


def named(path: str) -> Any:
    """What a dotted path names: imported only now, because its module needs Theano."""
    module, _, name = path.rpartition(".")
    return getattr(import_module(module), name)


#: Declare the settings of the learning rate (see :func:`falling`) and of an average of the weights:
#: ``setting(**DECAY_AFTER)``.
DECAY_AFTER: dict[str, Any] = {
    "kind": maybe(whole()),
    "about": "from iteration N on, the learning rate falls as sqrt(N / t)",
}
AVERAGE_DECAY: dict[str, Any] = {
    "kind": maybe(number(below=1)),
    "about": "evaluate the exponential moving average of the weights with this decay",
}
RATE_WARMUP: dict[str, Any] = {
    "kind": maybe(whole()),
    "about": "over the first N iterations of a run, the learning rate rises from zero",
}
#: Declare the settings of :class:`pixelvae.lib.training.recipe.Recipe` that keep a model general.
WEIGHT_DECAY: dict[str, Any] = {
    "kind": maybe(number()),
    "about": "each step takes this times the learning rate off the weights",
}


def share(about: str) -> Any:
    """Declare a share of training images or maps that something is done to, none by default."""
    return setting(maybe(number(below=1)), None, about=about)


def falling(decay_after: int | None, t: int) -> float:
    """A learning rate's factor √(decay_after / t) at iteration t >= 1, at most 1; 1 if None."""
    return min(1.0, decay_after / t) ** 0.5 if decay_after else 1.0
