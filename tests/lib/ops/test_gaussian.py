"""Gaussians against SciPy's densities and numerical integrals."""

from __future__ import annotations

import numpy as np
import pytest
import theano
import theano.tensor as T
from scipy.integrate import quad
from scipy.stats import norm

from pixelvae.lib.ops.gaussian import Gaussian, StandardNormal, kl

SHAPE = (4, 3, 2)  # an item is a matrix here: everything but the first axis is summed


def evaluate(function, *arrays):
    inputs = [T.TensorType("float64", (False,) * np.ndim(a))() for a in arrays]
    with theano.configparser.change_flags(floatX="float64"):  # of constants
        return theano.function(inputs, function(*inputs), mode="FAST_COMPILE")(*arrays)


@pytest.fixture(scope="module")
def arrays():
    """Means, log standard deviations (twice) and a point."""
    rng = np.random.RandomState(11)
    return rng.standard_normal((5, *SHAPE))


def density(x, mean, log_sigma):
    return norm.pdf(x, mean, np.exp(log_sigma))


def integral(mean, log_sigma, other_mean, other_log_sigma) -> float:
    """KL between two one-dimensional Gaussians, by quadrature."""

    def integrand(x):
        log_ratio = norm.logpdf(x, mean, np.exp(log_sigma)) - norm.logpdf(
            x, other_mean, np.exp(other_log_sigma)
        )
        return density(x, mean, log_sigma) * log_ratio

    reach = 12 * np.exp(log_sigma)
    return quad(integrand, mean - reach, mean + reach, points=[mean], limit=200)[0]


def test_log_densities(arrays):
    mean, log_sigma, z, *_ = arrays
    truth = norm.logpdf(z, mean, np.exp(log_sigma)).sum(axis=(1, 2))
    ours = evaluate(lambda m, s, z: Gaussian(m, s).log_density(z), mean, log_sigma, z)
    np.testing.assert_allclose(ours, truth, rtol=1e-12)
    truth = norm.logpdf(z).sum(axis=(1, 2))
    np.testing.assert_allclose(evaluate(StandardNormal().log_density, z), truth, rtol=1e-12)


def test_kl_equals_the_integral(arrays):
    q_mean, q_log_sigma, p_mean, p_log_sigma, _ = arrays
    ours = evaluate(lambda a, b, c, d: kl(Gaussian(a, b), Gaussian(c, d)), *arrays[:4])
    truth = np.vectorize(integral)(q_mean, q_log_sigma, p_mean, p_log_sigma).sum(axis=(1, 2))
    np.testing.assert_allclose(ours, truth, rtol=1e-8)


def test_kl_to_the_standard_normal_equals_the_integral(arrays):
    mean, log_sigma, *_ = arrays
    ours = evaluate(lambda m, s: kl(Gaussian(m, s), StandardNormal()), mean, log_sigma)
    truth = np.vectorize(integral)(mean, log_sigma, 0, 0).sum(axis=(1, 2))
    np.testing.assert_allclose(ours, truth, rtol=1e-8)


def test_kl_of_a_gaussian_to_itself_is_zero(arrays):
    ours = evaluate(lambda m, s: kl(Gaussian(m, s), Gaussian(m, s)), *arrays[:2])
    np.testing.assert_allclose(ours, 0, atol=1e-14)
    zeros = np.zeros(SHAPE)
    ours = evaluate(lambda m, s: kl(Gaussian(m, s), StandardNormal()), zeros, zeros)
    np.testing.assert_array_equal(ours, 0)


@pytest.mark.parametrize("log_sigma", [-40.0, 0.0, 40.0])
def test_narrow_and_wide_ones_stay_finite(log_sigma):
    """In float32, and its gradients, for each function of a training."""
    mean, spread = T.fmatrices("mean", "spread")
    q = Gaussian(mean, spread)
    divergence = kl(q, StandardNormal())
    gradients = theano.grad(divergence.sum(), [mean, spread])
    density_at_sample = q.log_density(q.sample(T.ones_like(mean)))
    function = theano.function(
        [mean, spread], [divergence, density_at_sample, *gradients], mode="FAST_COMPILE"
    )
    values = np.ones((1, 2), "float32"), np.full((1, 2), log_sigma, "float32")
    assert all(np.isfinite(output).all() for output in function(*values))
    truth = 2 * (0.5 * np.exp(2 * log_sigma) - log_sigma)
    np.testing.assert_allclose(function(*values)[0], truth, rtol=1e-6, atol=1e-6)


def test_samples_follow_the_density():
    mean, log_sigma = np.full((1, 1), 1.5), np.full((1, 1), -0.7)
    noise = np.random.RandomState(0).standard_normal((100000, 1))
    z = evaluate(lambda m, s, e: Gaussian(m[0], s[0]).sample(e), mean, log_sigma, noise)
    assert abs(z.mean() - 1.5) < 4 * np.exp(-0.7) / np.sqrt(1e5)
    assert abs(z.std() / np.exp(-0.7) - 1) < 4 / np.sqrt(2e5)
