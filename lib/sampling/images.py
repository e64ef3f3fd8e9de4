"""Samples and reconstructions of a model of binary images (figures 9 and 10)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import theano
import theano.tensor as T

from lib import noise
from lib.console.compiling import compiling
from lib.console.progress import Progress
from lib.errors import UserError
from lib.model import LatentModel
from lib.parallel.world import world
from lib.sampling.draws import bernoulli
from lib.sampling.samplers import Sampler

BATCH = 100  # images that are drawn together


def sample_images(model: LatentModel, count: int, seed: int, method: str = "cached") -> np.ndarray:
    """Images drawn from the model, z from the prior: uint8 (count, C, H, W) of 0 and 1.

    Image n is a function of the weights, the seed and n: a larger count only adds images.
    """
    return _draw(model, _latents(model, "sample latent", count, seed), seed, method)


def reconstruct_images(
    model: LatentModel, images: np.ndarray, seed: int, method: str = "cached"
) -> np.ndarray:
    """For each image (N, C, H, W) one drawn from p(x|z), z drawn from q(z|x): uint8, 0 and 1.

    Raises UserError for a model without latent.
    """
    if not model.latent_dim:
        raise UserError("this model has no latent, so it cannot reconstruct: take one that has")
    x, eps = T.tensor4("x"), T.matrix("eps")
    with compiling("the encoder", len(model.parameters)):
        encode = theano.function([x, eps], model.encode(x).sample(eps), name="posterior sample")
    images = np.asarray(images, x.dtype)
    eps = _latents(model, "reconstruction latent", len(images), seed)
    z = [encode(images[at], eps[at]) for at in _batches(len(images))]
    return _draw(model, np.concatenate(z), seed, method)


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


def _latents(model: LatentModel, purpose: str, count: int, seed: int) -> np.ndarray:
    """(count, K); K is 0 for a model without latent."""
    return noise.standard_normals(seed, purpose, range(count), (model.latent_dim,))


def _batches(count: int) -> list:
    return [slice(start, start + BATCH) for start in range(0, count, BATCH)]


def _draw(model: LatentModel, z: np.ndarray, seed: int, method: str) -> np.ndarray:
    x, latent = T.tensor4("x"), T.matrix("z")
    with compiling(f"the {method} sampler", len(model.parameters)):
        sampler = Sampler(x, model.decode(x, latent), [latent], bernoulli, method=method)
    shape = model.image_shape
    uniform = noise.uniforms(seed, "sample pixels", range(len(z)), shape)
    drawn = drawn_in_turn(
        lambda at, bar: sampler(uniform[at], z[at], progress=bar), _batches(len(z)), shape[1]
    )
    return np.concatenate(drawn).astype("uint8")
