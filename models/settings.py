"""What makes one of the models for larger images: sizes and choices. Imports no Theano, so that a command line that
names them can still choose the device.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

BATCH_NORMS = ("blend", "moving")
DECODERS = ("pixelcnn", "gaussian")

Stage = tuple  # (width, number of residual blocks)


@dataclass(frozen=True)
class Settings:
    """What makes one model.

    stages: (width, residual blocks) of each size from the image down to z₁, halving in between; in
    the decoder the same, upwards. top_stages: from z₁'s size down to that of z₂, whose first width
    is z₁'s last; none for a model of one level. latents: channels of the maps z₁ and the length of
    z₂, or the length of the only z.
    embed (E): numbers a pixel value becomes; 0 feeds (x − levels/2) / (levels/4).
    pixel_width (P₁), pixel_kernels: masked residual blocks over pixels; latent_width (P₂),
    latent_kernels: over z₁.
    code: how the coarsest maps become a vector, "flatten" or their "mean" over space.
    pixel_decoder, top_decoder: "pixelcnn", or "gaussian" for one without masked layers (ablations
    of section 4.2).
    batch: images a training batch, the N of batch norm's blend.
    """

    name: str
    stages: tuple[Stage, ...]
    top_stages: tuple[Stage, ...]
    latents: tuple[int, ...]
    pixel_width: int
    pixel_kernels: tuple[int, ...]
    latent_width: int = 0
    latent_kernels: tuple[int, ...] = ()
    embed: int = 16
    code: str = "flatten"
    pixel_decoder: str = "pixelcnn"
    top_decoder: str = "pixelcnn"
    batch: int = 64
    channels: int = 3
    height: int = 64
    width: int = 64
    levels: int = 256

    @classmethod
    def from_header(cls, header: Mapping[str, Any]) -> Settings:
        """What :meth:`HierarchicalModel.header` gave, back from JSON. Raises TypeError for another
        model's.
        """
        return cls(**{name: _tuples(value) for name, value in header.items()})


def _tuples(value):
    return tuple(_tuples(v) for v in value) if isinstance(value, (list, tuple)) else value
