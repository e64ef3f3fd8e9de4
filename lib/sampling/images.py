"""Samples, reconstructions and variations of a model, from the top latent down to the pixels."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import theano
import theano.tensor as T

from pixelvae.lib import noise as random_noise
from pixelvae.lib.model import Model, noise_variables
from pixelvae.lib.ops import gaussian
from pixelvae.lib.sampling.samplers import Sampler
from pixelvae.machine.console.compiling import compiling
from pixelvae.machine.console.progress import Progress
from pixelvae.machine.errors import UserError
from pixelvae.machine.parallel.world import share

PIXELS = "pixels"
LARGEST_BATCH, SMALLEST_BATCH = 100, 32  # images that are drawn together
BATCH_OUTPUTS = 2**20  # numbers that a network may give for them, if they are more than the fewest


class ImageSampler:
    """Draws images from the top down: the latents, the highest first, and then the pixels.

    Each of them has noise of its own: standard normal for latents, uniform on [0, 1) for pixels
    (N, C, H, W). The highest latent is its noise. So a picture is a function of the noise, and one
    of them can be varied alone. What is used is compiled, once.

    Attributes
    ----------
    drawn
        The names of what is drawn, in order: "z2", "z1", "pixels", or "z", "pixels", or "pixels".
    """

    def __init__(self, model: Model, method: str = "cached"):
        self._model, self._method = model, method
        self._latents = {latent.name: latent for latent in model.latents}
        self.drawn = [*self._latents, PIXELS]
        outputs = model.pixels.outputs * model.image_shape[1] * model.image_shape[2]
        self.batch = min(LARGEST_BATCH, max(SMALLEST_BATCH, BATCH_OUTPUTS // outputs))
        self._samplers: dict[str, Sampler] = {}
        self._encoders: dict[str, Any] = {}

    def sample(self, count: int, seed: int) -> np.ndarray:
        """Images drawn from the model (figures 1, 7 and 9): uint8 (count, C, H, W).

        Image n is a function of the weights, the seed and n: a larger count only adds images.
        """
        return self(self._all_noise(seed, "sample", range(count)))

    def decode(
        self, z: np.ndarray, seed: int, numbers: Sequence[int] | None = None, name: str = ""
    ) -> np.ndarray:
        """Images given a latent (N, ...), the top one by default: uint8 (N, C, H, W).

        What lies below is drawn. The noise of images of one number is the same; by default they
        are 0 … N − 1.
        """
        noise = self._all_noise(seed, "sample", range(len(z)) if numbers is None else numbers)
        return self._below(name or self.drawn[0], z, noise)

    def reconstruct(self, images: np.ndarray, seed: int, name: str = "") -> np.ndarray:
        """For each image one drawn given one of its latents, by default the top (figures 8, 10).

        The latent is drawn from its posterior. What lies below is drawn again: from the bottom
        latent the pixels alone. Raises UserError for a model without latent.
        """
        if not self._latents:
            raise UserError("this model has no latent, so it cannot reconstruct: take one that has")
        name, numbers = name or self.drawn[0], range(len(images))
        noise = self._all_noise(seed, "reconstruction", numbers)
        noise[PIXELS] = self.noise(seed, self._model.pixels.reconstruction_noise, PIXELS, numbers)
        return self._below(name, self._posterior(images, name, noise[name]), noise)

    def noise(self, seed: int, purpose: str, name: str, numbers: Sequence[int]) -> np.ndarray:
        """Noise of a latent or of the pixels, for images of these numbers: (N, ...).

        The noise of an image is a function of seed, purpose and the image's number.
        """
        if name == PIXELS:
            shape = self._model.image_shape
            return random_noise.uniforms(seed, f"{purpose} pixels", numbers, shape)
        latent = self._latents[name]
        return random_noise.standard_normals(
            seed, f"{purpose} {latent.noise}", numbers, latent.shape
        )

    def __call__(self, noise: Mapping[str, np.ndarray]) -> np.ndarray:
        """Images from the noise of all that is drawn, (N, ...) each: uint8 (N, C, H, W)."""
        top = self.drawn[0]
        if top == PIXELS:
            return self._draw(PIXELS, noise[PIXELS]).astype("uint8")
        return self._below(top, noise[top], noise)

    def _all_noise(self, seed: int, purpose: str, numbers: Sequence[int]) -> dict[str, np.ndarray]:
        return {name: self.noise(seed, purpose, name, numbers) for name in self.drawn}

    def _below(self, name: str, z: np.ndarray, noise: Mapping[str, np.ndarray]) -> np.ndarray:
        """Draw all that lies below a latent, each given the one above it; gives the images."""
        for below in self.drawn[self.drawn.index(name) + 1 :]:
            z = self._draw(below, noise[below], z)
        return z.astype("uint8")

    def _draw(self, name: str, noise: np.ndarray, *above: np.ndarray) -> np.ndarray:
        if name not in self._samplers:
            self._samplers[name] = self._sampler(name)
        sampler = self._samplers[name]
        parts = drawn_in_turn(
            lambda at, bar: sampler(noise[at], *(z[at] for z in above), progress=bar),
            self._batches(len(noise)),
            noise.shape[2],
        )
        return np.concatenate(parts)

    def _sampler(self, name: str) -> Sampler:
        """What draws a latent, or the pixels, given the latent above, if there is one."""
        model, x = self._model, T.tensor4("x")
        variables = noise_variables(model)
        above = {n: variables[n] for n in self.drawn[: self.drawn.index(name)][-1:]}
        with compiling(f"the {self._method} sampler of {name}", len(model.parameters)):
            if name == PIXELS:
                outputs, draw = model.decode(x, above), model.pixels.draw
                groups = model.image_shape[0]
            else:
                x = variables[name]
                p: Any = model.prior(name, {name: x, **above})
                outputs, draw = T.concatenate([p.mean, p.log_sigma], axis=1), gaussian.draw
                groups = 1
            return Sampler(x, outputs, list(above.values()), draw, groups, self._method)

    def _posterior(self, images: np.ndarray, name: str, noise: np.ndarray) -> np.ndarray:
        """A latent given images (N, C, H, W), from noise (N, ...)."""
        if name not in self._encoders:
            x, eps = T.tensor4("x"), noise_variables(self._model)[name]
            with compiling("the encoder", len(self._model.parameters) // 2):
                z = self._model.posteriors(x)[name].sample(eps)
                self._encoders[name] = theano.function([x, eps], z)
        encode = self._encoders[name]
        images = np.asarray(images, theano.config.floatX)
        return np.concatenate([encode(images[at], noise[at]) for at in self._batches(len(images))])

    def _batches(self, count: int) -> list[slice]:
        return [slice(start, start + self.batch) for start in range(0, count, self.batch)]


def drawn_in_turn(
    draw: Callable[[slice, Progress], np.ndarray], batches: Sequence[slice], rows: int
) -> list[np.ndarray]:
    """What ``draw`` gives for each batch, in units of work; it counts the rows of one image."""
    with Progress(total=len(batches) * rows, unit="row") as bar:
        return share(
            lambda number: draw(batches[number], bar),
            len(batches),
            lambda units: bar.update((units - 1) * rows),  # draw has counted its own
        )
