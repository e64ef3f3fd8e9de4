"""Images of a model with one or two maps or vectors of latents, from given noise (figures 1, 6, 7, 8, 11)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import theano
import theano.tensor as T

from lib import noise as random_noise
from lib.console.compiling import compiling
from lib.model import LayeredModel, noise_variables
from lib.sampling.draws import gaussian
from lib.sampling.images import drawn_in_turn
from lib.sampling.samplers import Sampler

BATCH = 32  # images that are drawn together
PIXELS = "pixels"


class LatentSampler:
    """Draws images from the top down, in stages: the latents, the highest first, and then the pixels.

    Each stage has noise of its own: standard normal for latents, uniform on [0, 1) for pixels
    (N, C, H, W). The highest latents are their noise. So a picture is a function of the noise, and
    one stage can be varied alone.

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
        z = noise_variables(model)
        x = T.tensor4("x")
        with compiling(f"the {method} sampler", len(model.parameters)):
            self._pixels = Sampler(
                x, model.decode(x, z["z1"]), [z["z1"]], model.draw, model.image_shape[0], method
            )
            self._maps = None
            if self.top != "z1":
                p = model.prior(z["z1"], z["z2"])
                outputs = T.concatenate([p.mean, p.log_sigma], axis=1)
                self._maps = Sampler(z["z1"], outputs, [z["z2"]], gaussian, method=method)

    def noise(self, seed: int, purpose: str, stage: str, count: int) -> np.ndarray:
        """Noise of a stage for images 0 … count − 1: (count, ...).

        The noise of an image is a function of seed, purpose and the image's number.
        """
        draw = random_noise.uniforms if stage == PIXELS else random_noise.standard_normals
        return draw(seed, f"{purpose} {stage}", range(count), self._shapes[stage])

    def __call__(self, noise: Mapping[str, np.ndarray]) -> np.ndarray:
        """Images from noise of all stages, (N, ...) each: uint8 (N, C, H, W)."""
        latents = noise[self.top]
        if self._maps is not None:
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
        x, eps = T.tensor4("x"), noise_variables(self._model)[stage]
        q = self._model.posteriors(x)[int(stage[1:]) - 1]
        with compiling("the encoder", len(self._model.parameters) // 2):
            encode = theano.function([x, eps], q.sample(eps))
        images = np.asarray(images, x.dtype)
        return np.concatenate([encode(images[at], noise[at]) for at in _batches(len(images))])


def _batches(count: int) -> list[slice]:
    return [slice(start, start + BATCH) for start in range(0, count, BATCH)]
