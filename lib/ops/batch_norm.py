"""Batch normalisation (Ioffe & Szegedy 2015) with ε = 0.01, while training and when it is over."""

from __future__ import annotations

import numpy as np
import theano.tensor as T

from lib.ops._fused import FusedOp

EPSILON = 1e-2  # the released code's


class BatchNorm(FusedOp):
    """Each channel less its mean over the batch, over its standard deviation, times ``scale`` plus
    ``offset``.

    Inputs: x (N, C, H, W), scale (C,), offset (C,). Outputs: y (N, C, H, W); the batch's mean and
    variance over N, H and W, (C,) each, through which no gradient flows.
    """

    header = "batch_norm.h"
    ranks = (4, 1, 1)
    sizes = "const long N = d0[0], C = d0[1], size = d0[2] * d0[3];"
    fits = "(d1[0] == C && d2[0] == C)"
    results = ("N, C, d0[2], d0[3]", "C", "C")
    call = f"batch_norm(a0, a1, a2, r0, r1, r2, {EPSILON}, N, C, size)"

    def infer_shape(self, node, shapes):
        return [shapes[0], shapes[1], shapes[1]]

    def perform(self, node, inputs, outputs, params=None):
        x, scale, offset = inputs
        self.require(scale.shape == x.shape[1:2] == offset.shape)
        mean, variance = x.mean(axis=(0, 2, 3)), x.var(axis=(0, 2, 3))
        factor = scale / np.sqrt(variance + x.dtype.type(EPSILON))
        outputs[0][0] = (x - _channels(mean)) * _channels(factor) + _channels(offset)
        outputs[1][0], outputs[2][0] = mean, variance

    def grad(self, inputs, output_gradients):
        x, scale, offset = inputs
        _, mean, variance = self(*inputs)
        return BatchNormGradient()(x, scale, mean, variance, output_gradients[0])


class BatchNormGradient(FusedOp):
    """Gradients of :class:`BatchNorm`: (x, scale, mean, variance, gy) -> those of x, scale and
    offset.
    """

    header = "batch_norm.h"
    ranks = (4, 1, 1, 1, 4)
    sizes = BatchNorm.sizes
    fits = "(d1[0] == C && d2[0] == C && d3[0] == C && PyArray_CompareLists(d0, d4, 4))"
    results = BatchNorm.results
    call = f"batch_norm_gradient(a0, a1, a2, a3, a4, r0, r1, r2, {EPSILON}, N, C, size)"

    def infer_shape(self, node, shapes):
        return [shapes[0], shapes[1], shapes[1]]

    def perform(self, node, inputs, outputs, params=None):
        x, scale, mean, variance, g = inputs
        self.require(scale.shape == mean.shape == variance.shape == x.shape[1:2])
        self.require(x.shape == g.shape)
        inverse = 1 / np.sqrt(variance + x.dtype.type(EPSILON))
        normed = (x - _channels(mean)) * _channels(inverse)
        goffset, gscale = g.sum(axis=(0, 2, 3)), (g * normed).sum(axis=(0, 2, 3))
        count = x.dtype.type(x.size // x.shape[1])
        centred = g - _channels(goffset / count) - normed * _channels(gscale / count)
        outputs[0][0] = _channels(scale * inverse) * centred
        outputs[1][0], outputs[2][0] = gscale, goffset


def _channels(v):
    return v[None, :, None, None]


def batch_norm_inference(x, scale, offset, mean, variance, own: float = 0.0):
    """Normalisation by statistics that are known: each item by itself, whatever else is in its
    batch.

    ``own`` is the share that an item's own mean and variance over H and W have in its statistics: 0
    for plain moving averages; the released code takes 1/N, as if the N − 1 others of a batch had
    the moving statistics.
    """
    mean, variance = (v.dimshuffle("x", 0, "x", "x") for v in (mean, variance))
    if own:
        of_item = x.mean(axis=(2, 3), keepdims=True)
        around = T.sqr(x - of_item).mean(axis=(2, 3), keepdims=True)
        mean = own * of_item + (1 - own) * mean
        variance = own * around + (1 - own) * variance
    factor = scale.dimshuffle("x", 0, "x", "x") / T.sqrt(variance + EPSILON)
    return (x - mean) * factor + offset.dimshuffle("x", 0, "x", "x")
