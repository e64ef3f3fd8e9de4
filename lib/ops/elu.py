"""The exponential linear unit (Clevert et al. 2016), the nonlinearity of all residual blocks
(section E.2).
"""

from __future__ import annotations

import numpy as np

from lib.ops._fused import FusedOp


class Elu(FusedOp):
    """Maps x (N, C, H, W) -> x where x > 0, exp(x) − 1 elsewhere."""

    header = "elu.h"
    ranks = (4,)
    sizes = "const long size = d0[0] * d0[1] * d0[2] * d0[3];"
    fits = "true"
    results = ("d0[0], d0[1], d0[2], d0[3]",)
    call = "elu(a0, r0, size)"

    def infer_shape(self, node, shapes):
        return [shapes[0]]

    def perform(self, node, inputs, outputs, params=None):
        (x,) = inputs
        outputs[0][0] = np.where(x > 0, x, np.expm1(np.minimum(x, 0)))

    def grad(self, inputs, output_gradients):
        return [EluGradient()(self(*inputs), output_gradients[0])]


class EluGradient(FusedOp):
    """From the unit's value y and the gradient g of it, both (N, C, H, W), the gradient of x."""

    header = "elu.h"
    ranks = (4, 4)
    sizes = Elu.sizes
    fits = "PyArray_CompareLists(d0, d1, 4)"
    results = Elu.results
    call = "elu_gradient(a0, a1, r0, size)"

    def infer_shape(self, node, shapes):
        return [shapes[0]]

    def perform(self, node, inputs, outputs, params=None):
        y, g = inputs
        self.require(y.shape == g.shape)
        outputs[0][0] = np.where(y > 0, g, g * (y + 1))


elu = Elu()
