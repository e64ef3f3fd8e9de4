"""What makes one of the models for larger images: sizes and choices. Imports no Theano."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Tuple

from pixelvae.machine.errors import UserError
from pixelvae.machine.kinds import choice, pair, text, tuples, whole
from pixelvae.models.checked import Checked, setting

BATCH_NORMS = ("blend", "moving")
DECODERS = ("pixelcnn", "gaussian")

Stage = Tuple[int, int]  # (width, number of residual blocks)

_SIDE = whole(most=10_000)
_STAGE = pair(whole(), whole(least=0))
_KERNELS = tuples(whole(odd=True))


@dataclass(frozen=True)
class Settings(Checked):
    """What makes one model.

    stages: (width, residual blocks) of each size from the image down to z₁, halving in between; in
    the decoder the same, upwards. top_stages: from z₁'s size down to that of z₂, whose first width
    is z₁'s last; none for a model of one level. latents: channels of the maps z₁ and the length of
    z₂, or the length of the only z. embed (E): numbers a pixel value becomes; 0 feeds (x −
    levels/2) / (levels/4). pixel_width (P₁), pixel_kernels: masked residual blocks over pixels;
    latent_width (P₂), latent_kernels: over z₁. code: how the coarsest maps become a vector,
    "flatten" or their "mean" over space. pixel_decoder, top_decoder: "pixelcnn", or "gaussian" for
    one without masked layers (ablations of section 4.2). batch: images a training batch, the N of
    batch norm's blend.
    """

    name: str = setting(text())
    stages: tuple[Stage, ...] = setting(tuples(_STAGE, least=1))
    top_stages: tuple[Stage, ...] = setting(tuples(_STAGE))
    latents: tuple[int, ...] = setting(tuples(whole(), least=1, most=2))
    pixel_width: int = setting(whole())
    pixel_kernels: tuple[int, ...] = setting(_KERNELS)
    latent_width: int = setting(whole(least=0), 0)
    latent_kernels: tuple[int, ...] = setting(_KERNELS, ())
    embed: int = setting(whole(least=0), 16)
    code: str = setting(choice(("flatten", "mean")), "flatten")
    pixel_decoder: str = setting(choice(DECODERS), "pixelcnn")
    top_decoder: str = setting(choice(DECODERS), "pixelcnn")
    batch: int = setting(whole(), 64)
    channels: int = setting(whole(most=1_000), 3)
    height: int = setting(_SIDE, 64)
    width: int = setting(_SIDE, 64)
    levels: int = setting(whole(least=2, most=256), 256)

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.latents) != (2 if self.top_stages else 1):
            raise UserError("a model has one latent, or two if it has stages at the top")
        if self.latent_kernels and not self.latent_width:
            raise UserError("masked blocks over z₁ need a width")
        if self.top_stages and self.top_stages[0][0] != self.stages[-1][0]:
            raise UserError("the stages at the top must begin with the width of the last one below")

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        return (self.channels, self.height, self.width)

    def fitted(self, image_shape: tuple[int, int, int]) -> Settings:
        """The same model for images of another size."""
        channels, height, width = image_shape
        return self.changed({"channels": channels, "height": height, "width": width})

    def one_level(self) -> Settings:
        """The same network with one latent: all stages down to one vector, and up again."""
        return self.changed(
            {
                "stages": self.stages + self.top_stages[1:],
                "top_stages": (),
                "latents": self.latents[-1:],
                "latent_width": 0,
                "latent_kernels": (),
            }
        )
