"""Convolutions (cross-correlations) of image batches, written tap by tap.

A kernel of ``(kh, kw)`` taps is held by its first ``taps`` taps in raster order, as an array of
shape ``(O, C, taps)``. All masks of the paper are such prefixes::

    vstack 3x3      A, 3x3          B, 3x3          horizontal 1x3, A   row above, 3x1
    x x x           x x x           x x x           x . .               x
    x x x           x . .           x x .           horizontal 1x3, B   .
    . . .           . . .           . . .           x x .               .

so a masked convolution computes and stores its non-zero taps alone. "Half" padding: the output is
as large as the input, or half as large (rounded up) at stride 2. The C++ is in ``c/correlate.h``.

With ``relu``, a convolution writes rectified linear units, max(0, y): a pass over the maps less.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import theano.tensor as T
from theano import gof
from theano.tensor.nnet import abstract_conv
from theano.tensor.opt import register_specialize

from pixelvae.lib.ops.bias import channel_sums, relu_gradient
from pixelvae.lib.ops.native import MAPS, NativeOp, example, native

_einsum = partial(np.einsum, optimize=True)  # by matrix products


class _Correlation(NativeOp):
    """What the three operations share; not an operation itself."""

    __props__ = ("kh", "kw", "taps", "stride", "relu")
    header = "correlate.h"

    def __init__(self, kh: int, kw: int, taps: int, stride: int = 1, relu: bool = False):
        if kh % 2 == 0 or kw % 2 == 0:
            raise ValueError(f"kernels have odd sizes, not {kh}x{kw}")
        if not 0 < taps <= kh * kw:
            raise ValueError(f"a {kh}x{kw} kernel has 1 to {kh * kw} taps, not {taps}")
        self.kh, self.kw, self.taps, self.stride, self.relu = kh, kw, taps, stride, relu

    @property
    def geometry(self) -> tuple[int, int, int, int]:
        """What makes an operation of the same geometry."""
        return self.kh, self.kw, self.taps, self.stride

    @staticmethod
    def output_size(size, kernel: int, stride: int):
        """Height or width after a strided convolution with half padding."""
        return (size + 2 * (kernel // 2) - kernel) // stride + 1

    def _offsets(self):
        for t in range(self.taps):
            yield t, t // self.kw, t % self.kw  # measured from the padded image's corner

    def _pad(self, x: np.ndarray) -> np.ndarray:
        ph, pw = self.kh // 2, self.kw // 2
        return np.pad(x, ((0, 0), (0, 0), (ph, ph), (pw, pw)), "constant")

    def _window(self, padded: np.ndarray, dy: int, dx: int, h: int, w: int) -> np.ndarray:
        s = self.stride
        return padded[:, :, dy : dy + s * (h - 1) + 1 : s, dx : dx + s * (w - 1) + 1 : s]

    def kernels(self, w):
        """The taps (O, C, taps) as whole kernels (O, C, kh, kw), zero where they are masked."""
        outputs, inputs, taps = w.shape[0], w.shape[1], self.kh * self.kw
        if self.taps < taps:
            w = T.concatenate([w, T.zeros((outputs, inputs, taps - self.taps), w.dtype)], axis=2)
        return w.reshape((outputs, inputs, self.kh, self.kw))

    def _theano(self, kind):
        """Theano's convolution, or an adjoint of it, of this geometry."""
        return kind(
            kshp=(None, None, self.kh, self.kw),
            border_mode="half",
            subsample=(self.stride, self.stride),
            filter_flip=False,
        )

    def _plus(self, y: np.ndarray, bias, acc) -> np.ndarray:
        if bias is not None:
            y = y + bias[:, None, None]
        if acc is not None:
            y = y + acc
        return np.maximum(y, 0) if self.relu else y

    def plus(self, y, bias, acc):
        """y (N, O, H, W) + bias (O,) + acc (N, O, H, W), which may be None; then the units."""
        if bias is not None:
            y += bias.dimshuffle("x", 0, "x", "x")
        if acc is not None:
            y += acc
        return T.maximum(y, 0) if self.relu else y

    def _gradients(self, inputs, g):
        """The gradient of the sum before the units, and those of bias and acc."""
        bias, acc = self.given(inputs)[-2:]
        sums = None
        if self.relu:
            g, sums = relu_gradient(self(*inputs), g)
        elif bias is not None:
            sums = channel_sums(g)
        none = T.DisconnectedType()
        return g, [none() if bias is None else sums, none() if acc is None else g]


class Correlate(_Correlation):
    """``y = acc + bias + sum over taps of w x``; see the module's docstring.

    Inputs: x (N, C, H, W), w (O, C, taps), bias (O,) or None, acc (N, O, Ho, Wo) or None.
    Output: y (N, O, Ho, Wo).

    Examples
    --------
    >>> x, w = np.ones((1, 1, 2, 3)), np.ones((1, 1, 5))
    >>> Correlate(3, 3, taps=5)(x, w).eval()  # mask B: the pixels before, and the pixel itself
    array([[[[1., 2., 2.],
             [3., 5., 4.]]]])
    """

    takes = {"x": "N C H W", "w": "O C taps", "bias": "O?", "acc": "N O Ho Wo?"}
    gives = {"y": "N O Ho Wo"}
    sizes = {"Ho": ("output_size", "H", "kh", "stride"), "Wo": ("output_size", "W", "kw", "stride")}
    call = "correlate(x, w, bias, acc, y, N, C, H, W, O, kh, kw, taps, stride, relu)"
    cudnn = "correlate"

    def reference(self, x, w, bias, acc):
        h, width = (
            self.output_size(n, k, self.stride) for n, k in zip(x.shape[2:], (self.kh, self.kw))
        )
        y = np.zeros((x.shape[0], w.shape[0], h, width), x.dtype)
        padded = self._pad(x)
        for t, dy, dx in self._offsets():
            y += _einsum("ncij,oc->noij", self._window(padded, dy, dx, h, width), w[:, :, t])
        return self._plus(y, bias, acc)

    def meaning(self, x, w, bias, acc):
        y = self._theano(abstract_conv.AbstractConv2d)(x, self.kernels(w))
        return self.plus(y, bias, acc)

    def grad(self, inputs, output_gradients):
        x, w, *_ = inputs
        gy, of_terms = self._gradients(inputs, output_gradients[0])
        gx = CorrelateInputs(*self.geometry)(gy, w, x.shape[2], x.shape[3])
        gw = CorrelateWeights(*self.geometry)(x, gy)
        return [gx, gw, *of_terms]


class CorrelateInputs(_Correlation):
    """The adjoint of :class:`Correlate` in x; forward, it is the transposed convolution.

    Inputs: gy (N, O, Ho, Wo), w (O, C, taps), the height and width of the result, bias (C,) or
    None, acc (N, C, H, W) or None. Output: (N, C, H, W).

    Examples
    --------
    >>> gy, w = np.ones((1, 1, 1, 2)), np.ones((1, 1, 9))
    >>> CorrelateInputs(3, 3, taps=9, stride=2)(gy, w, 2, 4).eval()
    array([[[[1., 2., 1., 1.],
             [1., 2., 1., 1.]]]])
    """

    takes = {
        "gy": "N O Ho Wo",
        "w": "O C taps",
        "H": int,
        "W": int,
        "bias": "C?",
        "acc": "N C H W?",
    }
    gives = {"gx": "N C H W"}
    sizes = Correlate.sizes
    call = (
        "correlate_inputs(gy, w, bias, acc, gx, N, C, H, W, O, Ho, Wo, kh, kw, taps, stride, relu)"
    )
    cudnn = "correlate_inputs"

    def reference(self, gy, w, height, width, bias, acc):
        padded = self._pad(np.zeros((gy.shape[0], w.shape[1], height, width), gy.dtype))
        for t, dy, dx in self._offsets():
            window = self._window(padded, dy, dx, *gy.shape[2:])
            window += _einsum("noij,oc->ncij", gy, w[:, :, t])
        ph, pw = self.kh // 2, self.kw // 2
        return self._plus(padded[:, :, ph : ph + height, pw : pw + width], bias, acc)

    def meaning(self, gy, w, height, width, bias, acc):
        adjoint = self._theano(abstract_conv.AbstractConv2d_gradInputs)
        return self.plus(adjoint(self.kernels(w), gy, [height, width]), bias, acc)

    def grad(self, inputs, output_gradients):
        gy, w, *_ = inputs
        gx, of_terms = self._gradients(inputs, output_gradients[0])
        ggy, gw = Correlate(*self.geometry)(gx, w), CorrelateWeights(*self.geometry)(gx, gy)
        none = T.DisconnectedType()
        return [ggy, gw, none(), none(), *of_terms]


class CorrelateWeights(_Correlation):
    """The adjoint of :class:`Correlate` in w.

    Inputs: x (N, C, H, W), gy (N, O, Ho, Wo); output: (O, C, taps).

    Examples
    --------
    >>> CorrelateWeights(1, 1, taps=1)(np.ones((1, 2, 3, 3)), np.ones((1, 1, 3, 3))).eval()
    array([[[9.],
            [9.]]])
    """

    takes = {"x": "N C H W", "gy": "N O Ho Wo"}
    gives = {"gw": "O C taps"}
    sizes = Correlate.sizes
    call = "correlate_weights(x, gy, gw, N, C, H, W, O, Ho, Wo, kh, kw, taps, stride)"
    cudnn = "correlate_weights"

    def reference(self, x, gy):
        padded = self._pad(x)
        gw = np.empty((gy.shape[1], x.shape[1], self.taps), x.dtype)
        for t, dy, dx in self._offsets():
            window = self._window(padded, dy, dx, *gy.shape[2:])
            gw[:, :, t] = _einsum("ncij,noij->oc", window, gy)
        return gw

    def meaning(self, x, gy):
        adjoint = self._theano(abstract_conv.AbstractConv2d_gradWeights)
        return adjoint(x, gy, [self.kh, self.kw]).flatten(3)[:, :, : self.taps]

    def grad(self, inputs, output_gradients):
        x, gy = inputs
        (gw,) = output_gradients
        gx = CorrelateInputs(*self.geometry)(gy, gw, x.shape[2], x.shape[3])
        return [gx, Correlate(*self.geometry)(x, gw)]


@register_specialize
@gof.local_optimizer([T.add])
def add_into_convolution(node):
    """``add(convolution(..., acc=None), rest...)`` -> ``convolution(..., acc=rest)``.

    The gradient of a map that flows into several layers is a sum of convolutions, and residual sums
    look alike. Computed separately, such a sum reads and writes whole maps once more.
    """
    if node.op != T.add or not native():
        return False
    for term in node.inputs:
        convolution = term.owner
        if convolution is None or not isinstance(convolution.op, (Correlate, CorrelateInputs)):
            continue
        *inputs, acc = convolution.op.given(convolution.inputs)
        if (
            convolution.op.relu
            or acc is not None
            or len(term.clients) > 1
            or term.type != node.outputs[0].type
        ):
            continue
        rest = [v for v in node.inputs if v is not term]
        # acc is as large as the result, which a bias that spreads over the maps is not. A map added
        # to itself stays.
        if len(rest) < len(node.inputs) - 1 or any(v.type != term.type for v in rest):
            continue
        fused = convolution.op(*inputs, rest[0] if len(rest) == 1 else T.add(*rest))
        gof.opt.copy_stack_trace([term, node.outputs[0]], fused)
        return [fused]
    return False


example("masked convolution", Correlate(5, 5, 15), MAPS, (6, 3, 15), (6,), (4, 6, 9, 8))
example("strided convolution", Correlate(3, 3, 9, stride=2), MAPS, (6, 3, 9), (6,))
example("convolution of the row above", Correlate(3, 1, 1), MAPS, (6, 3, 1))
example(
    "transposed convolution",
    lambda gy, w, bias: CorrelateInputs(3, 3, 9, stride=2)(gy, w, 10, 8, bias),
    (4, 5, 5, 4),
    (5, 3, 9),
    (3,),
)
example(
    "convolution, rectified", Correlate(3, 3, 9, relu=True), MAPS, (6, 3, 9), (6,), (4, 6, 9, 8)
)
example(
    "transposed convolution, rectified",
    lambda gy, w, bias: CorrelateInputs(3, 3, 9, stride=2, relu=True)(gy, w, 10, 8, bias),
    (4, 5, 5, 4),
    (5, 3, 9),
    (3,),
)
