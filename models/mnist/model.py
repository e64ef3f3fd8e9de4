"""The models for binarized MNIST: the authors' own rows of table 1, layer by layer as in table E.1.

=======================  =========================================================================
``conv-vae``             upsampling decoder, pixels independent given z
``pixelvae``             upsampling decoder, then masked convolutions (van den Oord et al. 2016a)
``gated-pixelcnn``       no latent: the gated two-stack network alone; its likelihood is exact
``gated-pixelvae``       upsampling decoder, then the gated two-stack network
``gated-pixelvae-noup``  z enters every gate as a linear bias; no upsampling decoder
=======================  =========================================================================

Where the released code and the paper differ, ``docs/fidelity.md`` lists which one this follows.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from functools import partial
from typing import Any

import theano.tensor as T

from pixelvae.lib.layers.conv import Conv, TransposedConv
from pixelvae.lib.layers.linear import Linear
from pixelvae.lib.layers.parameters import Parameters
from pixelvae.lib.model import Latent, Model
from pixelvae.lib.ops.gaussian import Gaussian, StandardNormal
from pixelvae.lib.pixels import Bernoulli
from pixelvae.lib.units import NATS
from pixelvae.models.family import header_of, named
from pixelvae.models.mnist.presets import Settings

__all__ = ["MnistModel", "Settings"]

# Channels of the upsampling decoder's maps, and of the layers behind it in gated-pixelvae.
FEATURES = 32


def halved(size: int, times: int) -> int:
    """A side of maps after so many convolutions with stride 2."""
    return -(-size // 2**times)


class Encoder:
    """q(z|x): convolutions down to 4x4 (for 28x28 images), then a linear layer (table E.1, top)."""

    def __init__(self, p: Parameters, latent_dim: int, height: int, width: int):
        def conv(number, inputs, outputs, stride=1):
            name = f"encoder.conv{number}"
            return Conv(p, name, inputs, outputs, 3, stride=stride, relu=True)

        self.fine = [conv(1, 1, 32), conv(2, 32, 32, 2), conv(3, 32, 32), conv(4, 32, 64, 2)]
        self.coarse = [conv(5, 64, 64), conv(6, 64, 64, 2), conv(7, 64, 64), conv(8, 64, 64)]
        numbers = 64 * halved(height, 3) * halved(width, 3)
        self.linear = Linear(p, "encoder.linear", numbers, 2 * latent_dim)

    def __call__(self, x) -> Gaussian:
        for conv in self.fine:
            x = conv(x)
        x = pad_to_even(x)  # 7x7 -> 8x8
        for conv in self.coarse:
            x = conv(x)
        y = self.linear(x.flatten(2))
        return Gaussian(mean=y[:, ::2], log_sigma=y[:, 1::2])


def pad_to_even(x):
    """Zeros at the bottom and on the right where a side is odd."""
    h, w = x.shape[2] + x.shape[2] % 2, x.shape[3] + x.shape[3] % 2
    canvas = T.zeros((x.shape[0], x.shape[1], h, w), x.dtype)
    return T.set_subtensor(canvas[:, :, : x.shape[2], : x.shape[3]], x)


class Decoder:
    """z -> FEATURES maps of the image's size, by transposed convolutions (table E.1, middle)."""

    def __init__(self, p: Parameters, latent_dim: int, height: int, width: int):
        def conv(name, inputs, outputs):
            return Conv(p, f"decoder.{name}", inputs, outputs, 3, relu=True)

        def up(name, inputs, outputs):
            return TransposedConv(p, f"decoder.{name}", inputs, outputs, relu=True)

        def size(times):
            return halved(height, times), halved(width, times)

        self.start = (64, *size(3))
        self.linear = Linear(p, "decoder.linear", latent_dim, math.prod(self.start))
        self.first = [conv("conv1", 64, 64), conv("conv2", 64, 64)]
        self.stages = [
            (up("up1", 64, 64), conv("conv3", 64, 64), size(2)),
            (up("up2", 64, 32), conv("conv4", 32, 32), size(1)),
            (up("up3", 32, 32), conv("conv5", 32, FEATURES), size(0)),
        ]

    def __call__(self, z):
        _, h, w = self.start
        x = T.nnet.relu(self.linear(z)).reshape((z.shape[0], *self.start))
        for conv in self.first:
            x = conv(x)
        for up, conv, (height, width) in self.stages:
            x = conv(up(x))
            if (2 * h, 2 * w) != (height, width):  # the table crops 8x8 to 7x7
                x = x[:, :, :height, :width]
            h, w = height, width
        return x


class MnistModel(Model):
    """One of the models of table 1. ``parameters`` are its own; methods give Theano expressions.

    Images x are float (N, 1, H, W) with values 0 and 1, the latent "z" (N, K), logits (N, 1, H, W).
    ``limit``: bytes that the parameters may take, see
    :class:`pixelvae.lib.layers.parameters.Parameters`.
    """

    unit = NATS
    pixels = Bernoulli()

    def __init__(self, settings: Settings, seed: int = 0, limit: int | None = None):
        self.settings = s = settings
        self.name, self.image_shape = s.name, s.image_shape
        variant = s.variant
        self.latents = (Latent("z", (s.latent_dim,), noise="latent"),) if variant.latent else ()
        self.parameters = p = Parameters(seed, limit)
        self._encoder = Encoder(p, s.latent_dim, s.height, s.width) if variant.latent else None
        self._decoder = Decoder(p, s.latent_dim, s.height, s.width) if variant.upsampling else None
        features = FEATURES if variant.upsampling else 0
        direct = s.latent_dim if variant.latent and not variant.upsampling else 0
        self._network = named(variant.network)(p, s, features, direct)
        self.droppable = getattr(self._network, "droppable", 0)

    def header(self) -> dict[str, Any]:
        return header_of("mnist", self.settings)

    def posteriors(self, x) -> dict[str, Gaussian]:
        return {"z": self._encoder(x)} if self._encoder else {}

    def prior(self, name: str, latents: Mapping[str, Any]) -> StandardNormal:
        return StandardNormal()

    def decode(self, x, latents: Mapping[str, Any]):
        z = latents.get("z")
        if self._decoder:
            return self._network(x, features=self._decoder(z))
        return self._network(x, z=z)

    def objective(self, x, noise: Mapping[str, Any], schedule: Mapping[str, Any]) -> tuple:
        """Mean over the batch of −log p(x|z) + α·KL: equation 2 with the released code's α."""
        model = self
        if "dropout" in noise:
            model = copy.copy(self)
            model._network = partial(self._network, kept=noise["dropout"])
        terms = model.terms(x, noise)
        return (terms.reconstruction + schedule["alpha"] * terms.kl).mean(), terms
