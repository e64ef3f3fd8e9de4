"""Every model at a size that compiles in seconds, by name."""

from __future__ import annotations

from pixelvae.models.hierarchical.model import HierarchicalModel
from pixelvae.models.hierarchical.model import Settings as Hierarchical
from pixelvae.models.mnist.model import MnistModel, Settings

SMALL = Hierarchical(
    "small", stages=((4, 1),), top_stages=((4, 1),), latents=(2, 3), pixel_width=4,
    pixel_kernels=(3,), latent_width=4, latent_kernels=(3, 1), embed=2, batch=4,
    channels=3, height=4, width=4, levels=4,
)  # fmt: skip


def small(name: str):
    if name == "hierarchical":
        return HierarchicalModel(SMALL, seed=1, batch_norm="batch")
    return MnistModel(Settings(name, 1, 2, 2, 3, height=4, width=4), seed=1)
