"""What training, evaluation, sampling and the figures ask of a model, as protocols.

A model implements :class:`Model` and whichever of the others fits what it has: one latent vector
(:class:`LatentModel`), latents in layers (:class:`LayeredModel`), batch norm (:class:`MovingModel`).
Both kinds of latents are importance-weighted in one way (:class:`WeightedModel`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Callable, NamedTuple, Protocol, runtime_checkable

import numpy as np
import theano
import theano.tensor as T

from pixelvae.lib import noise as random_noise
from pixelvae.lib.layers.parameters import Parameters
from pixelvae.lib.ops.gaussian import Gaussian


@dataclass(frozen=True)
class Terms:
    """The bound of each image in its parts, in nats: vectors (N,), symbolic or NumPy.

    bound = reconstruction + all KLs, an upper bound on −log p(x); exact for a model without latent
    (no KLs).
    """

    reconstruction: Any
    kls: Mapping[str, Any]

    @property
    def kl(self):
        """The sum of all KLs; 0 without any."""
        return sum(self.kls.values())

    @property
    def bound(self):
        """Reconstruction and KLs together."""
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

    @property
    def parameters(self) -> Parameters:
        """All parameters by name, trained ones and moving statistics."""

    @property
    def name(self) -> str:
        """What the model is called in messages and records."""

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

    def header(self) -> dict[str, Any]:
        """What a weights file says about the model, enough to build it again."""

    def terms(self, x, noise: Mapping[str, Any]) -> Terms:
        """The bound (α = 1) as it is evaluated."""

    def objective(self, x, noise: Mapping[str, Any], schedule: Mapping[str, Any]) -> tuple:
        """The scalar that training minimises, and the :class:`Terms` it was made of.

        ``schedule`` maps names such as ``alpha`` to symbolic scalars that the recipe sets at each
        iteration.
        """


class WeightedModel(Model, Protocol):
    """A model whose posteriors depend on x alone, so that samples of its latents can be weighted."""

    def posteriors(self, x) -> Mapping[str, Gaussian]:
        """q(z|x) of each latent z, by the names in ``noise_shapes`` and in their order."""

    def log_weights(self, x, posteriors: Mapping[str, Gaussian], noise: Mapping[str, Any]):
        """log p(x, z_s) − log q(z_s|x), z being all latents, for samples of them: (S,).

        x is one image, broadcastable in its first dimension, and so are the moments of its
        posteriors, (1, ...); noise (S, ...), by latent, makes the samples z_s.
        """


class LatentModel(WeightedModel, Protocol):
    """A model of binary images with one latent vector z (N, K), or with none."""

    @property
    def latent_dim(self) -> int:
        """K; 0 for a model without latent, which has no ``encode`` and nothing to weigh."""

    def encode(self, x) -> Gaussian:
        """q(z|x)."""

    def decode(self, x, z=None):
        """Logits (N, C, H, W) of p(x_i = 1 | x_1 … x_{i−1}, z), in raster order."""


class LayeredModel(WeightedModel, Protocol):
    """A model whose latents are z₁ alone, or z₂ above maps z₁; ``noise_shapes`` names them."""

    def prior(self, z1, z2) -> Gaussian:
        """p(z₁|z₂) at each position of the maps, given those before it in raster order."""

    def decode(self, x, z1):
        """What parametrises p(x|z₁), (N, O, H, W), for :attr:`draw`."""

    @property
    def draw(self) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
        """How a colour's values are drawn from ``decode`` and noise; see :mod:`pixelvae.lib.sampling.draws`."""


@runtime_checkable
class MovingModel(Model, Protocol):
    """A model with moving statistics among its parameters."""

    def statistics(self, x, noise: Mapping[str, Any]) -> Mapping[Any, Any]:
        """What a batch has, symbolic, for each moving statistic (a shared variable)."""


def noise_variables(model: Model) -> dict[str, Any]:
    """A symbolic variable (N, ...) for each name in the model's ``noise_shapes``, in their order."""
    return {
        name: T.TensorType(theano.config.floatX, (False,) * (1 + len(shape)))(name)
        for name, shape in model.noise_shapes.items()
    }


def draw_noise(model: Model, seed: int, purpose: str, index: int, count: int) -> list[np.ndarray]:
    """Standard normal noise for a batch of ``count`` images, in the order of ``noise_shapes``.

    A function of the batch: one image's noise depends on its place in it. For training alone.
    """
    return [
        random_noise.standard_normal(seed, f"{purpose} {name}", index, (count, *shape))
        for name, shape in model.noise_shapes.items()
    ]


def draw_image_noise(model: Model, seed: int, purpose: str, numbers) -> list[np.ndarray]:
    """The same for images by their numbers (N,): each image's noise is a function of its own."""
    return [
        random_noise.standard_normals(seed, f"{purpose} {name}", numbers, shape)
        for name, shape in model.noise_shapes.items()
    ]
