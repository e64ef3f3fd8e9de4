"""Convolutions: weight-normalised, masked, plain and transposed.

Kernels are kept flat, (O, C, kh·kw) in raster order. Maps are (N, C, H, W).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from pixelvae.lib.layers import initial
from pixelvae.lib.layers.parameters import Parameters
from pixelvae.lib.ops.conv import Correlate, CorrelateInputs
from pixelvae.lib.ops.weight_norm import WeightNorm


class Conv:
    """Weight-normalised convolution with half padding, possibly masked (E; Salimans & Kingma 2016).

    Parameters
    ----------
    kernel
        Its size, (kh, kw) if it is not square; odd numbers.
    mask
        What each position sees (table E.1): "A" the positions before its own in raster order, "B"
        its own as well, "rows" the rows up to its own (the vertical stack), None all of the kernel.
    groups
        Colours, to which channels belong by index modulo groups. At a position itself, mask A lets
        group i feed group j only where i < j, mask B where i <= j (van den Oord et al. 2016a).
    blocks
        So many convolutions of ``outputs`` channels share the input; their outputs lie side by
        side, each with groups of its own.
    reach
        The kernel (kh, kw) in which a smaller one is placed at the start: a 1x1 kernel with reach
        (3, 1) reads the row above.
    he
        Whether a ReLU, ELU or gate follows, for the initial values; ``relu`` puts rectified linear
        units behind it.
    weight_norm
        Parameters ``v`` and ``g``, with g = ‖v‖ at first; otherwise ``w``.
    bias
        Whether there is a parameter ``b``.

    Examples
    --------
    >>> p = Parameters(seed=0)
    >>> conv = Conv(p, "conv", inputs=1, outputs=2, kernel=3, mask="B")
    >>> p.shapes()
    {'conv.v': (2, 1, 9), 'conv.g': (2,), 'conv.b': (2,)}
    >>> conv(np.ones((1, 1, 4, 4))).eval().shape
    (1, 2, 4, 4)
    """

    def __init__(
        self,
        p: Parameters,
        name: str,
        inputs: int,
        outputs: int,
        kernel: int | tuple[int, int],
        mask: str | None = None,
        groups: int = 1,
        blocks: int = 1,
        stride: int = 1,
        reach: tuple[int, int] | None = None,
        he: bool = True,
        relu: bool = False,
        weight_norm: bool = True,
        bias: bool = True,
    ):
        kh, kw = (kernel, kernel) if isinstance(kernel, int) else kernel
        shape, taps = (blocks * outputs, inputs, kh * kw), _taps(mask, kh, kw, groups)

        def draw(rng: np.random.RandomState) -> np.ndarray:
            return initial.convolution(rng, shape, he, mask is not None, stride, blocks)

        if weight_norm:
            self.v, self.g = p.new_normed(name, shape, draw)
        else:
            self.w = p.new(f"{name}.w", shape, draw)
        self.b: Any = p.new(f"{name}.b", shape[:1], 0) if bias else None
        self._norm = WeightNorm(taps) if weight_norm else None
        self._colours = None
        if mask and groups > 1:
            self._colours = np.ones((*shape[:2], taps), "float32")
            to = np.tile(np.arange(outputs) % groups, blocks)[:, None]
            by = np.arange(inputs) % groups
            self._colours[:, :, -1] = by < to if mask == "A" else by <= to
        self._correlate = Correlate(*(reach or (kh, kw)), taps, stride, relu)

    def weights(self):
        """The weights of the taps in use, (O, C, taps); what is masked for its colour is 0."""
        w = self._norm(self.v, self.g) if self._norm else self.w
        return w if self._colours is None else w * self._colours

    def without_bias(self, x, acc=None):
        """The convolution alone; ``acc`` (N, O, H, W) is added."""
        return self._correlate(x, self.weights(), None, acc)

    def __call__(self, x, acc=None):
        return self._correlate(x, self.weights(), self.b, acc)


def _taps(mask: str | None, kh: int, kw: int, groups: int) -> int:
    """How many of a kernel's first taps in raster order a mask keeps (see :mod:`..ops.conv`)."""
    before = kh * kw // 2  # the position itself, which mask A keeps for the colours before its own
    kept = {None: kh * kw, "A": before + (groups > 1), "B": before + 1, "rows": (kh // 2 + 1) * kw}
    return kept[mask]


class TransposedConv:
    """Transposed convolution with stride 2: doubles height and width.

    No weight norm, as in the released code.

    ``relu``: rectified linear units behind it.

    Examples
    --------
    >>> up = TransposedConv(Parameters(seed=0), "up", inputs=3, outputs=2)
    >>> up(np.ones((1, 3, 2, 2))).eval().shape
    (1, 2, 4, 4)
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
