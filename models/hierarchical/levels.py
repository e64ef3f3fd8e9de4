"""What a level of the larger models is made of: codes, decoders' last layers, and the level itself.

Each is declared for a model's parameters and called on Theano expressions, as :mod:`pixelvae.lib.layers` are.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import theano.tensor as T

from pixelvae.lib.layers.conv import Conv
from pixelvae.lib.layers.linear import Linear
from pixelvae.lib.layers.parameters import Parameters
from pixelvae.lib.layers.residual import MaskedResidualBlock, Stages
from pixelvae.lib.ops.gaussian import Gaussian

LARGEST_LATENT = 50.0  # latents are clipped to ± this where they enter a decoder


def split_gaussian(outputs, k: int, bounded: bool = False, floor=0) -> Gaussian:
    """A layer's output (N, 2K, ...) as mean and s, with sigma = ½ (softsign(s) + 1), at least
    ``floor``.

    ``bounded``: mean = 2 softsign(m / 2), which keeps a prior within ± 2.
    """
    mean, s = outputs[:, :k], outputs[:, k:]
    if bounded:
        mean = 2 * mean / (2 + abs(mean))
    # For s < 0 this is 1/2 / (1 - s), written so that no digits cancel and sigma stays above 0.
    half = 0.5 / (1 + abs(s))
    sigma = T.maximum(T.switch(T.lt(s, 0), half, 1 - half), floor)
    return Gaussian(mean, T.log(sigma))


class MapCode:
    """Between maps (N, D, h, w) and a latent of maps (N, K, h, w)."""

    def __init__(self, p: Parameters, encoder: str, decoder: str, width: int, latent: int):
        self.posterior = Conv(p, f"{encoder}.output", width, 2 * latent, 1, he=False)
        self.start = Conv(p, f"{decoder}.input", latent, width, 1, he=False)


class VectorCode:
    """Between maps (N, D, h, w) and a latent vector (N, K): flattened, or averaged on the way up
    and copied down.
    """

    def __init__(
        self, p: Parameters, encoder: str, decoder: str, width: int, latent: int,
        size: tuple[int, int], mean: bool, glorot: bool,
    ):  # fmt: skip
        self._shape, self._mean = (width, *size), mean
        numbers = width if mean else math.prod(self._shape)
        self._up = Linear(p, f"{encoder}.output", numbers, 2 * latent, glorot=glorot)
        self._down = Linear(p, f"{decoder}.input", latent, numbers, glorot=glorot)

    def posterior(self, maps):
        return self._up(maps.mean(axis=(2, 3)) if self._mean else maps.flatten(2))

    def start(self, z):
        y, shape = self._down(z), (z.shape[0], *self._shape)
        return T.alloc(y.dimshuffle(0, 1, "x", "x"), *shape) if self._mean else y.reshape(shape)


class PixelCNN:
    """Masked layers over what is modelled, beside the decoder's features: a 5x5 mask A, residual
    blocks, a 1x1.
    """

    def __init__(
        self, p: Parameters, name: str, inputs: int, features: int, width: int,
        kernels: Sequence[int], outputs: int, groups: int,
    ):  # fmt: skip
        self.input = Conv(
            p, f"{name}.input", inputs, features, 5, mask="A", groups=groups, he=False
        )
        self.blocks, before = [], 2 * features
        for i, kernel in enumerate(kernels, start=1):
            block = MaskedResidualBlock(p, f"{name}.block{i}", before, width, kernel, groups)
            self.blocks.append(block)
            before = width
        self.output = Conv(
            p, f"{name}.output", before, outputs, 1, mask="B", groups=groups, he=False
        )

    def __call__(self, below, features):
        # Halved, so that the variances of both about match. The masked maps come first: their
        # colours are by index.
        h = T.concatenate([self.input(below), 0.5 * features], axis=1)
        for block in self.blocks:
            h = block(h)
        return self.output(h)


class Independent:
    """A 1x1 convolution of the features to a distribution of each dimension by itself (ablations of
    section 4.2).
    """

    def __init__(self, p: Parameters, name: str, features: int, outputs: int):
        self.output = Conv(p, f"{name}.output", features, outputs, 1, he=False)

    def __call__(self, below, features):
        return self.output(features)


class Level:
    """One latent: the encoder to it from the maps below it, and the decoder from it to what it
    models.
    """

    def __init__(self, p: Parameters, number: int, stages, inputs: int, code, output):
        widths = [width for width, _ in stages]
        enc, dec = f"enc{number}", f"dec{number}"
        self.input = Conv(p, f"{enc}.input", inputs, widths[0], 1, he=False) if inputs else None
        self.down = Stages(p, enc, stages, "down")
        self.code = code(enc, dec, widths[-1])
        self.up = Stages(p, dec, stages[::-1], "up")
        self.output = output(dec, widths[0])

    def encode(self, below, norm):
        """The encoder's last maps, and the layer that parametrises the posterior."""
        h = self.down(below if self.input is None else self.input(below), norm)
        return h, self.code.posterior(h)

    def decode(self, below, z, norm):
        """The layer that parametrises p(below | z), in which each position sees what comes before
        it.
        """
        z = T.clip(z, -LARGEST_LATENT, LARGEST_LATENT)
        return self.output(below, self.up(self.code.start(z), norm))
