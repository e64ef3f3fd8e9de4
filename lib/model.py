"""What training and evaluation ask of a model."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
import theano
import theano.tensor as T

from lib import noise as random_noise
from lib.layers.parameters import Parameters


@dataclass(frozen=True)
class Terms:
    """The bound of each image in its parts, in nats: vectors (N,), symbolic or NumPy.

    bound = reconstruction + all KLs, an upper bound on −log p(x); exact for a model without latent (no KLs).
    """

    reconstruction: Any
    kls: Mapping[str, Any]

    @property
    def kl(self):
        """The sum of all KLs; 0 without any."""
        return sum(self.kls.values())

    @property
    def bound(self):
        return self.reconstruction + self.kl


class Unit(NamedTuple):
    """What a model's numbers are reported in: one of the unit ``name`` is ``nats`` nats an image."""

    name: str
    nats: float
    digits: int  # that are worth printing after the point


NATS = Unit("nats/image", 1.0, 2)


def bits_per_dim(image_shape: tuple[int, int, int]) -> Unit:
    """Bits for each number of an image (C, H, W)."""
    return Unit("bits/dim", math.prod(image_shape) * math.log(2), 4)


class Model(Protocol):
    """A model owns its parameters and gives Theano expressions.

    Images x are symbolic float (N, C, H, W) with values 0 … levels − 1. ``noise`` maps each name in
    ``noise_shapes`` to standard normal numbers (N, ...), one set an image.
    """

    parameters: Parameters

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""

    @property
    def levels(self) -> int:
        """How many values a pixel can have."""

    @property
    def unit(self) -> Unit:
        """What its numbers are reported in."""

    @property
    def noise_shapes(self) -> Mapping[str, tuple[int, ...]]:
        """The shape of each noise for one image; empty for a model without latents."""

    def header(self) -> dict:
        """What a weights file says about the model, enough to build it again."""

    def terms(self, x, noise: Mapping[str, Any]) -> Terms:
        """The bound (α = 1) as it is evaluated."""

    def objective(self, x, noise: Mapping[str, Any], schedule: Mapping[str, Any]):
        """The scalar that training minimises, and the :class:`Terms` it was made of.

        ``schedule`` maps names such as ``alpha`` to symbolic scalars that the recipe sets at each iteration.
        """


def noise_variables(model: Model) -> dict[str, Any]:
    """A symbolic variable (N, ...) for each name in the model's ``noise_shapes``, in their order."""
    return {
        name: T.TensorType(theano.config.floatX, (False,) * (1 + len(shape)))(name)
        for name, shape in model.noise_shapes.items()
    }


def draw_noise(model: Model, seed: int, purpose: str, index: int, count: int) -> list[np.ndarray]:
    """Standard normal noise for ``count`` images, in the order of ``model.noise_shapes``."""
    return [
        random_noise.standard_normal(seed, f"{purpose} {name}", index, (count, *shape))
        for name, shape in model.noise_shapes.items()
    ]
