"""Images of a model with one or two levels of latents, each level's noise being given (figures 1,
6, 7, 8, 11).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import theano
import theano.tensor as T

from lib import noise as random_noise
from lib.console.compiling import compiling
from lib.console.progress import Progress
from lib.model import LayeredModel, noise_variables
from lib.sampling.draws import gaussian
from lib.sampling.samplers import Sampler

BATCH = 32  # images that are drawn together
PIXELS = "pixels"


class LevelSampler:
    """Draws images from the top down: the highest latent, the maps z₁ where there are two levels,
    the pixels.

    ``levels`` names what noise there is, from the top: "z2", "z1", "pixels", or "z1", "pixels".
    Noise is standard
    normal for latents, the highest being its own noise, and uniform for pixels (N, C, H, W), so
    that a picture is a function of it and one level can be varied alone.
    """

    def __init__(self, model: LayeredModel, method: str = "cached"):
        self._model = model
        self._shapes = {**model.noise_shapes, PIXELS: model.image_shape}
        self.levels = [*sorted(model.noise_shapes, reverse=True), PIXELS]
        self.top = self.levels[0]
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

    def noise(self, seed: int, purpose: str, level: str, count: int) -> np.ndarray:
        """Noise of a level for images 0 … count − 1, each a function of seed, purpose and number:
        (count, ...).
        """
        draw = random_noise.uniforms if level == PIXELS else random_noise.standard_normals
        return draw(seed, f"{purpose} {level}", range(count), self._shapes[level])

    def __call__(self, noise: Mapping[str, np.ndarray]) -> np.ndarray:
        """Images from noise of all levels, (N, ...) each: uint8 (N, C, H, W)."""
        latents = noise[self.top]
        if self._maps is not None:
            maps = noise["z1"]
            with Progress(total=self._rows(maps), unit="row") as bar:
                latents = np.concatenate(
                    [self._maps(maps[at], latents[at], progress=bar) for at in _batches(len(maps))]
                )
        return self.below(latents, noise[PIXELS])

    def below(self, z1: np.ndarray, uniform: np.ndarray) -> np.ndarray:
        """Images from z₁ itself and the pixels' noise."""
        with Progress(total=self._rows(uniform), unit="row") as bar:
            images = [self._pixels(uniform[at], z1[at], progress=bar) for at in _batches(len(z1))]
        return np.concatenate(images).astype("uint8")

    @staticmethod
    def _rows(maps: np.ndarray) -> int:
        return len(_batches(len(maps))) * maps.shape[2]

    def posterior(self, images: np.ndarray, level: str, noise: np.ndarray) -> np.ndarray:
        """Latents of a level given images, from noise (N, ...)."""
        x, eps = T.tensor4("x"), noise_variables(self._model)[level]
        q = self._model.posteriors(x)[int(level[1:]) - 1]
        with compiling("the encoder", len(self._model.parameters) // 2):
            encode = theano.function([x, eps], q.sample(eps))
        images = np.asarray(images, x.dtype)
        return np.concatenate([encode(images[at], noise[at]) for at in _batches(len(images))])


def _batches(count: int) -> list[slice]:
    return [slice(start, start + BATCH) for start in range(0, count, BATCH)]
