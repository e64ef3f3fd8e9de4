"""Layers of the models for larger images (section E.2): residual blocks, plain and masked, and what
they are made of.

Layers declare their parameters when made. Those that hold a batch norm are called with ``norm``, a
function of the :class:`BatchNorm` layer and its maps, which says whose statistics count:
:class:`BatchStatistics` while training, :class:`KnownStatistics` afterwards. Maps are (N, C, H, W).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Callable

import numpy as np

from lib import initial
from lib.layers import Conv
from lib.ops import batch_norm
from lib.ops.conv import Correlate
from lib.ops.elu import elu
from lib.ops.embedding import embed
from lib.ops.gate import gate
from lib.ops.weight_norm import WeightNorm
from lib.parameters import Parameters

Norm = Callable[["BatchNorm", Any], Any]


class BatchNorm:
    """Scale and offset of a batch norm, which are trained, and the moving mean and variance, which
    are not.
    """

    def __init__(self, p: Parameters, name: str, width: int):
        self.scale = p.new(f"{name}.scale", np.ones(width))
        self.offset = p.new(f"{name}.offset", np.zeros(width))
        self.mean = p.new(f"{name}.mean", np.zeros(width), trained=False)
        self.variance = p.new(f"{name}.variance", np.ones(width), trained=False)


class BatchStatistics:
    """Normalises by the batch's own statistics; ``values`` maps each moving statistic to the
    batch's.
    """

    def __init__(self) -> None:
        self.values: dict[Any, Any] = {}

    def __call__(self, layer: BatchNorm, x):
        y, mean, variance = batch_norm.BatchNorm()(x, layer.scale, layer.offset)
        self.values.update({layer.mean: mean, layer.variance: variance})
        return y


class KnownStatistics:
    """Normalises by the moving statistics; each item's own enter with the share ``own``."""

    def __init__(self, own: float):
        self._own = own

    def __call__(self, layer: BatchNorm, x):
        return batch_norm.batch_norm_inference(
            x, layer.scale, layer.offset, layer.mean, layer.variance, self._own
        )


class PlainConv:
    """Convolution with half padding and without weight norm; a bias only where asked for."""

    def __init__(
        self,
        p: Parameters,
        name: str,
        inputs: int,
        outputs: int,
        kernel: int = 3,
        stride: int = 1,
        bias: bool = True,
    ):
        shape = (outputs, inputs, kernel * kernel)
        self.w = p.new(f"{name}.w", initial.convolution(p.rng, shape, stride=stride))
        self.b = p.new(f"{name}.b", np.zeros(outputs)) if bias else None
        self._correlate = Correlate(kernel, kernel, kernel * kernel, stride)

    def __call__(self, x):
        return self._correlate(x, self.w, self.b)


def depth_to_space(x):
    """(N, 4C, H, W) -> (N, C, 2H, 2W): the four C's fill the corners of each square of four
    (subpixel convolution).
    """
    n, c, h, w = x.shape[0], x.shape[1] // 4, x.shape[2], x.shape[3]
    squares = x.reshape((n, 2, 2, c, h, w)).dimshuffle(0, 3, 4, 1, 5, 2)
    return squares.reshape((n, c, 2 * h, 2 * w))


class ResidualBlock:
    """ELU, convolution, ELU, convolution, batch norm; plus the shortcut (pre-activation, He et al.
    2016).

    ``resample``: "down" has stride 2 in the second convolution, "up" is a subpixel convolution in
    the first. The shortcut is a 1x1 convolution, resampled alike, where width or size changes.
    """

    def __init__(
        self, p: Parameters, name: str, inputs: int, outputs: int, resample: str | None = None
    ):
        self._up = resample == "up"
        more, stride = (4 if self._up else 1), (2 if resample == "down" else 1)
        middle = outputs if self._up else inputs
        self.first = PlainConv(p, f"{name}.conv1", inputs, more * middle)
        self.second = PlainConv(p, f"{name}.conv2", middle, outputs, stride=stride, bias=False)
        self.norm = BatchNorm(p, f"{name}.norm", outputs)
        self.shortcut = None
        if resample or inputs != outputs:
            self.shortcut = Conv(
                p, f"{name}.shortcut", inputs, more * outputs, (1, 1), stride=stride, he=False
            )

    def __call__(self, x, norm: Norm):
        h, short = self.first(elu(x)), x if self.shortcut is None else self.shortcut(x)
        if self._up:
            h, short = depth_to_space(h), depth_to_space(short)
        return short + norm(self.norm, self.second(elu(h)))


class Stages:
    """Residual blocks at one size after another.

    ``stages`` are pairs (width, number of blocks); between two of them a block resamples, "down" or
    "up".
    """

    def __init__(self, p: Parameters, name: str, stages: Sequence[tuple[int, int]], resample: str):
        self.blocks, width = [], None
        for i, (outputs, count) in enumerate(stages, start=1):
            if width is not None:
                block = f"{name}.{resample}{i - 1}"
                self.blocks.append(ResidualBlock(p, block, width, outputs, resample))
            width = outputs
            for j in range(1, count + 1):
                block = f"{name}.stage{i}.block{j}"
                self.blocks.append(ResidualBlock(p, block, width, width))

    def __call__(self, x, norm: Norm):
        for block in self.blocks:
            x = block(x, norm)
        return x


class Embedding:
    """Values 0 … levels − 1 as vectors of E numbers: (N, C, H, W) -> (N, E·C, H, W), channel e·C +
    c for colour c.
    """

    def __init__(self, p: Parameters, name: str, levels: int, size: int):
        self.table = p.new(f"{name}.table", initial.table(p.rng, levels, size))

    def __call__(self, x):
        return embed(x, self.table)


class MaskedConv:
    """Weight-normalised convolution that sees positions up to its own in raster order.

    At its own position, channels are in ``groups`` (colours) by index modulo groups: mask "A" lets
    group i feed group j only where i < j, mask "B" where i <= j. ``blocks`` many convolutions of
    ``outputs`` channels share the input and lie side by side, each with groups of its own.
    """

    def __init__(
        self,
        p: Parameters,
        name: str,
        inputs: int,
        outputs: int,
        kernel: int,
        mask: str,
        groups: int,
        blocks: int = 1,
        he: bool = True,
    ):
        full = kernel * kernel
        taps = full // 2 + (mask == "B" or groups > 1)
        shape = (outputs, inputs, full)
        v = np.concatenate(
            [initial.convolution(p.rng, shape, he, masked=True) for _ in range(blocks)]
        )
        self.v = p.new(f"{name}.v", v)
        self.g = p.new(f"{name}.g", np.sqrt((v.astype("float64") ** 2).sum(axis=(1, 2))))
        self.b = p.new(f"{name}.b", np.zeros(blocks * outputs))
        self._mask = None
        if groups > 1:
            self._mask = np.ones((blocks * outputs, inputs, taps), "float32")
            to = np.tile(np.arange(outputs) % groups, blocks)[:, None]
            by = np.arange(inputs) % groups
            self._mask[:, :, -1] = by < to if mask == "A" else by <= to
        self._normed = WeightNorm(taps)
        self._correlate = Correlate(kernel, kernel, taps)

    def weights(self):
        """The normalised weights of the taps in use, (O, C, taps); what is masked for its colour is
        0.
        """
        w = self._normed(self.v, self.g)
        return w if self._mask is None else w * self._mask

    def without_bias(self, x):
        return self._correlate(x, self.weights())

    def __call__(self, x, acc=None):
        return self._correlate(x, self.weights(), self.b, acc)


class MaskedResidualBlock:
    """ELU, masked convolutions a and b, tanh(a)·σ(b), a masked convolution; plus the shortcut."""

    def __init__(
        self, p: Parameters, name: str, inputs: int, outputs: int, kernel: int, groups: int
    ):
        self.first = MaskedConv(p, f"{name}.conv1", inputs, outputs, kernel, "B", groups, blocks=2)
        self.second = MaskedConv(p, f"{name}.conv2", outputs, outputs, kernel, "B", groups)
        self.shortcut = None
        if inputs != outputs:
            self.shortcut = MaskedConv(
                p, f"{name}.shortcut", inputs, outputs, 1, "B", groups, he=False
            )

    def __call__(self, x):
        h = gate(self.first.without_bias(elu(x)), self.first.b)
        return self.second(h, acc=x if self.shortcut is None else self.shortcut(x))
