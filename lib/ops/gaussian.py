"""Diagonal Gaussians over latents: samples, log-densities and KL divergences, in nats."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import theano.tensor as T

from pixelvae.lib.ops.native import example

LOG_2PI = float(np.log(2 * np.pi))


@dataclass(frozen=True)
class Gaussian:
    """N(mean, diag(exp(log_sigma)²)); both of shape (N, ...), symbolic.

    Examples
    --------
    >>> q = Gaussian(np.ones((1, 2)), np.zeros((1, 2)))
    >>> q.sample(np.array([[0.0, -1.0]])).eval(), q.log_density(np.ones((1, 2))).eval().round(3)
    (array([[1., 0.]]), array([-1.838]))
    """

    mean: Any
    log_sigma: Any

    def sample(self, noise):
        """mean + sigma · noise, with standard normal noise (the reparametrisation trick)."""
        return self.mean + T.exp(self.log_sigma) * noise

    def log_density(self, z):
        """log N(z), summed over all dimensions but the first: (N,)."""
        e = (z - self.mean) * T.exp(-self.log_sigma)
        return _sum(-0.5 * (LOG_2PI + T.sqr(e)) - self.log_sigma)


class StandardNormal:
    """N(0, I), the prior of a model's highest latent.

    Examples
    --------
    >>> StandardNormal().log_density(np.zeros((1, 2))).eval().round(3)  # −log 2π
    array([-1.838])
    """

    def log_density(self, z):
        """log N(z; 0, I), summed over all dimensions but the first: (N,)."""
        return _sum(-0.5 * (LOG_2PI + T.sqr(z)))


def kl(q: Gaussian, p: Gaussian | StandardNormal):
    """KL(q ‖ p) of each item, the second term of the bound (equation 2): (N,).

    The prior p is N(0, I) for the highest latent, p(z₁|z₂) for one below it (section 3.1).

    Examples
    --------
    >>> q = Gaussian(np.ones((1, 2)), np.zeros((1, 2)))
    >>> kl(q, StandardNormal()).eval(), kl(q, q).eval()
    (array([1.]), array([0.]))
    """
    if isinstance(p, StandardNormal):
        return _sum(-0.5 * (1 + 2 * q.log_sigma - T.sqr(q.mean) - T.exp(2 * q.log_sigma)))
    ratio = T.exp(2 * (q.log_sigma - p.log_sigma))
    distance = T.sqr((q.mean - p.mean) * T.exp(-p.log_sigma))
    return _sum(0.5 * (ratio + distance - 1) + p.log_sigma - q.log_sigma)


def draw(outputs: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """mean + sigma · noise in NumPy: outputs (N, 2C), means and then log sigmas; noise (N, C).

    Examples
    --------
    >>> draw(np.array([[1.0, 0.0]]), np.array([[2.0]]))
    array([[3.]])
    """
    mean, log_sigma = np.split(outputs, 2, axis=1)
    return mean + np.exp(log_sigma) * noise


def _sum(x):
    return x.flatten(2).sum(axis=1)


def _all_terms(mean, log_sigma, prior_mean, prior_log_sigma, noise):
    q, p = Gaussian(mean, log_sigma), Gaussian(prior_mean, prior_log_sigma)
    return kl(q, p) + kl(q, StandardNormal()) + p.log_density(q.sample(noise))


example("gaussians", _all_terms, *[(4, 5)] * 5)
