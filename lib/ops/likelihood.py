"""Log-likelihoods of discrete pixels, in nats."""

from __future__ import annotations

import numpy as np
import theano.tensor as T
from scipy.special import logsumexp

from pixelvae.lib.ops.gaussian import LOG_2PI, Gaussian
from pixelvae.lib.ops.native import MAPS, NativeOp, example, pixels


def bernoulli_log_likelihood(logits, x):
    """log p(x) of binary pixels, summed over each image: logits and x (N, ...) -> (N,).

    Written with softplus so that saturated logits stay finite.
    """
    return (x * logits - T.nnet.softplus(logits)).flatten(2).sum(axis=1)


class Categorical(NativeOp):
    """log softmax of the logits at the levels that pixels have.

    Inputs: logits (N, levels·C, H, W), whose channel k·C + c belongs to level k of colour c; x
    (N, C, H, W), whole numbers from 0 to levels − 1. Outputs: log p(x), summed over each image,
    (N,); the logarithms of the softmax's denominators, (N, C, H, W), through which no gradient
    flows. Raises ValueError if a pixel has another value.
    """

    header = "categorical.h"
    takes = {"logits": "N levels*C H W", "x": "N C H W"}
    gives = {"log_p": "N", "norms": "N C H W"}
    call = "categorical(logits, x, log_p, norms, N, levels, C * H * W)"

    def reference(self, logits, x):
        per_level = _per_level(logits, x)
        levels = per_level.shape[1]
        self.require(((x > -1) & (x < levels)).all(), "a value is outside 0 ... levels - 1")
        norms = logsumexp(per_level, axis=1)
        chosen = np.take_along_axis(per_level, x.astype(int)[:, None], axis=1)[:, 0]
        return (chosen - norms).sum(axis=(1, 2, 3)), norms

    def meaning(self, logits, x):
        per_level, chosen = _chosen(logits, x)
        top = per_level.max(axis=1, keepdims=True)
        norms = T.log(T.exp(per_level - top).sum(axis=1)) + top[:, 0]
        log_p = T.switch(chosen, per_level, 0).sum(axis=1) - norms
        return [log_p.sum(axis=(1, 2, 3)), norms]

    def grad(self, inputs, output_gradients):
        logits, x = inputs
        norms = self(logits, x)[1]
        gradient = CategoricalGradient()(logits, x, norms, output_gradients[0])
        return [gradient, T.DisconnectedType()()]

    def connection_pattern(self, node):
        return [[True, False], [False, False]]


class CategoricalGradient(NativeOp):
    """Gradient of :class:`Categorical`: (logits, x, denominators, g (N,)) -> as the logits."""

    header = "categorical.h"
    takes = {"logits": "N levels*C H W", "x": "N C H W", "norms": "N C H W", "g": "N"}
    gives = {"glogits": "N levels*C H W"}
    call = "categorical_gradient(logits, x, norms, g, glogits, N, levels, C * H * W)"

    def reference(self, logits, x, norms, g):
        per_level = _per_level(logits, x)
        levels = np.arange(per_level.shape[1])[:, None, None, None]
        gradient = (levels == x[:, None]) - np.exp(per_level - norms[:, None])
        return (g[:, None, None, None, None] * gradient).reshape(logits.shape)

    def meaning(self, logits, x, norms, g):
        per_level, chosen = _chosen(logits, x)
        gradient = chosen - T.exp(per_level - norms.dimshuffle(0, "x", 1, 2, 3))
        return (g.dimshuffle(0, "x", "x", "x", "x") * gradient).reshape(logits.shape)


def _per_level(logits, x):
    """The logits as (N, levels, C, H, W)."""
    n, c, h, w = x.shape
    return logits.reshape((n, logits.shape[1] // c, c, h, w))


def _chosen(logits, x):
    """The logits by level, and for each of them whether the pixel has that level."""
    per_level = _per_level(logits, x)
    # Levels are counted by a sum, which a GPU computes itself; a range would be sent from the host.
    levels = T.cumsum(T.ones((per_level.shape[1],), x.dtype)) - 1
    return per_level, T.eq(levels.dimshuffle("x", 0, "x", "x", "x"), x.dimshuffle(0, "x", 1, 2, 3))


def categorical_log_likelihood(logits, x):
    """log p(x) of pixels by a softmax over their levels, summed over each image: (N,).

    See :class:`Categorical`.
    """
    return Categorical()(logits, x)[0]


def discretised_gaussian_log_likelihood(p: Gaussian, x, levels: int):
    """log p(x) of pixels whose levels share out a Gaussian's mass, summed over each image: (N,).

    ``p`` is over level numbers, (N, C, H, W) like x. Level k has the mass between k − ½ and k + ½;
    the first and the last level also have all that lies beyond, so that the masses add up to 1.
    """
    sigma = T.exp(p.log_sigma)
    # Whichever side of the mean x is on, the mass is computed in the lower tail, which keeps its
    # digits.
    below = T.lt(x, p.mean)
    centre = -abs(x - p.mean)
    first, last = T.eq(x, 0), T.eq(x, levels - 1)
    to_tail = T.switch(below, first, last)  # the bin extends to the tail's end
    to_middle = T.switch(below, last, first)  # and over the mean to the other tail's
    upper = _lower_tail((centre + 0.5) / sigma)
    lower = _lower_tail((centre - 0.5) / sigma)
    mass = T.switch(to_middle, 1, upper) - T.switch(to_tail, 0, lower)
    # If even that is 0 to the last digit: the density, times the bin's width of 1.
    density = -0.5 * (LOG_2PI + T.sqr(centre / sigma)) - p.log_sigma
    tiny = 1e-30
    log_mass = T.switch(mass > tiny, T.log(T.maximum(mass, tiny)), density)
    return log_mass.flatten(2).sum(axis=1)


def _lower_tail(t):
    """The standard normal's mass below t."""
    return 0.5 * T.erfc(-t / np.float32(np.sqrt(2)))


example("bernoulli likelihood", lambda logits: bernoulli_log_likelihood(logits, pixels(2)), MAPS)
example(
    "softmax likelihood",
    lambda logits: categorical_log_likelihood(logits, pixels(11)),
    (4, 33, 9, 8),
)
example(
    "discretised gaussian likelihood",
    lambda mean, log_sigma: discretised_gaussian_log_likelihood(
        Gaussian(5 + mean, log_sigma), pixels(11), 11
    ),
    MAPS,
    MAPS,
)
