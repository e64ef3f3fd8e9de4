"""The gradient of the rectified linear units behind a convolution (``relu`` in :mod:`pixelvae.lib.ops.conv`)."""

from __future__ import annotations

import numpy as np
import theano.tensor as T

from pixelvae.lib.ops.examples import MAPS, example
from pixelvae.lib.ops.native import NativeOp


class ReluGradient(NativeOp):
    """From the units' value y = max(0, a) and the gradient g of it, both (N, C, H, W), the gradient of a and its sum
    over images and places, (C,), which is the gradient of a's bias. It is 0 where a = 0.
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


relu_gradient = ReluGradient()
example("gradient of rectified linear units", relu_gradient, MAPS, MAPS)
