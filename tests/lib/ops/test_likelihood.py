"""Log-likelihoods of pixels: probabilities add up to one, and extremes stay finite."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import theano
import theano.tensor as T
from scipy.special import log_expit

from pixelvae.lib.ops.likelihood import bernoulli_log_likelihood

SATURATED = [-1e4, -200.0, -30.0, 0.0, 30.0, 200.0, 1e4]


def function_of(likelihood, logits, x):
    ours = likelihood(logits, x)
    gradient = theano.grad(ours.sum(), logits)
    return theano.function([logits, x], [ours, gradient], mode="FAST_COMPILE")


@pytest.fixture(scope="module")
def bernoulli():
    return function_of(bernoulli_log_likelihood, T.dtensor4(), T.dtensor4())


def images(levels, *shape):
    """All images of that shape."""
    values = itertools.product(range(levels), repeat=int(np.prod(shape)))
    return np.array(list(values)).reshape(-1, *shape)


def test_bernoulli_of_all_images_adds_up_to_one(bernoulli):
    x = images(2, 1, 2, 3).astype("float64")
    logits = np.random.RandomState(0).standard_normal((1, 1, 2, 3))
    ours, _ = bernoulli(np.repeat(logits, len(x), axis=0), x)
    p = 1 / (1 + np.exp(-logits[0]))
    by_pixel = [np.prod(np.where(image == 1, p, 1 - p)) for image in x]
    np.testing.assert_allclose(np.exp(ours), by_pixel, rtol=1e-12)
    np.testing.assert_allclose(np.exp(ours).sum(), 1, rtol=1e-12)


@pytest.mark.parametrize("value", [0, 1])
def test_bernoulli_of_saturated_logits_and_uniform_images(bernoulli, value):
    logits = np.array(SATURATED).reshape(-1, 1, 1, 1).repeat(28, 2).repeat(28, 3)
    ours, gradient = bernoulli(logits, np.full(logits.shape, float(value)))
    truth = 784 * log_expit((2 * value - 1) * np.array(SATURATED))
    assert np.isfinite(ours).all() and np.isfinite(gradient).all()
    np.testing.assert_allclose(ours, truth, rtol=1e-9, atol=1e-9)
    # Where the model is sure and wrong, the gradient is one a pixel, not lost.
    np.testing.assert_allclose(gradient[0 if value else -1], 2 * value - 1)


def test_single_precision_of_saturated_logits():
    logits, x = T.fmatrices("logits", "x")
    function = function_of(bernoulli_log_likelihood, logits, x)
    grid = np.repeat(np.array(SATURATED, "float32")[:, None], 2, axis=1)
    for value in (0, 1):
        ours, gradient = function(grid, np.full(grid.shape, value, "float32"))
        truth = 2 * log_expit((2 * value - 1) * np.array(SATURATED))
        assert np.isfinite(ours).all() and np.isfinite(gradient).all()
        np.testing.assert_allclose(ours, truth, rtol=1e-5, atol=1e-6)
