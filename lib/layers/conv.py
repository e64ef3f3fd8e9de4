"""Convolutions: weight-normalised, masked, transposed and plain.

Weights are weight-normalised (section E; Salimans & Kingma 2016): parameters ``v`` and ``g``, with g = ‖v‖ at
first, and bias ``b``. Kernels are kept flat, (O, C, kh·kw) in raster order. Maps are (N, C, H, W).
"""

from __future__ import annotations

import numpy as np

from pixelvae.lib.layers import initial
from pixelvae.lib.layers.parameters import Parameters
from pixelvae.lib.ops.conv import Correlate, CorrelateInputs
from pixelvae.lib.ops.weight_norm import WeightNorm


class Conv:
    """Weight-normalised convolution with half padding.

    ``kernel`` is (kh, kw). ``taps`` keeps the first taps of the kernel in raster order and makes it a masked
    convolution (see :mod:`pixelvae.lib.ops.conv`); ``reach`` is the kernel in which a smaller one is placed at the
    start: a 1x1 kernel with reach (3, 1) reads the row above. ``relu``: rectified linear units behind it.
    """

    def __init__(
        self,
        p: Parameters,
        name: str,
        inputs: int,
        outputs: int,
        kernel: tuple[int, int],
        stride: int = 1,
        taps: int | None = None,
        reach: tuple[int, int] | None = None,
        he: bool = True,
        relu: bool = False,
    ):
        full = kernel[0] * kernel[1]
        taps = taps or full
        shape, masked = (outputs, inputs, full), taps < full
        self.v, self.g = p.new_normed(
            name, shape, lambda rng: initial.convolution(rng, shape, he, masked, stride)
        )
        self.b = p.new(f"{name}.b", (outputs,), 0)
        self._normed = WeightNorm(taps)
        self._correlate = Correlate(*(reach or kernel), taps=taps, stride=stride, relu=relu)

    def weights(self):
        """The normalised weights of the taps in use, (O, C, taps)."""
        return self._normed(self.v, self.g)

    def without_bias(self, x, acc=None):
        """The convolution alone; ``acc`` (N, O, H, W) is added."""
        return self._correlate(x, self.weights(), None, acc)

    def __call__(self, x, acc=None):
        return self._correlate(x, self.weights(), self.b, acc)


class TransposedConv:
    """Transposed convolution with stride 2: doubles height and width. No weight norm, as in the released code.

    ``relu``: rectified linear units behind it.
    """

    def __init__(
        self,
        p: Parameters,
        name: str,
        inputs: int,
        outputs: int,
        kernel: int = 3,
        relu: bool = False,
    ):
        taps = kernel * kernel
        shape = (inputs, outputs, taps)
        self.w = p.new(f"{name}.w", shape, lambda rng: initial.transposed_convolution(rng, shape))
        self.b = p.new(f"{name}.b", (outputs,), 0)
        self._transposed = CorrelateInputs(kernel, kernel, taps, stride=2, relu=relu)

    def __call__(self, x):
        return self._transposed(x, self.w, 2 * x.shape[2], 2 * x.shape[3], self.b)


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
        self.w = p.new(
            f"{name}.w", shape, lambda rng: initial.convolution(rng, shape, stride=stride)
        )
        self.b = p.new(f"{name}.b", (outputs,), 0) if bias else None
        self._correlate = Correlate(kernel, kernel, kernel * kernel, stride)

    def __call__(self, x):
        return self._correlate(x, self.w, self.b)


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

        def draw(rng: np.random.RandomState) -> np.ndarray:
            each = [initial.convolution(rng, shape, he, masked=True) for _ in range(blocks)]
            return np.concatenate(each)

        self.v, self.g = p.new_normed(name, (blocks * outputs, inputs, full), draw)
        self.b = p.new(f"{name}.b", (blocks * outputs,), 0)
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
