"""Images of a model with one or two maps or vectors of latents, from given noise (figures 1, 6, 7, 8, 11)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import theano
import theano.tensor as T

from pixelvae.lib import noise as random_noise
from pixelvae.lib.model import LayeredModel, noise_variables
from pixelvae.lib.sampling.draws import gaussian
from pixelvae.lib.sampling.images import drawn_in_turn
from pixelvae.lib.sampling.samplers import Sampler
from pixelvae.machine.console.compiling import compiling

BATCH = 32  # images that are drawn together
PIXELS = "pixels"


class LatentSampler:
    """Draws images from the top down, in stages: the latents, the highest first, and then the pixels.

    Each stage has noise of its own: standard normal for latents, uniform on [0, 1) for pixels
    (N, C, H, W). The highest latents are their noise. So a picture is a function of the noise, and
    one stage can be varied alone. What is used is compiled, once.

    Attributes
    ----------
    stages
        The stages' names from the top: "z2", "z1", "pixels", or "z1", "pixels".
    top
        The first of them.
    """

    def __init__(self, model: LayeredModel, method: str = "cached"):
        self._model = model
        self._shapes = {**model.noise_shapes, PIXELS: model.image_shape}
        self.stages = [*sorted(model.noise_shapes, reverse=True), PIXELS]
        self.top = self.stages[0]
        self._method = method
        self._encoders: dict[str, Any] = {}

    @cached_property
    def _pixels(self) -> Sampler:
        model, x, z1 = self._model, T.tensor4("x"), noise_variables(self._model)["z1"]
        with compiling(f"the {self._method} sampler", len(model.parameters)):
            return Sampler(
                x, model.decode(x, z1), [z1], model.draw, model.image_shape[0], self._method
            )

    @cached_property
    def _maps(self) -> Sampler:
        z = noise_variables(self._model)
        with compiling(f"the {self._method} sampler of z1", len(self._model.parameters)):
            p = self._model.prior(z["z1"], z["z2"])
            outputs = T.concatenate([p.mean, p.log_sigma], axis=1)
            return Sampler(z["z1"], outputs, [z["z2"]], gaussian, method=self._method)

    def sample(self, count: int, seed: int) -> np.ndarray:
        """Samples (figures 1 and 7): uint8 (count, C, H, W)."""
        return self(self._all_noise(seed, "sample", range(count)))

    def decode(
        self, z: np.ndarray, seed: int, numbers: Sequence[int] | None = None, stage: str = ""
    ) -> np.ndarray:
        """Images given latents of a stage, the top one by default, (N, ...): uint8 (N, C, H, W).

        What lies below is drawn. The noise of images of one number is the same; by default they
        are 0 … N − 1.
        """
        noise = self._all_noise(seed, "sample", range(len(z)) if numbers is None else numbers)
        return self._from(stage or self.top, z, noise)

    def reconstruct(self, images: np.ndarray, seed: int, stage: str = "") -> np.ndarray:
        """For each image one generated from its latents of a stage, the top one by default (figure 8).

        From the top latents all below is drawn anew; from the bottom ones the pixels alone.
        """
        stage = stage or self.top
        noise = self._all_noise(seed, "reconstruction", range(len(images)))
        return self._from(stage, self.posterior(images, stage, noise[stage]), noise)

    def _from(self, stage: str, z: np.ndarray, noise: Mapping[str, np.ndarray]) -> np.ndarray:
        return self({**noise, stage: z}) if stage == self.top else self.below(z, noise[PIXELS])

    def _all_noise(self, seed: int, purpose: str, numbers: Sequence[int]) -> dict[str, np.ndarray]:
        return {stage: self.noise(seed, purpose, stage, numbers) for stage in self.stages}

    def noise(self, seed: int, purpose: str, stage: str, numbers: Sequence[int]) -> np.ndarray:
        """Noise of a stage for images of these numbers: (N, ...).

        The noise of an image is a function of seed, purpose and the image's number.
        """
        draw = random_noise.uniforms if stage == PIXELS else random_noise.standard_normals
        return draw(seed, f"{purpose} {stage}", numbers, self._shapes[stage])

    def __call__(self, noise: Mapping[str, np.ndarray]) -> np.ndarray:
        """Images from noise of all stages, (N, ...) each: uint8 (N, C, H, W)."""
        latents = noise[self.top]
        if self.top != "z1":
            latents = self._drawn(self._maps, noise["z1"], latents)
        return self.below(latents, noise[PIXELS])

    def below(self, z1: np.ndarray, uniform: np.ndarray) -> np.ndarray:
        """Images from z₁ itself and the pixels' noise: uint8 (N, C, H, W)."""
        return self._drawn(self._pixels, uniform, z1).astype("uint8")

    @staticmethod
    def _drawn(sampler: Sampler, noise: np.ndarray, values: np.ndarray) -> np.ndarray:
        return np.concatenate(
            drawn_in_turn(
                lambda at, bar: sampler(noise[at], values[at], progress=bar),
                _batches(len(noise)),
                noise.shape[2],
            )
        )

    def posterior(self, images: np.ndarray, stage: str, noise: np.ndarray) -> np.ndarray:
        """The latents of a stage given images (N, C, H, W), from noise (N, ...)."""
        if stage not in self._encoders:
            x, eps = T.tensor4("x"), noise_variables(self._model)[stage]
            with compiling("the encoder", len(self._model.parameters) // 2):
                z = self._model.posteriors(x)[stage].sample(eps)
                self._encoders[stage] = theano.function([x, eps], z)
        encode = self._encoders[stage]
        images = np.asarray(images, theano.config.floatX)
        return np.concatenate([encode(images[at], noise[at]) for at in _batches(len(images))])


def _batches(count: int) -> list[slice]:
    return [slice(start, start + BATCH) for start in range(0, count, BATCH)]
