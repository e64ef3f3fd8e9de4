"""Networks over the pixels of binary images, conditioned on the latent (table E.1).

Each is made of (parameters, sizes, features, latent) and called as ``network(x, features=…, z=…)``;
see :class:`pixelvae.models.mnist.table1.Variant`. One with ``droppable`` maps takes ``kept`` while
training with dropout, the factors (N, droppable) of each image's maps.
"""

from __future__ import annotations

from typing import Protocol

import theano.tensor as T

from pixelvae.lib.layers.conv import Conv
from pixelvae.lib.layers.gated import GatedLayer
from pixelvae.lib.layers.linear import Linear
from pixelvae.lib.layers.parameters import Parameters
from pixelvae.lib.ops.gate import gate
from pixelvae.lib.pixels import repeated


class Sizes(Protocol):
    """The sizes of a network over pixels, such as :class:`.presets.Settings` has."""

    @property
    def layers(self) -> int:
        """L, after the first."""

    @property
    def dim_pix(self) -> int:
        """D, their width."""

    @property
    def filter_size(self) -> int:
        """k, of their kernels."""


class IndependentPixels:
    """A 1x1 convolution of the features to one logit a pixel: the convolutional VAE."""

    def __init__(self, p: Parameters, s: Sizes, features: int, latent: int):
        self.conv = Conv(p, "output", features, 1, 1, he=False)

    def __call__(self, x, features=None, z=None):
        return self.conv(features)


def with_features(x, features):
    """The images with the decoder's features behind them."""
    return T.concatenate([repeated(x, features), features], axis=1)


def of_layer(kept, i: int, maps: int):
    """The factors (N, maps) of layer i, of those for all layers; None if there is no dropout."""
    return None if kept is None else kept[:, i * maps : (i + 1) * maps]


class MaskedStack:
    """The un-gated PixelCNN: one 7x7 mask-A convolution, then residual mask-B layers with ReLU."""

    def __init__(self, p: Parameters, s: Sizes, features: int, latent: int):
        d, k = s.dim_pix, s.filter_size
        self.input = Conv(p, "pixelcnn.input", 1 + features, d, 7, mask="A", relu=True)
        self.layers = [
            Conv(p, f"pixelcnn.layer{i + 1}", d, d, k, mask="B", relu=True) for i in range(s.layers)
        ]
        self.output = [Conv(p, f"output.conv{i + 1}", d, d, 1, relu=True) for i in range(2)]
        self.logits = Conv(p, "output.logits", d, 1, 1, he=False)
        self.width, self.droppable = d, s.layers * d

    def __call__(self, x, features=None, z=None, kept=None):
        h = self.input(with_features(x, features))
        for i, layer in enumerate(self.layers):
            maps, factors = layer(h), of_layer(kept, i, self.width)
            h = h + (maps if factors is None else maps * factors.dimshuffle(0, 1, "x", "x"))
        for conv in self.output:
            h = conv(h)
        return self.logits(h)


class GatedStack:
    """The gated two-stack PixelCNN: 7x7 mask A, L layers of mask B, two gated 1x1, one logit.

    ``features``: maps concatenated to the image (0 for none). ``latent``: dimensions of the z that
    enters every gate (0 for plain gates).
    """

    def __init__(self, p: Parameters, s: Sizes, features: int, latent: int):
        d, k, out = s.dim_pix, s.filter_size, features or s.dim_pix
        self.layers = [GatedLayer(p, "pixelcnn.input", 1 + features, d, 7, mask="A")]
        for i in range(s.layers):
            self.layers.append(GatedLayer(p, f"pixelcnn.layer{i + 1}", d, d, k, mask="B"))
        self.output = [
            Conv(p, f"output.conv{i + 1}", d if i == 0 else out, 2 * out, 1) for i in range(2)
        ]
        self.logits = Conv(p, "output.logits", out, 1, 1, he=False)
        # Two gates in every layer and one behind each output convolution, each with two maps of z
        # (V₁ and V₂).
        self.gates = 2 * len(self.layers) + len(self.output)
        self.latent = None
        if latent:
            self.latent = Linear(p, "pixelcnn.latent", latent, d, blocks=2 * self.gates)
        self.width, self.droppable = d, 2 * d * len(self.layers)

    def conditions(self, z) -> list:
        """What z adds inside each gate, (N, 2D) each, from one matrix product for all."""
        if self.latent is None:
            return [0] * self.gates
        return T.split(self.latent(z), [2 * self.width] * self.gates, self.gates, axis=1)

    def __call__(self, x, features=None, z=None, kept=None):
        c = self.conditions(z)
        vertical = horizontal = x if features is None else with_features(x, features)
        for i, layer in enumerate(self.layers):
            factors = of_layer(kept, i, 2 * self.width)
            vertical, horizontal = layer(vertical, horizontal, c[2 * i : 2 * i + 2], factors)
        for i, conv in enumerate(self.output):
            horizontal = gate(conv.without_bias(horizontal), conv.b + c[2 * len(self.layers) + i])
        return self.logits(horizontal)
