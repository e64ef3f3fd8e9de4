"""Samples and reconstructions of a model of binary images (figures 9 and 10)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import theano
import theano.tensor as T

from pixelvae.lib import noise
from pixelvae.lib.model import LatentModel
from pixelvae.lib.sampling.draws import bernoulli
from pixelvae.lib.sampling.samplers import Sampler
from pixelvae.machine.console.compiling import compiling
from pixelvae.machine.console.progress import Progress
from pixelvae.machine.errors import UserError
from pixelvae.machine.parallel.world import world

BATCH = 100  # images that are drawn together


class ImageSampler:
    """Draws images of a model with one latent vector, or none. Compiles what is used, once."""

    def __init__(self, model: LatentModel, method: str = "cached"):
        self._model, self._method = model, method

    def sample(self, count: int, seed: int) -> np.ndarray:
        """Images drawn from the model, z from the prior: uint8 (count, C, H, W) of 0 and 1.

        Image n is a function of the weights, the seed and n: a larger count only adds images.
        """
        return self.decode(self._noise("sample latent", count, seed), seed)

    def reconstruct(self, images: np.ndarray, seed: int) -> np.ndarray:
        """For each image (N, C, H, W) one drawn from p(x|z), z drawn from q(z|x): uint8, 0 and 1.

        Raises UserError for a model without latent.
        """
        if not self._model.latent_dim:
            raise UserError("this model has no latent, so it cannot reconstruct: take one that has")
        images = np.asarray(images, theano.config.floatX)
        eps = self._noise("reconstruction latent", len(images), seed)
        z = [self._posterior(images[at], eps[at]) for at in _batches(len(images))]
        return self.decode(np.concatenate(z), seed)

    def decode(self, z: np.ndarray, seed: int, numbers: Sequence[int] | None = None) -> np.ndarray:
        """An image drawn from p(x|z) for each z (N, K): uint8 (N, C, H, W) of 0 and 1.

        The pixels' noise of images of one number is the same; by default they are 0 … N − 1.
        """
        numbers, shape = range(len(z)) if numbers is None else numbers, self._model.image_shape
        uniform = noise.uniforms(seed, "sample pixels", numbers, shape)
        drawn = drawn_in_turn(
            lambda at, bar: self._pixels(uniform[at], z[at], progress=bar),
            _batches(len(z)),
            shape[1],
        )
        return np.concatenate(drawn).astype("uint8")

    def _noise(self, purpose: str, count: int, seed: int) -> np.ndarray:
        """(count, K); K is 0 for a model without latent."""
        return noise.standard_normals(seed, purpose, range(count), (self._model.latent_dim,))

    @cached_property
    def _posterior(self) -> Any:
        x, eps = T.tensor4("x"), T.matrix("eps")
        with compiling("the encoder", len(self._model.parameters)):
            z = self._model.encode(x).sample(eps)
            return theano.function([x, eps], z, name="posterior sample")

    @cached_property
    def _pixels(self) -> Sampler:
        x, z = T.tensor4("x"), T.matrix("z")
        with compiling(f"the {self._method} sampler", len(self._model.parameters)):
            return Sampler(x, self._model.decode(x, z), [z], bernoulli, method=self._method)


def drawn_in_turn(
    draw: Callable[[slice, Progress], np.ndarray], batches: Sequence[slice], rows: int
) -> list[np.ndarray]:
    """What ``draw`` gives for each batch, which ranks share; it counts the rows of one image."""
    with Progress(total=len(batches) * rows, unit="row") as bar:
        return world().units(
            lambda number: draw(batches[number], bar),
            len(batches),
            lambda handed_out: bar.update((handed_out - 1) * rows),  # this rank has counted its own
        )


def _batches(count: int) -> list:
    return [slice(start, start + BATCH) for start in range(0, count, BATCH)]
