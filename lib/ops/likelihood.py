"""Log-likelihoods of discrete pixels, in nats."""

from __future__ import annotations

import numpy as np
import theano.tensor as T
from scipy.special import logsumexp

from lib.ops._fused import FusedOp
from lib.ops.gaussian import LOG_2PI, Gaussian


def bernoulli_log_likelihood(logits, x):
    """log p(x) of binary pixels, summed over each image: logits and x (N, ...) -> (N,).

    Written with softplus so that saturated logits stay finite.
    """
    return (x * logits - T.nnet.softplus(logits)).flatten(2).sum(axis=1)


class Categorical(FusedOp):
    """log softmax of the logits at the levels that pixels have.

    Inputs: logits (N, levels·C, H, W), whose channel k·C + c belongs to level k of colour c; x (N,
    C, H, W), whole numbers from 0 to levels − 1. Outputs: log p(x), summed over each image, (N,);
    the logarithms of the softmax's
    denominators, (N, C, H, W), through which no gradient flows.
    """

    header = "categorical.h"
    ranks = (4, 4)
    sizes = """
        const long N = d1[0], C = d1[1], S = d1[1] * d1[2] * d1[3], levels = C ? d0[1] / C : 0;
    """
    fits = "(d0[0] == N && d0[1] == levels * C && d0[2] == d1[2] && d0[3] == d1[3])"
    results = ("N", "N, C, d1[2], d1[3]")
    call = "categorical(a0, a1, r0, r1, N, levels, S)"

    def infer_shape(self, node, shapes):
        return [shapes[1][:1], shapes[1]]

    def perform(self, node, inputs, outputs, params=None):
        logits, x = inputs
        per_level = _per_level(self, logits, x)
        norms = logsumexp(per_level, axis=1)
        chosen = np.take_along_axis(per_level, x.astype(int)[:, None], axis=1)[:, 0]
        outputs[0][0] = (chosen - norms).sum(axis=(1, 2, 3)).astype(x.dtype)
        outputs[1][0] = norms.astype(x.dtype)

    def grad(self, inputs, output_gradients):
        logits, x = inputs
        norms = self(logits, x)[1]
        gradient = CategoricalGradient()(logits, x, norms, output_gradients[0])
        return [gradient, T.DisconnectedType()()]

    def connection_pattern(self, node):
        return [[True, False], [False, False]]


class CategoricalGradient(FusedOp):
    """The gradient of :class:`Categorical` in its logits: (logits, x, denominators, g (N,)) -> (N,
    levels·C, H, W).
    """

    header = "categorical.h"
    ranks = (4, 4, 4, 1)
    sizes = Categorical.sizes
    fits = Categorical.fits[:-1] + " && PyArray_CompareLists(d1, d2, 4) && d3[0] == N)"
    results = ("N, d0[1], d0[2], d0[3]",)
    call = "categorical_gradient(a0, a1, a2, a3, r0, N, levels, S)"

    def infer_shape(self, node, shapes):
        return [shapes[0]]

    def perform(self, node, inputs, outputs, params=None):
        logits, x, norms, g = inputs
        per_level = _per_level(self, logits, x)
        self.require(norms.shape == x.shape and g.shape == x.shape[:1])
        levels = np.arange(per_level.shape[1])[:, None, None, None]
        gradient = (levels == x[:, None]) - np.exp(per_level - norms[:, None])
        outputs[0][0] = (g[:, None, None, None, None] * gradient).reshape(logits.shape)


def _per_level(op, logits, x):
    """The logits as (N, levels, C, H, W)."""
    (n, c, h, w) = x.shape
    op.require(logits.shape[:1] + logits.shape[2:] == (n, h, w) and logits.shape[1] % c == 0)
    levels = logits.shape[1] // c
    op.require(((x > -1) & (x < levels)).all())
    return logits.reshape(n, levels, c, h, w)


def categorical_log_likelihood(logits, x):
    """log p(x) of pixels by a softmax over their levels, summed over each image: (N,). See
    :class:`Categorical`.
    """
    return Categorical()(logits, x)[0]


def discretised_gaussian_log_likelihood(p: Gaussian, x, levels: int):
    """log p(x) of pixels whose levels share out a Gaussian's mass, summed over each image: (N,).

    ``p`` is over level numbers, (N, C, H, W) as is x. Level k has the mass between k − ½ and k + ½,
    the first and the last one all that lies beyond as well, so that the masses of all levels add up
    to 1.
    """
    sigma = T.exp(p.log_sigma)
    # The mass is computed in the lower tail, where it keeps its digits, on whichever side of the
    # mean x lies.
    below = T.lt(x, p.mean)
    centre = -abs(x - p.mean)
    first, last = T.eq(x, 0), T.eq(x, levels - 1)
    to_tail = T.switch(below, first, last)  # the bin goes on to the tail's end
    to_middle = T.switch(below, last, first)  # and over the mean to the other tail's
    upper = _lower_tail((centre + 0.5) / sigma)
    lower = _lower_tail((centre - 0.5) / sigma)
    mass = T.switch(to_middle, 1, upper) - T.switch(to_tail, 0, lower)
    # Where even that is too small to be told from 0, the density over the bin's width of 1.
    density = -0.5 * (LOG_2PI + T.sqr(centre / sigma)) - p.log_sigma
    tiny = 1e-30
    log_mass = T.switch(mass > tiny, T.log(T.maximum(mass, tiny)), density)
    return log_mass.flatten(2).sum(axis=1)


def _lower_tail(t):
    """The standard normal's mass below t."""
    return 0.5 * T.erfc(-t / np.float32(np.sqrt(2)))
