"""PixelVAE for larger images, with one or two levels of latents (sections 3.1, 4.2, 4.3, E.2).

Encoders lead upwards, decoders downwards::

    x ──> h₁ ──> q(z₂|x)        Enc1 and Enc2, upwards
     └──> q(z₁|x)
    z₂ ──> p(z₁|z₂), z₁ ──> p(x|z₁)        Dec2 and Dec1, downwards

Every encoder and decoder is a row of stages of residual blocks, one stage a size, and a decoder
ends in a PixelCNN of a few masked layers: over pixels with a softmax for each colour in turn, over
the maps z₁ with a diagonal Gaussian. Both posteriors depend on x alone, so training is one parallel
pass. :mod:`pixelvae.models.hierarchical.presets` has the sizes.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import numpy as np
import theano.tensor as T

from pixelvae.lib.layers.embedding import Embedding
from pixelvae.lib.layers.norm import BatchStatistics, KnownStatistics, Norm
from pixelvae.lib.layers.parameters import Parameters
from pixelvae.lib.model import Latent, Model
from pixelvae.lib.ops.gaussian import Gaussian, StandardNormal
from pixelvae.lib.pixels import Categorical, DiscretisedGaussian, Pixels, repeated
from pixelvae.lib.units import bits_per_dim
from pixelvae.machine.errors import UserError
from pixelvae.models.family import header_of
from pixelvae.models.hierarchical.levels import (
    AutoregressiveDecoder,
    Code,
    Decoder,
    Encoder,
    GaussianPixelDecoder,
    IndependentDecoder,
    MapCode,
    VectorCode,
    split_gaussian,
)
from pixelvae.models.hierarchical.settings import Settings

__all__ = ["HierarchicalModel", "Settings"]


class HierarchicalModel(Model):
    """A model of one or two levels.

    ``batch_norm``: how it is evaluated and sampled, "blend" as the released code does, "moving"
    by moving averages alone. Both keep every image for itself. ``limit``: bytes that the parameters
    may take, see :class:`pixelvae.lib.layers.parameters.Parameters`.

    Raises UserError if the image's size cannot be halved as often as there are stages.
    """

    def __init__(
        self,
        settings: Settings,
        seed: int = 0,
        batch_norm: str = "blend",
        limit: int | None = None,
    ):
        self.settings = s = settings
        self.name, self.image_shape = s.name, s.image_shape
        self.unit = bits_per_dim(self.image_shape)
        self._norm: Norm = KnownStatistics(own=1 / s.batch if batch_norm == "blend" else 0.0)
        self._sigma_floor: Any = 0  # of p(z₁|z₂)
        self.parameters = p = Parameters(seed, limit)
        self._embedding = Embedding(p, "embedding", s.levels, s.embed) if s.embed else None

        size, top_size = self._size(s.stages), self._size((*s.stages, *s.top_stages[1:]))
        vector = VectorCode(s.latents[-1], top_size, s.code == "mean", glorot=not s.top_stages)
        code: Code = MapCode(s.latents[0], size) if s.top_stages else vector
        inputs = s.channels * (s.embed or 1)
        self.enc1 = Encoder(p, "enc1", s.stages, code, inputs)
        self.pixels, self.dec1 = self._pixel_decoder(code, inputs)
        self.latents: tuple[Latent, ...] = (Latent("z1", code.shape, noise="z1"),)
        self.enc2: Encoder | None = None
        if s.top_stages:
            self.enc2 = Encoder(p, "enc2", s.top_stages, vector)
            self.dec2 = self._top_decoder(vector)
            self.latents = (Latent("z2", vector.shape, noise="z2"), *self.latents)

    def _size(self, stages) -> tuple[int, int]:
        s, factor = self.settings, 2 ** (len(stages) - 1)
        if s.height % factor or s.width % factor:
            raise UserError(
                f"{s.name} halves images {len(stages) - 1} times, which {s.height}x{s.width} ones "
                f"cannot be: take images whose sides divide by {factor}, or another preset"
            )
        return s.height // factor, s.width // factor

    def _pixel_decoder(self, code: Code, inputs: int) -> tuple[Pixels, Decoder]:
        s, p = self.settings, self.parameters
        if s.pixel_decoder == "gaussian":
            gaussian = DiscretisedGaussian(s.levels, s.channels)
            return gaussian, GaussianPixelDecoder(p, "dec1", s.stages, code, gaussian)
        softmax = Categorical(s.levels, s.channels)
        return softmax, AutoregressiveDecoder(
            p, "dec1", s.stages, code, inputs, softmax.outputs, s.pixel_width, s.pixel_kernels,
            groups=s.channels,
        )  # fmt: skip

    def _top_decoder(self, code: Code) -> Decoder:
        s, p, k = self.settings, self.parameters, self.settings.latents[0]
        if s.top_decoder == "gaussian":
            return IndependentDecoder(p, "dec2", s.top_stages, code, 2 * k)
        return AutoregressiveDecoder(
            p, "dec2", s.top_stages, code, k, 2 * k, s.latent_width, s.latent_kernels
        )

    def header(self) -> dict[str, Any]:
        return header_of("hierarchical", self.settings)

    def _embed(self, x):
        middle = self.settings.levels / 2
        return self._embedding(x) if self._embedding else (x - middle) / (middle / 2)

    def posteriors(self, x) -> dict[str, Gaussian]:
        """q(z₁|x), and q(z₂|x) if there are two levels; neither needs a sample of the other."""
        h1 = self.enc1(self._embed(x), self._norm)
        posteriors = {"z1": self.enc1.posterior(h1)}
        if self.enc2:
            posteriors["z2"] = self.enc2.posterior(self.enc2(h1, self._norm))
        return posteriors

    def prior(self, name: str, latents: Mapping[str, Any]) -> Gaussian | StandardNormal:
        if name == self.latents[0].name:
            return StandardNormal()
        outputs = self.dec2(latents["z1"], latents["z2"], self._norm)
        k = self.settings.latents[0]
        return split_gaussian(outputs, k, bounded=True, floor=self._sigma_floor)

    def decode(self, x, latents: Mapping[str, Any]):
        z1 = latents["z1"]
        return self.dec1(self._embed(repeated(x, z1)), z1, self._norm)

    def objective(self, x, noise: Mapping[str, Any], schedule: Mapping[str, Any]) -> tuple:
        """Mean over the batch of −log p(x|z₁) + α₁ KL₁ + α₂ KL₂, in nats a dimension of the image.

        ``schedule`` has alpha1 and, for two levels, alpha2 and sigma_floor, which bounds the
        prior's sigma from below. It may have free_bits: no image's KL of the highest latent counts
        as less.
        """
        model = self._in_training(BatchStatistics(), schedule.get("sigma_floor", 0))
        terms = model.terms(x, noise)
        cost = terms.reconstruction
        kls = dict(terms.kls)
        if "free_bits" in schedule:
            highest = list(kls)[-1]
            kls[highest] = T.maximum(kls[highest], schedule["free_bits"])
        for name, value in kls.items():
            cost += schedule[name.replace("kl", "alpha")] * value
        return cost.mean() / np.float32(np.prod(self.image_shape)), terms

    def statistics(self, x, noise: Mapping[str, Any]) -> dict[Any, Any]:
        """What a batch has for each moving statistic among the parameters."""
        norm = BatchStatistics()
        self._in_training(norm).terms(x, noise)
        return norm.values

    def _in_training(self, norm: BatchStatistics, sigma_floor: Any = 0) -> HierarchicalModel:
        """The same model, with the same parameters, normalised by a batch's own statistics."""
        model = copy.copy(self)
        model._norm, model._sigma_floor = norm, sigma_floor
        return model
