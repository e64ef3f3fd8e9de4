"""Weight normalisation (Salimans & Kingma 2016), followed by the mask of a masked kernel."""

from __future__ import annotations

import numpy as np
import theano.tensor as T

from pixelvae.lib.ops.native import NativeOp, example


class WeightNorm(NativeOp):
    """``w = g v / ||v||``, normed over all but the output channel; then each kernel's first taps.

    Inputs: v (O, C, full), g (O,). Output: w (O, C, taps). The norm covers the masked taps as well:
    the mask multiplies after the normalisation, as in the released code.

    Examples
    --------
    >>> WeightNorm(taps=1)(np.array([[[3.0, 4.0]]]), np.array([10.0])).eval()
    array([[[6.]]])
    """

    __props__ = ("taps",)
    header = "weight_norm.h"
    takes = {"v": "O C full", "g": "O"}
    gives = {"w": "O C taps"}
    call = "weight_norm(v, g, w, O, C, full, taps)"

    def __init__(self, taps: int):
        self.taps = taps

    def reference(self, v, g):
        self.require(self.taps <= v.shape[2], TOO_FEW)
        norm = np.sqrt((v**2).sum(axis=(1, 2)))
        return v[:, :, : self.taps] * (g / norm)[:, None, None]

    def meaning(self, v, g):
        return v[:, :, : self.taps] * _rows(g / v.norm(2, axis=(1, 2)))

    def grad(self, inputs, output_gradients):
        return WeightNormGradient(self.taps)(*(inputs + output_gradients))


class WeightNormGradient(NativeOp):
    """Gradients of :class:`WeightNorm`: (v, g, gw (O, C, taps)) -> (O, C, full) and (O,)."""

    __props__ = ("taps",)
    header = "weight_norm.h"
    takes = {"v": "O C full", "g": "O", "gw": "O C taps"}
    gives = {"gv": "O C full", "gg": "O"}
    call = "weight_norm_gradient(v, g, gw, gv, gg, O, C, full, taps)"

    def __init__(self, taps: int):
        self.taps = taps

    def reference(self, v, g, gw):
        self.require(self.taps <= v.shape[2], TOO_FEW)
        full = np.zeros_like(v)
        full[:, :, : self.taps] = gw
        norm = np.sqrt((v**2).sum(axis=(1, 2)))
        inner = (v * full).sum(axis=(1, 2))
        gv = (g / norm)[:, None, None] * (full - v * (inner / norm**2)[:, None, None])
        return gv, inner / norm

    def meaning(self, v, g, gw):
        norm = v.norm(2, axis=(1, 2))
        inner = (v[:, :, : self.taps] * gw).sum(axis=(1, 2))
        along = -v * _rows(inner / T.sqr(norm))
        gv = T.inc_subtensor(along[:, :, : self.taps], gw) * _rows(g / norm)
        return [gv, inner / norm]


TOO_FEW = "the kernels have fewer taps"


def _rows(v):
    return v.dimshuffle(0, "x", "x")


example("weight norm", WeightNorm(15), (5, 3, 25), (5,))
