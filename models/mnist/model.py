"""The models for binarized MNIST: the authors' own rows of table 1, layer by layer as in table E.1.

=======================  =========================================================================
``conv-vae``             upsampling decoder, pixels independent given z
``pixelvae``             upsampling decoder, then masked convolutions (van den Oord et al. 2016a)
``gated-pixelcnn``       no latent: the gated two-stack network alone; its likelihood is exact
``gated-pixelvae``       upsampling decoder, then the gated two-stack network
``gated-pixelvae-noup``  z enters every gate as a linear bias; no upsampling decoder
=======================  =========================================================================

Where the released code and the paper differ, ``docs/fidelity.md`` says which one this follows.
"""

from __future__ import annotations

from typing import Any

import theano.tensor as T

from pixelvae.lib.layers.conv import Conv, TransposedConv
from pixelvae.lib.layers.linear import Linear
from pixelvae.lib.layers.parameters import Parameters
from pixelvae.lib.model import NATS, Terms
from pixelvae.lib.ops.gaussian import Gaussian, kl_to_standard, standard_log_density
from pixelvae.lib.ops.likelihood import bernoulli_log_likelihood
from pixelvae.models.family import header_of
from pixelvae.models.mnist.presets import Settings

__all__ = ["MnistModel", "Settings"]

# Channels of the upsampling decoder's maps, and of the layers behind it in gated-pixelvae.
FEATURES = 32


class Encoder:
    """q(z|x): convolutions down to 4x4 (for 28x28 images), then a linear layer (table E.1, top)."""

    def __init__(self, p: Parameters, latent_dim: int, height: int, width: int):
        widths = [(1, 32, 1), (32, 32, 2), (32, 32, 1), (32, 64, 2)]
        widths += [(64, 64, 1), (64, 64, 2), (64, 64, 1), (64, 64, 1)]
        self.convs = [
            Conv(p, f"encoder.conv{i + 1}", a, b, 3, stride=s, relu=True)
            for i, (a, b, s) in enumerate(widths)
        ]
        h, w = Decoder.start(height, width)
        self.linear = Linear(p, "encoder.linear", 64 * h * w, 2 * latent_dim)

    def __call__(self, x) -> Gaussian:
        for i, conv in enumerate(self.convs):
            if i == 4:
                x = pad_to_even(x)  # 7x7 -> 8x8
            x = conv(x)
        y = self.linear(x.flatten(2))
        return Gaussian(mean=y[:, ::2], log_sigma=y[:, 1::2])


def pad_to_even(x):
    """Zeros at the bottom and on the right where a side is odd."""
    h, w = x.shape[2] + x.shape[2] % 2, x.shape[3] + x.shape[3] % 2
    canvas = T.zeros((x.shape[0], x.shape[1], h, w), x.dtype)
    return T.set_subtensor(canvas[:, :, : x.shape[2], : x.shape[3]], x)


class Decoder:
    """z -> FEATURES maps of the image's size (table E.1, middle), doubling by transposed convolutions."""

    @staticmethod
    def halve(size: int) -> int:
        return (size + 1) // 2

    @classmethod
    def start(cls, height: int, width: int) -> tuple[int, int]:
        """The coarsest maps' size: 4x4 for 28x28 images."""
        h, w = (cls.halve(cls.halve(cls.halve(s))) for s in (height, width))
        return h, w

    def __init__(self, p: Parameters, latent_dim: int, height: int, width: int):
        self.sizes = [(height, width)]
        for _ in range(3):
            self.sizes.append((self.halve(self.sizes[-1][0]), self.halve(self.sizes[-1][1])))
        h, w = self.sizes[-1]
        self.linear = Linear(p, "decoder.linear", latent_dim, 64 * h * w)

        def conv(name, inputs, outputs):
            return Conv(p, f"decoder.{name}", inputs, outputs, 3, relu=True)

        def up(name, inputs, outputs):
            return TransposedConv(p, f"decoder.{name}", inputs, outputs, relu=True)

        self.first = [conv("conv1", 64, 64), conv("conv2", 64, 64)]
        self.stages = [
            (up("up1", 64, 64), conv("conv3", 64, 64)),
            (up("up2", 64, 32), conv("conv4", 32, 32)),
            (up("up3", 32, 32), conv("conv5", 32, FEATURES)),
        ]

    def __call__(self, z):
        h, w = self.sizes[-1]
        x = T.nnet.relu(self.linear(z)).reshape((z.shape[0], 64, h, w))
        for conv in self.first:
            x = conv(x)
        for i, (up, conv) in enumerate(self.stages):
            x = conv(up(x))
            # The table crops 8x8 to 7x7 behind the first stage; sizes that divide by 8 need no crop at all.
            height, width = self.sizes[2 - i]
            if (2 * h, 2 * w) != (height, width):
                x = x[:, :, :height, :width]
            h, w = height, width
        return x


class MnistModel:
    """One of the models of table 1. ``parameters`` are its own; methods give Theano expressions.

    Images x are float (N, 1, H, W) with values 0 and 1, latents z (N, K), logits (N, 1, H, W).
    ``limit``: bytes that the parameters may take, see :class:`pixelvae.lib.layers.parameters.Parameters`.
    """

    levels = 2
    unit = NATS

    def __init__(self, settings: Settings, seed: int = 0, limit: int | None = None):
        self.settings = s = settings
        variant = s.variant
        self.parameters = p = Parameters(seed, limit)
        self.latent_dim = s.latent_dim if variant.latent else 0
        if self.latent_dim:
            self._encoder = Encoder(p, s.latent_dim, s.height, s.width)
        self._decoder, features = None, 0
        if variant.upsampling:
            self._decoder = Decoder(p, s.latent_dim, s.height, s.width)
            features = FEATURES
        self._pixels: Any = variant.pixels(p, s, features, 0 if features else self.latent_dim)

    @property
    def name(self) -> str:
        """What the model is called in messages and records."""
        return self.settings.model

    @property
    def image_shape(self) -> tuple[int, int, int]:
        return (1, self.settings.height, self.settings.width)

    @property
    def noise_shapes(self) -> dict[str, tuple[int, ...]]:
        """The noise behind one posterior sample: nothing for a model without latent."""
        return {"z": (self.latent_dim,)} if self.latent_dim else {}

    def header(self) -> dict:
        """What a weights file says about the model, enough to build it again."""
        return header_of("mnist", self.settings)

    def encode(self, x) -> Gaussian:
        """q(z|x). Not for a model without latent."""
        return self._encoder(x)

    def posteriors(self, x) -> dict[str, Gaussian]:
        """q(z|x) as ``{"z": …}``; nothing for a model without latent."""
        return {"z": self.encode(x)} if self.latent_dim else {}

    def decode(self, x, z=None):
        """Logits of p(x_i = 1 | x_1 … x_{i-1}, z) for every pixel i, in raster order (section 3)."""
        if self._decoder is not None:
            return self._pixels(x, features=self._decoder(z))
        return self._pixels(x, z=z)

    def terms(self, x, noise) -> Terms:
        """−log p(x|z) with z ~ q(z|x), and KL(q(z|x) ‖ N(0, I)), in nats an image."""
        if not self.latent_dim:
            return Terms(-bernoulli_log_likelihood(self.decode(x), x), {})
        q = self.encode(x)
        logits = self.decode(x, q.sample(noise["z"]))
        return Terms(-bernoulli_log_likelihood(logits, x), {"kl": kl_to_standard(q)})

    def objective(self, x, noise, schedule):
        """Mean over the batch of −log p(x|z) + α·KL (section 4.1, with the released code's warm-up α)."""
        terms = self.terms(x, noise)
        return (terms.reconstruction + schedule["alpha"] * terms.kl).mean(), terms

    def log_weights(self, x, posteriors, noise):
        """log p(x|z_s) + log p(z_s) − log q(z_s|x) of one image x (1, 1, H, W) for samples z_s: (S,).

        x's type says that it is one image: what depends on it alone is then computed once for all samples.
        """
        q = posteriors["z"]
        z = q.sample(noise["z"])
        log_p = bernoulli_log_likelihood(self.decode(x, z), x) + standard_log_density(z)
        return log_p - q.log_density(z)
