"""Layers: they declare their parameters when made, and are called on Theano expressions.

Weights are weight-normalised (section E; Salimans & Kingma 2016): parameters ``v`` and ``g``, with g = ‖v‖ at
first, and bias ``b``. Kernels are kept flat, (O, C, kh·kw) in raster order. Maps are (N, C, H, W).
"""

from __future__ import annotations

import numpy as np
import theano.tensor as T

from lib import initial
from lib.ops.conv import Correlate, CorrelateInputs
from lib.ops.gate import gate
from lib.ops.weight_norm import WeightNorm
from lib.parameters import Parameters, check_size


def _declare_normed(p: Parameters, name: str, v: np.ndarray):
    """Declares v and g, with g at the norm of each output's v."""
    norm = np.sqrt((v.reshape(len(v), -1).astype("float64") ** 2).sum(axis=1))
    return p.new(f"{name}.v", v), p.new(f"{name}.g", norm)


class Conv:
    """Weight-normalised convolution with half padding.

    ``kernel`` is (kh, kw). ``taps`` keeps the first taps of the kernel in raster order and makes it a masked
    convolution (see :mod:`lib.ops.conv`); ``reach`` is the kernel in which a smaller one is placed at the start:
    a 1x1 kernel with reach (3, 1) reads the row above.
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
    ):
        full = kernel[0] * kernel[1]
        taps = taps or full
        v = initial.convolution(p.rng, (outputs, inputs, full), he, taps < full, stride)
        self.v, self.g = _declare_normed(p, name, v)
        self.b = p.new(f"{name}.b", np.zeros(outputs))
        self._normed = WeightNorm(taps)
        self._correlate = Correlate(*(reach or kernel), taps=taps, stride=stride)

    def weights(self):
        """The normalised weights of the taps in use, (O, C, taps)."""
        return self._normed(self.v, self.g)

    def without_bias(self, x, acc=None):
        """The convolution alone; ``acc`` (N, O, H, W) is added."""
        return self._correlate(x, self.weights(), None, acc)

    def __call__(self, x, acc=None):
        return self._correlate(x, self.weights(), self.b, acc)


class TransposedConv:
    """Transposed convolution with stride 2: doubles height and width. No weight norm, as in the released code."""

    def __init__(self, p: Parameters, name: str, inputs: int, outputs: int, kernel: int = 3):
        taps = kernel * kernel
        self.w = p.new(f"{name}.w", initial.transposed_convolution(p.rng, (inputs, outputs, taps)))
        self.b = p.new(f"{name}.b", np.zeros(outputs))
        self._transposed = CorrelateInputs(kernel, kernel, taps, stride=2)

    def __call__(self, x):
        return self._transposed(x, self.w, 2 * x.shape[2], 2 * x.shape[3], self.b)


class Linear:
    """Weight-normalised linear layer, (N, inputs) -> (N, outputs).

    With ``blocks`` it stands for that many separate layers of ``outputs // blocks`` outputs side by side: weight
    normalisation works output by output, so only the initial values know the difference.
    """

    def __init__(
        self,
        p: Parameters,
        name: str,
        inputs: int,
        outputs: int,
        blocks: int = 1,
        glorot: bool = False,
    ):
        check_size((outputs, inputs))
        v = [initial.linear(p.rng, outputs // blocks, inputs, glorot) for _ in range(blocks)]
        self.v, self.g = _declare_normed(p, name, np.concatenate(v))
        self.b = p.new(f"{name}.b", np.zeros(outputs))

    def __call__(self, x):
        w = WeightNorm(1)(self.v.dimshuffle(0, 1, "x"), self.g)
        return T.dot(x, w[:, :, 0].T) + self.b


class GatedLayer:
    """One layer of the gated two-stack PixelCNN (van den Oord et al. 2016b; table E.1).

    The vertical stack sees the rows up to its own; the horizontal stack sees the pixels to the left (and its own,
    except in the first layer) and, through the 1x1 convolution, the vertical stack of the row above::

        vertical 3x3   horizontal, first   horizontal, later
          x x x          . . .               . . .
          x x x          x . .               x x .
          . . .
    """

    def __init__(self, p: Parameters, name: str, inputs: int, width: int, kernel: int, first: bool):
        k, centre = kernel, kernel // 2
        self.first = first
        self.vertical = Conv(
            p, f"{name}.vertical", inputs, 2 * width, (k, k), taps=(centre + 1) * k
        )
        self.above = Conv(p, f"{name}.above", 2 * width, 2 * width, (1, 1), reach=(3, 1), taps=1)
        self.horizontal = Conv(
            p, f"{name}.horizontal", inputs, 2 * width, (1, k), taps=centre + (not first)
        )
        self.out = Conv(p, f"{name}.out", width, width, (1, 1))

    def __call__(self, vertical, horizontal, conditions=(0, 0)):
        """The two stacks, (N, C, H, W) each, one layer on.

        ``conditions``: what the latent adds inside the vertical and the horizontal gate, (N, 2D) each.
        """
        rows = self.vertical.without_bias(vertical)
        # The stack's own zero row on top has the bias as its value after the convolution. Adding the bias late,
        # here and below, makes that row zero, which is what the convolution that looks one row up reads there.
        on_vertical = gate(rows, self.vertical.b + conditions[0])
        constant = T.dot(self.above.weights()[:, :, 0], self.vertical.b)
        bias = self.horizontal.b + self.above.b + constant
        y = self.horizontal.without_bias(horizontal, acc=self.above.without_bias(rows))
        residual = None if self.first else horizontal
        return on_vertical, self.out(gate(y, bias + conditions[1]), acc=residual)
