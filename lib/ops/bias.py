"""Gradients of what a convolution adds: its bias, with or without ReLUs behind it."""

from __future__ import annotations

import numpy as np
import theano.tensor as T

from pixelvae.lib.ops.native import MAPS, NativeOp, example


class ChannelSums(NativeOp):
    """Maps x (N, C, H, W) -> the sum of each channel, (C,).

    Theano's own sum of float32 adds one number after the other; this one is limited by memory
    alone.

    Examples
    --------
    >>> channel_sums(np.ones((2, 3, 4, 4))).eval()
    array([32., 32., 32.])
    """

    header = "channel_sums.h"
    takes = {"x": "N C H W"}
    gives = {"sums": "C"}
    call = "channel_sums(x, sums, N, C, H * W)"

    def reference(self, x):
        return x.sum(axis=(0, 2, 3), dtype="float64")

    def meaning(self, x):
        return x.sum(axis=(0, 2, 3))


class ReluGradient(NativeOp):
    """From y = max(0, a) and its gradient g, both (N, C, H, W), the gradient of a, and of its bias.

    The latter, (C,), is its sum over images and places. It is 0 where a = 0.

    Examples
    --------
    >>> y, g = np.array([0.0, 2.0]).reshape(1, 1, 1, 2), np.full((1, 1, 1, 2), 3.0)
    >>> [v.eval().ravel() for v in relu_gradient(y, g)]
    [array([0., 3.]), array([3.])]
    """

    header = "relu.h"
    takes = {"y": "N C H W", "g": "N C H W"}
    gives = {"ga": "N C H W", "sums": "C"}
    call = "relu_gradient(y, g, ga, sums, N, C, H * W)"

    def reference(self, y, g):
        ga = np.where(y > 0, g, 0)
        return [ga, ga.sum(axis=(0, 2, 3), dtype="float64")]

    def meaning(self, y, g):
        ga = T.switch(y > 0, g, 0)
        return [ga, ga.sum(axis=(0, 2, 3))]


channel_sums, relu_gradient = ChannelSums(), ReluGradient()
example("sums of channels", channel_sums, MAPS)
example("gradient of rectified linear units", relu_gradient, MAPS, MAPS)
