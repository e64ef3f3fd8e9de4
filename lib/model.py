"""What training, evaluation, sampling and the figures ask of a model, as protocols.

Every model is a :class:`Model`; one with batch norm is a :class:`MovingModel` too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
import theano
import theano.tensor as T

from pixelvae.lib import noise as random_noise
from pixelvae.lib.layers.parameters import Parameters
from pixelvae.lib.ops.gaussian import Gaussian, StandardNormal, kl
from pixelvae.lib.pixels import Pixels
from pixelvae.lib.units import Unit


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


class Latent(NamedTuple):
    """A latent of a model.

    Parameters
    ----------
    name
        "z", or "z1" and "z2", which lies above it.
    shape
        Of one image's: (K,), or maps (K, h, w).
    noise
        What the noise that it is drawn from is called; recorded pictures depend on it.
    """

    name: str
    shape: tuple[int, ...]
    noise: str


class Model(Protocol):
    """A model owns its parameters and gives Theano expressions.

    p(x, z₁, z₂) = p(z₂) p(z₁|z₂) p(x|z₁), and q(z₁|x) q(z₂|x), with one latent, two or none
    (sections 3 and 3.1). Images x are symbolic float (N, C, H, W) with values 0 … levels − 1,
    latents (N, ...) are passed by name.

    Attributes
    ----------
    parameters
        All by name, trained ones and moving statistics.
    name
        What the model is called in messages and records.
    image_shape
        (C, H, W).
    latents
        From the top.
    pixels
        The distribution of a pixel.
    unit
        What the model's numbers are reported in.
    droppable
        How many maps dropout may set to 0 while training. An objective that is given noise
        "dropout" (N, droppable) multiplies each image's by it.
    """

    parameters: Parameters
    name: str
    image_shape: tuple[int, int, int]
    latents: tuple[Latent, ...]
    pixels: Pixels
    unit: Unit
    droppable: int = 0

    def header(self) -> dict[str, Any]:
        """What a weights file contains about the model, enough to build it again."""

    def posteriors(self, x) -> Mapping[str, Gaussian]:
        """q(z|x) of each latent, the lowest first."""

    def prior(self, name: str, latents: Mapping[str, Any]) -> Gaussian | StandardNormal:
        """p of a latent given the one above it; the highest has N(0, I).

        ``latents`` has both, since maps are autoregressive: each position sees the positions before
        it in raster order.
        """

    def decode(self, x, latents: Mapping[str, Any]):
        """What parametrises p(x_i | x_1 … x_{i−1}, z), z being the lowest latent (section 3).

        (N, ``pixels.outputs``, H, W). x may by its type be one image, (1, C, H, W): it is decoded
        with each of the latents.
        """

    def objective(self, x, noise: Mapping[str, Any], schedule: Mapping[str, Any]) -> tuple:
        """The scalar that training minimises, and the :class:`Terms` it was made of.

        ``schedule`` maps names such as ``alpha`` to symbolic scalars that the recipe sets at each
        iteration.
        """

    @property
    def levels(self) -> int:
        """How many values a pixel can have."""
        return self.pixels.levels

    @property
    def noise_shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of each latent's noise, the lowest first, in which order noise is passed."""
        return {latent.name: latent.shape for latent in reversed(self.latents)}

    def terms(self, x, noise: Mapping[str, Any]) -> Terms:
        """The bound as it is evaluated (equation 2, and section 3.1 for two latents), α = 1.

        −log p(x|z) with z ~ q(z|x), and KL(q(z|x) ‖ p(z)) of each latent: "kl" of z, "kl1" of z₁.
        ``noise`` maps each latent to standard normal numbers (N, ...), one set an image.
        """
        q = self.posteriors(x)
        z = {name: posterior.sample(noise[name]) for name, posterior in q.items()}
        kls = {name.replace("z", "kl"): kl(q[name], self.prior(name, z)) for name in q}
        return Terms(-self.pixels.log_likelihood(self.decode(x, z), x), kls)

    def log_weights(self, x, posteriors: Mapping[str, Gaussian], noise: Mapping[str, Any]):
        """log p(x, z_s) − log q(z_s|x), z being all latents, for samples of them: (S,).

        x is one image, broadcastable in its first dimension, and so are the moments of its
        posteriors, (1, ...); noise (S, ...), by latent, makes the samples z_s. What depends on the
        image alone is computed once.
        """
        z = {name: q.sample(noise[name]) for name, q in posteriors.items()}
        log_p = self.pixels.log_likelihood(self.decode(x, z), x)
        for name in z:
            log_p += self.prior(name, z).log_density(z[name])
        return log_p - sum(q.log_density(z[name]) for name, q in posteriors.items())


@runtime_checkable
class MovingModel(Model, Protocol):
    """A model with moving statistics among its parameters."""

    def statistics(self, x, noise: Mapping[str, Any]) -> Mapping[Any, Any]:
        """What a batch has, symbolic, for each moving statistic (a shared variable)."""


def noise_variables(model: Model) -> dict[str, Any]:
    """A symbolic variable (N, ...) for each of the model's ``noise_shapes``, in their order."""
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
