"""Batch normalisation (Ioffe & Szegedy 2015) with ε = 0.01, during training and after it."""

from __future__ import annotations

import numpy as np
import theano.tensor as T

from pixelvae.lib.ops.native import MAPS, NativeOp, example

EPSILON = 1e-2  # as in the released code


class BatchNorm(NativeOp):
    """(x - mean) / standard deviation · scale + offset, channel by channel over the batch.

    Inputs: x (N, C, H, W), scale (C,), offset (C,). Outputs: y (N, C, H, W); the batch's mean and
    variance over N, H and W, (C,) each, through which no gradient flows.

    Examples
    --------
    >>> x = np.array([0.0, 2.0]).reshape(2, 1, 1, 1)
    >>> y, mean, variance = BatchNorm()(x, np.ones(1), np.zeros(1))
    >>> y.eval().ravel().round(3), mean.eval(), variance.eval()
    (array([-0.995,  0.995]), array([1.]), array([1.]))
    """

    header = "batch_norm.h"
    takes = {"x": "N C H W", "scale": "C", "offset": "C"}
    gives = {"y": "N C H W", "mean": "C", "variance": "C"}
    call = f"batch_norm(x, scale, offset, y, mean, variance, {EPSILON}, N, C, H * W)"
    cudnn = "batch_norm"

    def reference(self, x, scale, offset):
        mean, variance = x.mean(axis=(0, 2, 3)), x.var(axis=(0, 2, 3))
        factor = scale / np.sqrt(variance + x.dtype.type(EPSILON))
        y = (x - _axes(mean)) * _axes(factor) + _axes(offset)
        return y, mean, variance

    def meaning(self, x, scale, offset):
        mean, variance = x.mean(axis=(0, 2, 3)), x.var(axis=(0, 2, 3))
        factor = scale * _inverse_deviation(variance)
        return [(x - _channels(mean)) * _channels(factor) + _channels(offset), mean, variance]

    def grad(self, inputs, output_gradients):
        x, scale, offset = inputs
        _, mean, variance = self(*inputs)
        return BatchNormGradient()(x, scale, mean, variance, output_gradients[0])


class BatchNormGradient(NativeOp):
    """Gradients of :class:`BatchNorm`: (x, scale, mean, variance, gy) -> of x, scale and offset."""

    header = "batch_norm.h"
    takes = {"x": "N C H W", "scale": "C", "mean": "C", "variance": "C", "gy": "N C H W"}
    gives = {"gx": "N C H W", "gscale": "C", "goffset": "C"}
    call = (
        "batch_norm_gradient(x, scale, mean, variance, gy, gx, gscale, goffset,"
        f" {EPSILON}, N, C, H * W)"
    )
    cudnn = "batch_norm_gradient"

    def reference(self, x, scale, mean, variance, gy):
        inverse = 1 / np.sqrt(variance + x.dtype.type(EPSILON))
        normed = (x - _axes(mean)) * _axes(inverse)
        goffset, gscale = gy.sum(axis=(0, 2, 3)), (gy * normed).sum(axis=(0, 2, 3))
        count = x.dtype.type(x.size // x.shape[1])
        centred = gy - _axes(goffset / count) - normed * _axes(gscale / count)
        return _axes(scale * inverse) * centred, gscale, goffset

    def meaning(self, x, scale, mean, variance, gy):
        inverse = _inverse_deviation(variance)
        normed = (x - _channels(mean)) * _channels(inverse)
        goffset, gscale = gy.sum(axis=(0, 2, 3)), (gy * normed).sum(axis=(0, 2, 3))
        count = T.cast(x.shape[0] * x.shape[2] * x.shape[3], x.dtype)
        centred = gy - _channels(goffset / count) - normed * _channels(gscale / count)
        return [_channels(scale * inverse) * centred, gscale, goffset]


def _axes(v):
    return v[None, :, None, None]


def _channels(v):
    return v.dimshuffle("x", 0, "x", "x")


def _inverse_deviation(variance):
    return 1 / T.sqrt(variance + T.constant(EPSILON, dtype=variance.dtype))


def batch_norm_inference(x, scale, offset, mean, variance, own: float = 0.0):
    """Normalisation by known statistics: each item by itself, whatever else is in its batch.

    Parameters
    ----------
    x
        (N, C, H, W).
    scale, offset, mean, variance
        (C,) each.
    own
        The share of an item's own mean and variance over H and W in its statistics. 0 gives plain
        moving averages; the released code takes 1/N, as if the N − 1 others of a batch had the
        moving statistics.

    Examples
    --------
    >>> one, zero = T.ones(1), T.zeros(1)
    >>> y = batch_norm_inference(T.ones((1, 1, 2, 2)), one, zero, mean=one, variance=one)
    >>> y.eval().ravel()
    array([0., 0., 0., 0.], dtype=float32)
    """
    mean, variance = _channels(mean), _channels(variance)
    if own:
        of_item = x.mean(axis=(2, 3), keepdims=True)
        around = T.sqr(x - of_item).mean(axis=(2, 3), keepdims=True)
        mean = own * of_item + (1 - own) * mean
        variance = own * around + (1 - own) * variance
    factor = _channels(scale) / T.sqrt(variance + EPSILON)
    return (x - mean) * factor + _channels(offset)


example("batch norm", BatchNorm(), MAPS, (3,), (3,))
