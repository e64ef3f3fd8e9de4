"""Enc and Dec of a level of the larger models (section 3.1), and what they are made of.

Each is declared for a model's parameters and called on Theano expressions, as
:mod:`pixelvae.lib.layers` are.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Callable, Union

import numpy as np
import theano.tensor as T

from pixelvae.lib.layers.conv import Conv
from pixelvae.lib.layers.linear import Linear
from pixelvae.lib.layers.norm import Norm
from pixelvae.lib.layers.parameters import Parameters
from pixelvae.lib.layers.residual import MaskedResidualBlock, Stages
from pixelvae.lib.ops.gaussian import Gaussian
from pixelvae.lib.pixels import DiscretisedGaussian

LARGEST_LATENT = 50.0  # latents are clipped to ± this where they enter a decoder


def split_gaussian(outputs, k: int, bounded: bool = False, floor=0) -> Gaussian:
    """A layer's output (N, 2K, ...) as mean and sigma = ½ (softsign(s) + 1), at least ``floor``.

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
    """A latent of K maps (N, K, h, w): how it leaves an encoder of width D and enters a decoder."""

    def __init__(self, k: int, size: tuple[int, int]):
        self.k, self.shape = k, (k, *size)

    def posterior(self, p: Parameters, name: str, width: int) -> Conv:
        """The encoder's last layer: maps (N, D, h, w) -> (N, 2K, h, w)."""
        return Conv(p, f"{name}.output", width, 2 * self.k, 1, he=False)

    def start(self, p: Parameters, name: str, width: int) -> Conv:
        """The decoder's first layer: (N, K, h, w) -> (N, D, h, w)."""
        return Conv(p, f"{name}.input", self.k, width, 1, he=False)


class VectorCode:
    """A latent vector (N, K), made of maps of ``size`` (h, w) by a linear layer, and back.

    The maps are flattened, or, with ``mean``, averaged over space and on the way back copied.
    """

    def __init__(self, k: int, size: tuple[int, int], mean: bool, glorot: bool):
        self.k, self.shape = k, (k,)
        self._size, self._mean, self._glorot = size, mean, glorot

    def posterior(self, p: Parameters, name: str, width: int) -> Callable[[Any], Any]:
        """The encoder's last layer: maps (N, D, h, w) -> (N, 2K)."""
        numbers = self._numbers(width)
        linear = Linear(p, f"{name}.output", numbers, 2 * self.k, glorot=self._glorot)
        return lambda maps: linear(maps.mean(axis=(2, 3)) if self._mean else maps.flatten(2))

    def start(self, p: Parameters, name: str, width: int) -> Callable[[Any], Any]:
        """The decoder's first layer: (N, K) -> (N, D, h, w)."""
        numbers = self._numbers(width)
        linear = Linear(p, f"{name}.input", self.k, numbers, glorot=self._glorot)

        def maps(z):
            y, shape = linear(z), (z.shape[0], width, *self._size)
            return T.alloc(y.dimshuffle(0, 1, "x", "x"), *shape) if self._mean else y.reshape(shape)

        return maps

    def _numbers(self, width: int) -> int:
        return width if self._mean else width * math.prod(self._size)


Code = Union[MapCode, VectorCode]


class PixelCNN:
    """Masked layers beside the decoder's features: a 5x5 mask A, residual blocks, a 1x1."""

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


class Encoder:
    """Enc₁ or Enc₂: from the maps below to maps, and from these to the posterior of its latent.

    ``inputs``: channels of what is below, if a convolution has to bring them to the first width.
    """

    def __init__(self, p: Parameters, name: str, stages, code: Code, inputs: int = 0):
        width = stages[0][0]
        self.input = Conv(p, f"{name}.input", inputs, width, 1, he=False) if inputs else None
        self.stages = Stages(p, name, stages, "down")
        self.output, self.k = code.posterior(p, name, stages[-1][0]), code.k

    def __call__(self, below, norm: Norm):
        """Its last maps, of which :meth:`posterior` and the encoder above are made."""
        return self.stages(self.input(below) if self.input else below, norm)

    def posterior(self, maps) -> Gaussian:
        """q(z|x)."""
        return split_gaussian(self.output(maps), self.k)


class Decoder:
    """Dec₁ or Dec₂: from its latent to features of the size of what it models, and their network.

    Subclasses have the network, and are called as ``decoder(below, z, norm)``, below being what is
    modelled: the outputs at a position depend on z and on the positions before it alone.
    """

    def __init__(self, p: Parameters, name: str, stages, code: Code):
        self.start = code.start(p, name, stages[-1][0])
        self.stages = Stages(p, name, stages[::-1], "up")

    def features(self, z, norm: Norm):
        """Maps (N, D, H, W)."""
        z = T.clip(z, -LARGEST_LATENT, LARGEST_LATENT)
        return self.stages(self.start(z), norm)

    def __call__(self, below, z, norm: Norm):
        raise NotImplementedError


class AutoregressiveDecoder(Decoder):
    """A decoder that ends in a :class:`PixelCNN` of these sizes, over ``inputs`` channels."""

    def __init__(
        self, p: Parameters, name: str, stages, code: Code, inputs: int, outputs: int,
        width: int, kernels: Sequence[int], groups: int = 1,
    ):  # fmt: skip
        super().__init__(p, name, stages, code)
        self.network = PixelCNN(
            p, f"{name}.pixelcnn", inputs, stages[0][0], width, kernels, outputs, groups
        )

    def __call__(self, below, z, norm: Norm):
        return self.network(below, self.features(z, norm))


class IndependentDecoder(Decoder):
    """A decoder that ends in a 1x1 convolution, each position by itself (4.2's ablations)."""

    def __init__(self, p: Parameters, name: str, stages, code: Code, outputs: int):
        super().__init__(p, name, stages, code)
        self.network = Conv(p, f"{name}.output", stages[0][0], outputs, 1, he=False)

    def __call__(self, below, z, norm: Norm):
        return self.network(self.features(z, norm))


class GaussianPixelDecoder(IndependentDecoder):
    """The same over pixels: means and log sigmas of a ``DiscretisedGaussian``."""

    def __init__(self, p: Parameters, name: str, stages, code: Code, pixels: DiscretisedGaussian):
        super().__init__(p, name, stages, code, pixels.outputs)
        self._channels, self._middle = pixels.channels, pixels.levels / 2

    def __call__(self, below, z, norm: Norm):
        p = split_gaussian(super().__call__(below, z, norm), self._channels, bounded=True)
        mean = self._middle + self._middle / 2 * p.mean
        return T.concatenate([mean, p.log_sigma + np.log(self._middle / 2)], axis=1)
