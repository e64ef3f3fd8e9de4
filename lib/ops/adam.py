"""Adam (Kingma & Ba 2015) on packed vectors in one pass, and the gradient's sum of squares."""

from __future__ import annotations

import numpy as np
import theano.tensor as T

from pixelvae.lib.ops.native import NativeOp, example

BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-8


class SumOfSquares(NativeOp):
    """Of a vector x (P,): one number, (1,), which does not depend on the number of threads.

    Examples
    --------
    >>> SumOfSquares()(np.array([3.0, 4.0])).eval()
    array([25.])
    """

    header = "adam.h"
    takes = {"x": "P"}
    gives = {"squares": "1"}
    call = "sum_of_squares(x, squares, P)"

    def reference(self, x):
        return np.square(x, dtype="float64").sum(keepdims=True)

    def meaning(self, x):
        return T.sqr(x).sum(keepdims=True)


class Adam(NativeOp):
    """One update with β₁ = 0.9, β₂ = 0.999 and ε = 1e-8.

    Inputs: the gradient (P,); numbers (4,), namely the size of the step (the learning rate with
    both corrections of the moments' bias), a factor of the gradient, the bound of its entries after
    that, and the weight of the new parameters in their average; parameters, first and second
    moments (P,). Outputs: the last three, updated.

    Examples
    --------
    >>> one, zero = np.ones(1), np.zeros(1)
    >>> p, m, v = Adam()(one, np.array([0.1, 1, 5, 0]), zero, zero, zero)
    >>> p.eval().round(3), m.eval(), v.eval()
    (array([-0.316]), array([0.1]), array([0.001]))
    """

    __props__ = ("in_place",)
    header = "adam.h"
    takes = {"gradient": "P", "numbers": "4", "p": "P", "m": "P", "v": "P"}
    gives = {"new_p": "P", "new_m": "P", "new_v": "P"}
    over = {"new_p": "p", "new_m": "m", "new_v": "v"}
    call = (
        f"adam(gradient, numbers, new_p, new_m, new_v, (Real *)0, P, {BETA_1}, {BETA_2}, {EPSILON})"
    )

    def reference(self, *arrays):
        gradient, (step, factor, bound, weight), p, m, v, *average = arrays
        g = np.clip(factor * gradient, -bound, bound)
        m, v = BETA_1 * m + (1 - BETA_1) * g, BETA_2 * v + (1 - BETA_2) * g**2
        p = p - step * m / (np.sqrt(v) + EPSILON)
        return [p, m, v, *(a + weight * (p - a) for a in average)]

    def meaning(self, *variables):
        gradient, numbers, p, m, v, *average = variables
        step, factor, bound, weight = (numbers[i] for i in range(4))
        constants = (BETA_1, 1 - BETA_1, BETA_2, 1 - BETA_2, EPSILON)
        keep_1, rest_1, keep_2, rest_2, tiny = (T.constant(c, dtype=p.dtype) for c in constants)
        g = T.clip(factor * gradient, -bound, bound)
        m, v = keep_1 * m + rest_1 * g, keep_2 * v + rest_2 * T.sqr(g)
        p = p - step * m / (T.sqrt(v) + tiny)
        return [p, m, v, *(a + weight * (p - a) for a in average)]


class AveragedAdam(Adam):
    """The same with a moving average (P,) of the parameters, the last of inputs and outputs.

    Examples
    --------
    >>> one, zero = np.ones(1), np.zeros(1)
    >>> p, *_, average = AveragedAdam()(one, np.array([0.1, 1, 5, 0.5]), *[zero] * 4)
    >>> p.eval().round(3), average.eval().round(3)
    (array([-0.316]), array([-0.158]))
    """

    takes = {**Adam.takes, "average": "P"}
    gives = {**Adam.gives, "new_average": "P"}
    over = {**Adam.over, "new_average": "average"}
    call = Adam.call.replace("(Real *)0", "new_average")


def _updated(op: Adam):
    """A function of variables with derivatives: no bound in force, no second moment of 0."""

    def update(gradient, p, m, root, *average):
        numbers = T.constant(np.array([0.1, 0.5, 10, 0.3], gradient.dtype))
        return op(gradient, numbers, p, m, T.sqr(root), *average)

    return update


example("sum of squares", SumOfSquares(), (50,))
example("Adam", _updated(Adam()), *[(50,)] * 4)
example("Adam with an average", _updated(AveragedAdam()), *[(50,)] * 5)
