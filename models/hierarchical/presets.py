"""The sizes of all models for larger images, to be read beside table E.2, and how each is trained.

A stage is (width, residual blocks); from one to the next, images halve in encoders and double in
decoders.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from pixelvae.lib.training.recipe import Recipe
from pixelvae.machine.errors import UserError
from pixelvae.machine.kinds import maybe, number, pair, tuples, whole
from pixelvae.models.checked import Checked, setting
from pixelvae.models.family import (
    AVERAGE_DECAY,
    DECAY_AFTER,
    RATE_WARMUP,
    WEIGHT_DECAY,
    Family,
    Mode,
    Pictured,
    Preset,
    falling,
    share,
)
from pixelvae.models.hierarchical.ablations import ABLATIONS
from pixelvae.models.hierarchical.settings import BATCH_NORMS, Settings


@dataclass(frozen=True)
class Training(Checked):
    """The recipe (section E.2 and the released code): Adam with a falling learning rate.

    It falls by staircase ``decay``, or as √(decay_after / t) if that is set, which suits trainings
    of any length.

    warmups: iterations A₁, A₂ until the KLs count in full. floor: iterations B in which the floor
    of the prior's sigma falls to 0. decay: factor, and after how many iterations each time.
    average_decay: of the moving average of the weights that is evaluated, None for the weights
    themselves. statistics: batches that batch norm's moving statistics are averaged over before
    each evaluation. free_bits: what the highest latent may say of an image without being charged
    for it (Kingma et al. 2016, here for each image rather than the mean of a batch). It, and
    rate_warmup, weight_decay and mirrored, which are as in the recipe, are not the paper's.
    """

    batch: int = setting(whole(), about="images in a training batch", option="batch_size")
    iterations: int = setting(whole(), about="iterations to train")
    warmups: tuple[int, ...] = setting(tuples(whole(), least=1, most=2))
    floor: int = setting(whole(least=0), 0)
    decay: tuple[float, int] = setting(pair(number(), whole()), (1.0, 1))
    learning_rate: float = setting(number(), 1e-3, about="Adam's first step")
    statistics: int = setting(
        whole(),
        1000,
        option="statistics_batches",
        about="training batches that moving statistics are averaged over before an evaluation",
    )
    eval_every: int = setting(whole(), 5000, about="iterations from one evaluation to the next")
    decay_after: int | None = setting(default=None, **DECAY_AFTER)
    average_decay: float | None = setting(default=None, **AVERAGE_DECAY)
    free_bits: float | None = setting(
        maybe(number()), None, about="nats of an image's KL of the highest latent that cost nothing"
    )
    rate_warmup: int | None = setting(default=None, **RATE_WARMUP)
    weight_decay: float | None = setting(default=None, **WEIGHT_DECAY)
    mirrored: float | None = share("share of the training images that are turned left to right")

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.warmups) == 2 and not self.floor:
            raise UserError("a model of two levels needs iterations in which the floor falls")

    def schedule(self, t: int) -> dict[str, float]:
        """The scalars of iteration t >= 1."""
        factor, every = self.decay
        scalars = {
            "learning_rate": self.learning_rate
            * falling(self.decay_after, t)
            * factor ** ((t - 1) // every),
            "alpha1": min(1.0, t / self.warmups[0]),
        }
        if len(self.warmups) == 2:
            scalars["alpha2"] = min(1.0, t / self.warmups[1]) * scalars["alpha1"]
            scalars["sigma_floor"] = 1 - min(1.0, (t - 1) / self.floor)
        if self.free_bits is not None:
            scalars["free_bits"] = self.free_bits
        return scalars

    def recipe(self, seed: int, on_nan: str = "stop") -> Recipe:
        """What the training loop follows."""
        return Recipe(
            self.iterations, self.batch, self.eval_every, seed, self.schedule, clip_norm=5.0,
            evaluation_batch=self.batch, statistics_batches=self.statistics,
            average_decay=self.average_decay, on_nan=on_nan, rate_warmup=self.rate_warmup,
            weight_decay=self.weight_decay, mirrored=self.mirrored,
        )  # fmt: skip


def _32px(d: tuple[int, ...], p1: int, p2: int, k1: int, k2: int, embed: int) -> dict[str, Any]:
    """z₁ at 8x8, of the width D₃."""
    return dict(
        stages=((d[0], 2), (d[1], 2), (d[2], 3)),
        top_stages=((d[2], 3), (d[3], 3)),
        latents=(k1, k2),
        pixel_width=p1,
        pixel_kernels=(3, 3),
        latent_width=p2,
        latent_kernels=(3, 3, 1),
        embed=embed,
        height=32,
        width=32,
    )


def _64px(d: tuple[int, ...], p1: int, p2: int, k1: int, k2: int) -> dict[str, Any]:
    """z₁ at 16x16, of the width D₂ (table E.2)."""
    return dict(
        stages=((d[0], 1), (d[1], 2), (d[2], 3)),
        top_stages=((d[2], 3), (d[3], 3), (d[4], 3)),
        latents=(k1, k2),
        pixel_width=p1,
        pixel_kernels=(3, 3, 3),
        latent_width=p2,
        latent_kernels=(3, 3, 1),
    )


def _preset(
    name: str, sizes: Mapping[str, Any], training: Training, any_size: bool = False
) -> Preset:
    """A preset of these sizes; the batch of batch norm is that of the training."""
    return Preset(name, Settings(name, batch=training.batch, **sizes), training, any_size)


def _one_level(sizes: Mapping[str, Any]) -> dict[str, Any]:
    """The same sizes with one latent: all stages down to one vector, and up again."""
    settings = Settings("any", **sizes).one_level()
    return {name: getattr(settings, name) for name in sizes}


# fmt: off
#                  D₀   D₁   D₂   D₃   D₄    P₁   P₂  K₁   K₂
_SMALL_32 = _32px(( 64, 128, 256, 512),      128, 512,  64, 512, embed=16)
_BIG_32   = _32px((128, 256, 512, 512),      256, 512, 128, 512, embed=0)
_SMALL_64 = _64px(( 64,  64, 128, 256, 512), 128, 256,  64, 512)
_BIG_64   = _64px((192, 256, 512, 512, 512), 384, 512,  64, 512)
# fmt: on

_MNIST_256: dict[str, Any] = dict(
    stages=((16, 1), (32, 1), (32, 2)),
    top_stages=(),
    latents=(128,),
    pixel_width=32,
    pixel_kernels=(3, 3, 3, 3),
    code="mean",
    channels=1,
    height=28,
    width=28,
)
# Not of the paper: two levels that learn on a laptop's CPU in minutes.
_TINY: dict[str, Any] = dict(
    stages=((16, 1), (24, 1), (32, 1)),
    top_stages=((32, 1), (48, 1), (64, 1)),
    latents=(8, 32),
    pixel_width=32,
    pixel_kernels=(3,),
    latent_width=32,
    latent_kernels=(3, 1),
    embed=0,
)

# Not of the paper either: its structure at a size that a few cores train.
_FEW_CORES: dict[str, Any] = dict(
    stages=((16, 1), (32, 1), (48, 2)),
    latents=(16, 32),
    pixel_width=32,
    pixel_kernels=(3,),
    latent_width=48,
    latent_kernels=(3, 1),
    embed=0,
)
_FEW_CORES_32 = dict(_FEW_CORES, top_stages=((48, 1), (64, 1)), height=32, width=32)
_FEW_CORES_64 = dict(_FEW_CORES, top_stages=((48, 1), (64, 1), (64, 1)))
# What the two grow into: in them red has 11 maps to choose among 256 values by, here 21.
_MEDIUM = dict(_FEW_CORES, stages=((32, 1), (48, 1), (64, 2)), pixel_width=64, pixel_kernels=(3, 3))
_MEDIUM_32 = dict(_MEDIUM, top_stages=((64, 1), (64, 1)), height=32, width=32)
_MEDIUM_64 = dict(_MEDIUM, top_stages=((64, 1), (64, 1), (64, 1)))
# The learning rate was raced (docs/natural-images.md).
_FEW_CORES_TRAINING = Training(
    16, 100_000, (500, 2_000), 500, learning_rate=4e-3, statistics=50, eval_every=1_000,
    decay_after=1_000, average_decay=0.995,
)  # fmt: skip
# Longer, and from where those have come.
_MEDIUM_TRAINING = replace(
    _FEW_CORES_TRAINING, learning_rate=3e-3, decay_after=26_000, average_decay=0.999
)

#: By name. Another size is another entry; see docs/extending.md.
PRESETS = {
    preset.name: preset
    for preset in (
        _preset(
            "32px_small", _SMALL_32, Training(64, 200_000, (2_000, 5_000), 1_000, (0.1, 180_000))
        ),
        _preset("32px_big", _BIG_32, Training(64, 300_000, (2_000, 5_000), 1_000)),
        _preset(
            "64px_small", _SMALL_64, Training(64, 200_000, (2_000, 10_000), 1_000, (0.1, 180_000))
        ),
        _preset("64px_big", _BIG_64, Training(48, 400_000, (1_000, 10_000), 500, (0.5, 180_000))),
        _preset(
            "64px_big_onelevel",
            _one_level(_BIG_64),
            Training(48, 400_000, (50_000,), decay=(0.5, 180_000)),
        ),
        _preset("mnist_256", _MNIST_256, Training(100, 250_000, (5_000,), eval_every=2_500)),
        _preset("32px_few_cores", _FEW_CORES_32, _FEW_CORES_TRAINING),
        _preset("64px_few_cores", _FEW_CORES_64, _FEW_CORES_TRAINING),
        _preset("32px_medium", _MEDIUM_32, _MEDIUM_TRAINING),
        _preset("64px_medium", _MEDIUM_64, _MEDIUM_TRAINING),
        _preset(
            "tiny",
            _TINY,
            Training(8, 800, (200, 800), 100, learning_rate=3e-3, statistics=20, eval_every=200),
            any_size=True,
        ),
    )
}
SETTINGS = {name: preset.settings for name, preset in PRESETS.items()}
TRAINING = {name: preset.training for name, preset in PRESETS.items()}

HIERARCHICAL = Family(
    "hierarchical",
    Settings,
    Training,
    "pixelvae.models.hierarchical.model.HierarchicalModel",
    PRESETS,
    levels=256,
    pictured=Pictured(samples=25, originals=6, draws=5, few=4),
    columns=("kl1", "kl2", "alpha1", "alpha2", "sigma_floor", "free_bits"),
    variations=ABLATIONS,
    modes=(
        Mode(
            "batch_norm",
            "statistics: blended with the image's own, as the released code does, or moving alone",
            BATCH_NORMS,
        ),
    ),
    growth="pixelvae.models.hierarchical.growth.growth",
    evaluation_batch=16,
)
