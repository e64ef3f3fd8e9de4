"""The gated activation of the PixelCNN (van den Oord et al. 2016b), plain and conditional."""

from __future__ import annotations

import numpy as np
import theano.tensor as T

from pixelvae.lib.ops.native import NativeOp, as_float, example


class Gate(NativeOp):
    """``tanh(y[:, :D] + c[:, :D]) * sigmoid(y[:, D:] + c[:, D:])`` with c constant over an image.

    Inputs: y (N, 2D, H, W); c (N, 2D), or (1, 2D) for all images alike. Output: (N, D, H, W). If
    y is of a type with one image, (1, 2D, H, W), it serves all rows of c: one image,
    many latents. The first half of the channels goes through tanh, the second through the sigmoid
    (the released code interleaves them; the choice is free as long as it is fixed).

    Examples
    --------
    >>> y, latents = np.zeros((1, 2, 1, 1)), np.array([[0.0, 0.0], [1.0, 0.0]])
    >>> Gate()(T.constant(y), latents).eval().ravel().round(3)
    array([0.   , 0.381])
    """

    header = "gate.h"
    takes = {"y": "1|N 2*D H W", "c": "1|N 2*D"}
    gives = {"out": "N D H W"}
    call = "gate(y, c, out, N, D, H * W, c_is_one, y_is_one)"

    def reference(self, y, c):
        t, s = _halves(y, c)
        return t * s

    def meaning(self, y, c):
        t, s = _symbolic_halves(y, c)
        return t * s

    def at_positions(self, y, c):
        # tanh(a) = 2 / (1 + exp(-2a)) - 1, because NumPy's exp is several times faster than its
        # tanh.
        e = y + c
        a, b = _split(e)
        a *= -2
        np.negative(b, out=b)
        with np.errstate(over="ignore"):  # 1 / infinity is 0, as it should be
            np.exp(e, out=e)
        e += 1
        np.divide(2, a, out=a)
        a -= 1
        return a / b

    def connect(self, y, c):
        return np.logical_or(*_split(y))

    def grad(self, inputs, output_gradients):
        y, c = inputs
        if y.broadcastable[0] and not c.broadcastable[0]:
            raise NotImplementedError("one image with many latents is for evaluation alone")
        gy, gc = GateGradient()(y, c, output_gradients[0])
        # A bias shared by all images collects the gradients of all.
        gc = gc.sum(axis=0, keepdims=True) if c.broadcastable[0] else gc
        return [gy, gc]


class GateGradient(NativeOp):
    """Gradients of :class:`Gate`: (y, c, g (N, D, H, W)) -> (N, 2D, H, W), and (N, 2D) by image."""

    header = "gate.h"
    takes = {"y": "N 2*D H W", "c": "1|N 2*D", "g": "N D H W"}
    gives = {"gy": "N 2*D H W", "gc": "N 2*D"}
    call = "gate_gradient(y, c, g, gy, gc, N, D, H * W, c_is_one)"

    def reference(self, y, c, g):
        t, s = _halves(y, c)
        gy = np.concatenate([g * s * (1 - t * t), g * t * s * (1 - s)], axis=1)
        return gy, gy.sum(axis=(2, 3))

    def meaning(self, y, c, g):
        t, s = _symbolic_halves(y, c)
        gy = T.concatenate([g * s * (1 - T.sqr(t)), g * t * s * (1 - s)], axis=1)
        return [gy, gy.sum(axis=(2, 3))]


def _halves(y, c):
    """tanh and sigmoid of the two halves, the latter without overflow."""
    y, d = y + c[:, :, None, None], y.shape[1] // 2
    return np.tanh(y[:, :d]), 0.5 * (1 + np.tanh(0.5 * y[:, d:]))


def _symbolic_halves(y, c):
    y, d = y + c.dimshuffle(0, 1, "x", "x"), y.shape[1] // 2
    return T.tanh(y[:, :d]), T.nnet.sigmoid(y[:, d:])


def _split(y):
    """The halves of the last axis."""
    d = y.shape[-1] // 2
    return y[..., :d], y[..., d:]


def gate(y, c):
    """The gate of ``y`` (N, 2D, H, W) with bias ``c``: (2D,) plain, (N, 2D) conditional.

    Examples
    --------
    >>> gate(np.ones((1, 2, 1, 1)), np.zeros(2)).eval().round(3)  # tanh(1) · sigmoid(1)
    array([[[[0.557]]]])
    """
    c = as_float(c)
    return Gate()(y, c.dimshuffle("x", 0) if c.ndim == 1 else c)


example("conditional gate", gate, (4, 6, 9, 8), (4, 6))
