"""The sizes of the models for binary images, and how they are trained (section 4.1).

Imports no Theano.
"""

from __future__ import annotations

from dataclasses import dataclass

from pixelvae.lib.training.recipe import Recipe
from pixelvae.machine.errors import UserError
from pixelvae.machine.kinds import choice, maybe, number, whole
from pixelvae.models.checked import Checked, setting
from pixelvae.models.family import (
    AVERAGE_DECAY,
    DECAY_AFTER,
    RATE_WARMUP,
    WEIGHT_DECAY,
    Family,
    Pictured,
    Preset,
    falling,
    share,
)
from pixelvae.models.mnist.table1 import VARIANTS, Variant

_SIDE = whole(most=10_000)


@dataclass(frozen=True)
class Settings(Checked):
    """What makes one model of table 1: the defaults are the paper's sizes.

    layers (L): PixelCNN layers after the first; dim_pix (D): their width; latent_dim (K): of z;
    filter_size (k): of those layers; height and width of the images.
    """

    model: str = setting(choice(VARIANTS), "gated-pixelvae-noup", about="a model of table 1")
    layers: int = setting(whole(least=0), 12, about="PixelCNN layers after the first (L)")
    dim_pix: int = setting(whole(), 32, about="their width (D)")
    latent_dim: int = setting(whole(), 64, about="dimensions of z (K)")
    filter_size: int = setting(whole(odd=True), 5, about="their filter size, odd (k)")
    height: int = setting(_SIDE, 28)
    width: int = setting(_SIDE, 28)

    @property
    def name(self) -> str:
        """What the model is called in messages and records."""
        return self.model

    @property
    def variant(self) -> Variant:
        """The parts of the model."""
        return VARIANTS[self.model]

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        return (1, self.height, self.width)

    def fitted(self, image_shape: tuple[int, int, int]) -> Settings:
        """The same model for images of another size. Raises UserError if they are in colour."""
        channels, height, width = image_shape
        if channels != 1:
            raise UserError(f"images of {channels} channels are not binary ones: choose other data")
        return self.changed({"height": height, "width": width})


@dataclass(frozen=True)
class Training(Checked):
    """How a model is trained: Adam, whose learning rate falls as √(decay_after / t) if that is set.

    kl_warmup: iterations until the KL counts in full. average_decay: of the moving average of the
    weights that is evaluated, None for the weights themselves. cool_down: iterations at the end
    over which the learning rate falls to zero in a straight line. rate_warmup, weight_decay,
    dropout and shifted, as in the recipe, are not the paper's.
    """

    iterations: int = setting(whole(), about="iterations to train")
    batch_size: int = setting(whole(), about="images in a training batch")
    learning_rate: float = setting(number(), about="Adam's step")
    decay_after: int | None = setting(**DECAY_AFTER)
    average_decay: float | None = setting(**AVERAGE_DECAY)
    kl_warmup: int = setting(whole(), about="iterations until the KL counts in full")
    eval_every: int = setting(whole(), about="iterations from one evaluation to the next")
    cool_down: int | None = setting(
        maybe(whole()), None, about="over the last N iterations, the learning rate falls to zero"
    )
    rate_warmup: int | None = setting(default=None, **RATE_WARMUP)
    weight_decay: float | None = setting(default=None, **WEIGHT_DECAY)
    dropout: float | None = share("share of the maps of the layers over pixels that is set to 0")
    shifted: float | None = share("share of the training images that are moved by one pixel")

    def schedule(self, t: int) -> dict[str, float]:
        """The learning rate and α of iteration t >= 1.

        Before the cool-down, neither depends on how long the training will be, so that it can be
        prolonged.
        """
        left = self.iterations - t + 1
        cooling = min(1.0, left / self.cool_down) if self.cool_down else 1.0
        return {
            "learning_rate": self.learning_rate * falling(self.decay_after, t) * cooling,
            "alpha": min(1.0, t / self.kl_warmup),
        }

    def recipe(self, seed: int, on_nan: str = "stop") -> Recipe:
        """What the training loop follows."""
        return Recipe(
            self.iterations, self.batch_size, self.eval_every, seed, self.schedule,
            clip_entry=1.0, average_decay=self.average_decay, on_nan=on_nan,
            rate_warmup=self.rate_warmup, weight_decay=self.weight_decay, dropout=self.dropout,
            shifted=self.shifted,
        )  # fmt: skip


#: The paper's recipe and sizes; a recipe that gets further on few cores (smaller batches, a
#: learning rate that falls, averaged weights) at a size that they can train; and one for some
#: minutes on a laptop's CPU.
PRESETS = {
    preset.name: preset
    for preset in (
        Preset(
            "paper", Settings(layers=12, dim_pix=32, latent_dim=64),
            Training(iterations=200_000, batch_size=100, learning_rate=1e-3, decay_after=None,
                     average_decay=None, kl_warmup=10_000, eval_every=500), any_size=True,
        ),
        Preset(
            "few-cores", Settings(layers=8, dim_pix=16, latent_dim=32),
            Training(iterations=50_000, batch_size=16, learning_rate=2e-3, decay_after=5_000,
                     average_decay=0.999, kl_warmup=5_000, eval_every=3_125), any_size=True,
        ),
        Preset(
            "quick", Settings(layers=4, dim_pix=16, latent_dim=32),
            Training(iterations=6_000, batch_size=16, learning_rate=4e-3, decay_after=5_000,
                     average_decay=0.99, kl_warmup=4_000, eval_every=1_500, cool_down=2_000),
            any_size=True,
        ),
    )
}  # fmt: skip

MNIST = Family(
    "mnist", Settings, Training, "pixelvae.models.mnist.model.MnistModel", PRESETS,
    levels=2, pictured=Pictured(samples=100, originals=50, draws=1, few=16),
    growth="pixelvae.models.mnist.growth.growth",
)  # fmt: skip
