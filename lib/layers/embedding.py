"""Pixel values as learned vectors (section E.2)."""

from __future__ import annotations

from pixelvae.lib.layers import initial
from pixelvae.lib.layers.parameters import Parameters
from pixelvae.lib.ops.embedding import embed


class Embedding:
    """Values 0 … levels − 1 as vectors of E numbers: (N, C, H, W) -> (N, E·C, H, W).

    Channel e·C + c is number e of colour c.

    Examples
    --------
    >>> embedding = Embedding(Parameters(seed=0), "embedding", levels=4, size=2)
    >>> embedding(np.zeros((1, 3, 2, 2))).eval().shape
    (1, 6, 2, 2)
    """

    def __init__(self, p: Parameters, name: str, levels: int, size: int):
        self.table = p.new(
            f"{name}.table", (levels, size), lambda rng: initial.table(rng, levels, size)
        )

    def __call__(self, x):
        return embed(x, self.table)
