"""PixelVAE for larger images, with one or two levels of latents (sections 3.1, 4.2, 4.3, E.2).

    x ──> h₁ ──> q(z₂|x)        Enc1 and Enc2, upwards
     └──> q(z₁|x)
    z₂ ──> p(z₁|z₂), z₁ ──> p(x|z₁)        Dec2 and Dec1, downwards

Every encoder and decoder is a row of stages of residual blocks, one stage a size, and a decoder ends
in a PixelCNN of a few masked layers: over pixels with a softmax for each colour in turn, over the
maps z₁ with a diagonal Gaussian. Both posteriors depend on x alone, so training is one parallel
pass. :mod:`pixelvae.models.hierarchical.presets` has the sizes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import theano.tensor as T

from pixelvae.lib.layers.embedding import Embedding
from pixelvae.lib.layers.norm import BatchStatistics, KnownStatistics
from pixelvae.lib.layers.parameters import Parameters
from pixelvae.lib.model import Terms, bits_per_dim
from pixelvae.lib.ops.gaussian import Gaussian, kl, kl_to_standard, standard_log_density
from pixelvae.lib.ops.likelihood import (
    categorical_log_likelihood,
    discretised_gaussian_log_likelihood,
)
from pixelvae.lib.sampling.draws import categorical, discretised_gaussian
from pixelvae.machine.errors import UserError
from pixelvae.models.family import header_of
from pixelvae.models.hierarchical.levels import (
    Independent,
    Level,
    MapCode,
    PixelCNN,
    VectorCode,
    split_gaussian,
)
from pixelvae.models.hierarchical.settings import Settings

__all__ = ["HierarchicalModel", "Settings"]


class HierarchicalModel:
    """A model of one or two levels; implements :class:`pixelvae.lib.model.Model`.

    ``batch_norm`` says how it is evaluated and sampled: "blend" as the released code does, "moving"
    by moving averages alone. Both keep every image for itself. ``limit``: bytes that the parameters
    may take, see :class:`pixelvae.lib.layers.parameters.Parameters`.

    Raises UserError where the image's size cannot be halved as often as there are stages.
    """

    def __init__(
        self,
        settings: Settings,
        seed: int = 0,
        batch_norm: str = "blend",
        limit: int | None = None,
    ):
        self.settings = s = settings
        self.name = s.name
        self.levels, self.two_levels = s.levels, bool(s.top_stages)
        self.image_shape = s.image_shape
        self.unit = bits_per_dim(self.image_shape)
        self._known = KnownStatistics(own=1 / s.batch if batch_norm == "blend" else 0.0)
        self.parameters = p = Parameters(seed, limit)
        self._embedding = Embedding(p, "embedding", s.levels, s.embed) if s.embed else None
        size = self._size(s.stages)
        top_size = self._size((*s.stages, *s.top_stages[1:]))
        last = s.latents[-1]

        def vector(enc, dec, width):
            mean, glorot = s.code == "mean", not self.two_levels
            return VectorCode(p, enc, dec, width, last, top_size, mean, glorot)

        def maps(enc, dec, width):
            return MapCode(p, enc, dec, width, s.latents[0])

        inputs = s.channels * (s.embed or 1)
        self._bottom = Level(
            p, 1, s.stages, inputs, maps if self.two_levels else vector, self._pixel_decoder(inputs)
        )
        shape = (s.latents[0], *size) if self.two_levels else (last,)
        self.noise_shapes: dict[str, tuple[int, ...]] = {"z1": shape}
        if self.two_levels:
            self._top = Level(p, 2, s.top_stages, 0, vector, self._top_decoder())
            self.noise_shapes["z2"] = (last,)

    def _size(self, stages) -> tuple[int, int]:
        s, factor = self.settings, 2 ** (len(stages) - 1)
        if s.height % factor or s.width % factor:
            raise UserError(
                f"{s.name} halves images {len(stages) - 1} times, which {s.height}x{s.width} ones "
                f"cannot be: take images whose sides divide by {factor}, or another preset"
            )
        return s.height // factor, s.width // factor

    def _pixel_decoder(self, inputs: int) -> Callable:
        s, p = self.settings, self.parameters
        if s.pixel_decoder == "gaussian":
            return lambda dec, width: Independent(p, dec, width, 2 * s.channels)
        return lambda dec, width: PixelCNN(
            p, f"{dec}.pixelcnn", inputs, width, s.pixel_width, s.pixel_kernels,
            s.levels * s.channels, s.channels,
        )  # fmt: skip

    def _top_decoder(self) -> Callable:
        s, p, k = self.settings, self.parameters, self.settings.latents[0]
        if s.top_decoder == "gaussian":
            return lambda dec, width: Independent(p, dec, width, 2 * k)
        return lambda dec, width: PixelCNN(
            p, f"{dec}.pixelcnn", k, width, s.latent_width, s.latent_kernels, 2 * k, groups=1
        )

    def header(self) -> dict:
        """What a weights file says about the model, enough to build it again."""
        return header_of("hierarchical", self.settings)

    def _embed(self, x):
        middle = self.settings.levels / 2
        return self._embedding(x) if self._embedding else (x - middle) / (middle / 2)

    def posteriors(self, x, norm=None) -> dict[str, Gaussian]:
        """q(z₁|x), and q(z₂|x) where there are two levels; moments that need no z."""
        norm, k = norm or self._known, self.settings.latents
        h, outputs = self._bottom.encode(self._embed(x), norm)
        posteriors = {"z1": split_gaussian(outputs, k[0])}
        if self.two_levels:
            posteriors["z2"] = split_gaussian(self._top.encode(h, norm)[1], k[1])
        return posteriors

    def prior(self, z1, z2, norm=None, floor=0) -> Gaussian:
        """p(z₁|z₂) at each position of the maps, given those before it in raster order."""
        outputs = self._top.decode(z1, z2, norm or self._known)
        return split_gaussian(outputs, self.settings.latents[0], bounded=True, floor=floor)

    def decode(self, x, z1, norm=None):
        """What parametrises p(x|z₁), (N, O, H, W): with ``draw``, values of one colour at one
        position.

        Channel k·C + c is the logit of level k for colour c; with the Gaussian decoder the channels
        are C means and then C log sigmas, in levels.
        """
        outputs = self._bottom.decode(self._embed(x), z1, norm or self._known)
        if self.settings.pixel_decoder == "pixelcnn":
            return outputs
        p = split_gaussian(outputs, self.settings.channels, bounded=True)
        middle = self.settings.levels / 2
        mean, log_sigma = middle + middle / 2 * p.mean, p.log_sigma + np.log(middle / 2)
        return T.concatenate([mean, log_sigma], axis=1)

    @property
    def draw(self) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
        """How a colour's values are drawn from ``decode`` and uniform noise; see
        :mod:`pixelvae.lib.sampling.draws`.
        """
        if self.settings.pixel_decoder == "pixelcnn":
            return categorical
        return discretised_gaussian(self.levels)

    def _log_likelihood(self, outputs, x):
        if self.settings.pixel_decoder == "pixelcnn":
            return categorical_log_likelihood(outputs, x)
        c = self.settings.channels
        p = Gaussian(outputs[:, :c], outputs[:, c:])
        return discretised_gaussian_log_likelihood(p, x, self.levels)

    def _terms(self, x, noise, norm, floor=0) -> Terms:
        q = self.posteriors(x, norm)
        z = {name: posterior.sample(noise[name]) for name, posterior in q.items()}
        if self.two_levels:
            prior = self.prior(z["z1"], z["z2"], norm, floor)
            kls = {"kl1": kl(q["z1"], prior), "kl2": kl_to_standard(q["z2"])}
        else:
            kls = {"kl1": kl_to_standard(q["z1"])}
        return Terms(-self._log_likelihood(self.decode(x, z["z1"], norm), x), kls)

    def terms(self, x, noise) -> Terms:
        """−log p(x|z₁), KL(q(z₁|x) ‖ p(z₁|z₂)) and KL(q(z₂|x) ‖ N(0, I)), in nats an image."""
        return self._terms(x, noise, self._known)

    def objective(self, x, noise, schedule):
        """Mean over the batch of −log p(x|z₁) + α₁ KL₁ + α₂ KL₂, in nats a dimension of the image.

        ``schedule`` has alpha1 and, for two levels, alpha2 and sigma_floor, which bounds the
        prior's sigma from below. It may have free_bits: no image's KL of the highest latent counts
        as less.
        """
        terms = self._terms(x, noise, BatchStatistics(), schedule.get("sigma_floor", 0))
        cost = terms.reconstruction
        kls = dict(terms.kls)
        if "free_bits" in schedule:
            highest = list(kls)[-1]
            kls[highest] = T.maximum(kls[highest], schedule["free_bits"])
        for name, value in kls.items():
            cost += schedule[name.replace("kl", "alpha")] * value
        return cost.mean() / np.float32(np.prod(self.image_shape)), terms

    def log_weights(self, x, posteriors, noise):
        """log p(x|z₁) + log p(z₁|z₂) + log p(z₂) − log q(z₁|x) − log q(z₂|x) for samples: (S,).

        With one level log p(x|z₁) + log p(z₁) − log q(z₁|x). x (1, C, H, W) is one image.
        """
        z = {name: q.sample(noise[name]) for name, q in posteriors.items()}
        x = T.alloc(x, z["z1"].shape[0], *self.image_shape)
        log_p = self._log_likelihood(self.decode(x, z["z1"]), x)
        if self.two_levels:
            log_p += self.prior(z["z1"], z["z2"]).log_density(z["z1"])
            log_p += standard_log_density(z["z2"])
        else:
            log_p += standard_log_density(z["z1"])
        return log_p - sum(q.log_density(z[name]) for name, q in posteriors.items())

    def statistics(self, x, noise) -> dict[Any, Any]:
        """What a batch has for each moving statistic among the parameters."""
        norm = BatchStatistics()
        self._terms(x, noise, norm)
        return norm.values
