"""Log-likelihoods of binary pixels, and of levels that share out a Gaussian, in nats."""

from __future__ import annotations

import numpy as np
import theano.tensor as T

from pixelvae.lib.ops.gaussian import LOG_2PI, Gaussian
from pixelvae.lib.ops.native import MAPS, example, pixels


def bernoulli_log_likelihood(logits, x):
    """log p(x) of binary pixels, summed over each image: logits and x (N, ...) -> (N,).

    Written with softplus so that saturated logits stay finite.

    Examples
    --------
    >>> x = np.array([[0.0, 1.0]])
    >>> bernoulli_log_likelihood(np.zeros((1, 2)), x).eval().round(3)  # −2 log 2
    array([-1.386])
    """
    return (x * logits - T.nnet.softplus(logits)).flatten(2).sum(axis=1)


def discretised_gaussian_log_likelihood(p: Gaussian, x, levels: int):
    """log p(x) of pixels whose levels share out a Gaussian's mass, summed over each image: (N,).

    ``p`` is over level numbers, (N, C, H, W) like x. Level k has the mass between k − ½ and k + ½;
    the first and the last level also have all that lies beyond, so that the masses add up to 1.

    Examples
    --------
    >>> p, x = Gaussian(np.ones((1, 1, 1, 1)), np.zeros((1, 1, 1, 1))), np.arange(3.0)
    >>> masses = [discretised_gaussian_log_likelihood(p, np.full((1, 1, 1, 1), k), 3) for k in x]
    >>> [float(T.exp(mass).eval()[0].round(3)) for mass in masses]
    [0.309, 0.383, 0.309]
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
    "discretised gaussian likelihood",
    lambda mean, log_sigma: discretised_gaussian_log_likelihood(
        Gaussian(5 + mean, log_sigma), pixels(11), 11
    ),
    MAPS,
    MAPS,
)
