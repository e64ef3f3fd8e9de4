"""The exponential linear unit (Clevert et al. 2016) of the residual blocks (section E.2)."""

from __future__ import annotations

import numpy as np
import theano.tensor as T

from pixelvae.lib.ops.native import MAPS, NativeOp, example


class Elu(NativeOp):
    """Maps x (N, C, H, W) -> x where x > 0, exp(x) − 1 elsewhere.

    Examples
    --------
    >>> elu(np.array([-1.0, 0.0, 2.0]).reshape(1, 1, 1, 3)).eval().round(3)
    array([[[[-0.632,  0.   ,  2.   ]]]])
    """

    header = "elu.h"
    takes = {"x": "N C H W"}
    gives = {"y": "N C H W"}
    call = "elu(x, y, N * C * H * W)"

    def reference(self, x):
        return np.where(x > 0, x, np.expm1(np.minimum(x, 0)))

    def meaning(self, x):
        return T.switch(x > 0, x, T.expm1(T.minimum(x, 0)))

    def at_positions(self, x):
        return self.reference(x)

    def connect(self, x):
        return x

    def grad(self, inputs, output_gradients):
        return [EluGradient()(self(*inputs), output_gradients[0])]


class EluGradient(NativeOp):
    """From the unit's value y and the gradient g of it, both (N, C, H, W), the gradient of x."""

    header = "elu.h"
    takes = {"y": "N C H W", "g": "N C H W"}
    gives = {"gx": "N C H W"}
    call = "elu_gradient(y, g, gx, N * C * H * W)"

    def reference(self, y, g):
        return np.where(y > 0, g, g * (y + 1))

    def meaning(self, y, g):
        return T.switch(y > 0, g, g * (y + 1))


elu = Elu()
example("exponential linear unit", elu, MAPS)
