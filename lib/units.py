"""What a model's numbers are reported in. Imports no Theano."""

from __future__ import annotations

import math
from typing import NamedTuple

#: Digits after the point that are worth printing, by the unit's name.
DIGITS = {"nats/image": 2, "bits/dim": 4}


class Unit(NamedTuple):
    """The unit of a model's numbers: one ``name`` is ``nats`` nats an image."""

    name: str
    nats: float

    @property
    def digits(self) -> int:
        """How many digits after the point are worth printing."""
        return DIGITS[self.name]


NATS = Unit("nats/image", 1.0)


def bits_per_dim(image_shape: tuple[int, int, int]) -> Unit:
    """Bits for each number of an image (C, H, W)."""
    return Unit("bits/dim", math.prod(image_shape) * math.log(2))
