"""Pixels of many levels and the ELU: likelihoods that add up to 1, embeddings, gradients."""

from __future__ import annotations

import numpy as np
import pytest
import theano
import theano.tensor as T
from compiled import BOTH, PYTHON, apply, threads
from scipy.special import log_softmax, ndtri
from scipy.stats import norm
from theano.tensor import verify_grad

from pixelvae.lib.ops.categorical import (
    Categorical,
    CategoricalGradient,
    CategoricalOfMaps,
    CategoricalOfMapsGradient,
    categorical_log_likelihood,
)
from pixelvae.lib.ops.conv import Correlate, CorrelateInputs, CorrelateWeights
from pixelvae.lib.ops.elu import Elu, EluGradient
from pixelvae.lib.ops.embedding import Embed, EmbedGradient
from pixelvae.lib.ops.gaussian import Gaussian
from pixelvae.lib.ops.likelihood import discretised_gaussian_log_likelihood
from pixelvae.lib.pixels import DiscretisedGaussian

RNG = np.random.RandomState(0)
VALUES = RNG.randint(0, 5, (3, 2, 4, 7)).astype("float64")
LOGITS = 4 * RNG.standard_normal((3, 10, 4, 7))


@pytest.mark.parametrize("mode", BOTH)
def test_elu(mode):
    x = np.array([-np.inf, -90, -1, -1e-3, 0, 1e-3, 2, np.inf, np.nan], "float32").reshape(
        1, 1, 3, 3
    )
    truth = np.where(x > 0, x, np.exp(np.minimum(x, 0).astype("float64")) - 1)
    np.testing.assert_allclose(apply(Elu(), x, mode=mode), truth, atol=2e-7)
    slopes = apply(EluGradient(), truth.astype("float32"), np.full_like(x, 3), mode=mode)
    np.testing.assert_allclose(slopes, np.where(x > 0, 3, 3 * truth + 3), atol=1e-6)


def test_gradients():
    with theano.configparser.change_flags(mode=PYTHON):
        verify_grad(Elu(), [RNG.standard_normal((2, 2, 3, 3)) + 0.1], rng=RNG)
        x = theano.tensor.constant(VALUES)
        verify_grad(lambda table: Embed()(x, table), [RNG.standard_normal((5, 3))], rng=RNG)
        verify_grad(lambda logits: categorical_log_likelihood(logits, x), [LOGITS], rng=RNG)


@pytest.mark.parametrize("mode", BOTH)
def test_embedding_puts_entry_e_of_colour_c_into_channel_3e_plus_c(mode):
    table = RNG.standard_normal((5, 3))
    y = apply(Embed(), VALUES, table, mode=mode)
    for n, e, c, i, j in np.ndindex(3, 3, 2, 4, 7):
        assert y[n, 2 * e + c, i, j] == table[int(VALUES[n, c, i, j]), e]
    g = RNG.standard_normal(y.shape)
    truth = np.zeros((5, 3))
    for n, e, c, i, j in np.ndindex(3, 3, 2, 4, 7):
        truth[int(VALUES[n, c, i, j]), e] += g[n, 2 * e + c, i, j]
    np.testing.assert_allclose(apply(EmbedGradient(), VALUES, table, g, mode=mode), truth)


@pytest.mark.parametrize("mode", BOTH)
@pytest.mark.parametrize("bad", [-1.0, 5.0])
def test_a_value_without_a_level_is_refused(mode, bad):
    values = VALUES.copy()
    values[1, 1, 1, 1] = bad
    for op, other in ((Embed(), np.ones((5, 3))), (Categorical(), LOGITS)):
        arguments = (values, other) if isinstance(op, Embed) else (other, values)
        with pytest.raises(ValueError):
            apply(op, *arguments, mode=mode)


@pytest.mark.parametrize("mode", BOTH)
@pytest.mark.parametrize("shift", [0.0, 1000.0])
def test_categorical(mode, shift):
    log_p, norms = apply(Categorical(), LOGITS + shift, VALUES, mode=mode)
    per_level = log_softmax((LOGITS + shift).reshape(3, 5, 2, 4, 7), axis=1)
    truth = np.zeros(3)
    for n, c, i, j in np.ndindex(3, 2, 4, 7):
        truth[n] += per_level[n, int(VALUES[n, c, i, j]), c, i, j]
    np.testing.assert_allclose(log_p, truth, rtol=1e-10)
    g = RNG.standard_normal(3)
    gradient = apply(CategoricalGradient(), LOGITS + shift, VALUES, norms, g, mode=mode)
    one_hot = np.arange(5)[:, None, None, None] == VALUES[:, None]
    truth = g[:, None, None, None, None] * (one_hot - np.exp(per_level))
    np.testing.assert_allclose(gradient, truth.reshape(LOGITS.shape), atol=1e-12)


def gaussian_log_mass(mean, sigma, x, levels):
    m, s, v = (T.tensor4(dtype="float64") for _ in range(3))
    p = discretised_gaussian_log_likelihood(Gaussian(m, T.log(s)), v, levels)
    f = theano.function([m, s, v], [p, *theano.grad(p.sum(), [m, s])], mode="FAST_COMPILE")
    column = [
        np.broadcast_to(a, np.shape(x)).reshape(-1, 1, 1, 1).astype(float) for a in (mean, sigma, x)
    ]
    return f(*column)


@pytest.mark.parametrize("mean, sigma", [(7.3, 2), (-4, 1.5), (20, 0.4), (9.5, 30), (3, 0.05)])
def test_levels_share_out_the_gaussian(mean, sigma):
    x = np.arange(16)
    log_mass, *gradients = gaussian_log_mass(mean, sigma, x, 16)
    edges = np.concatenate([[-np.inf], x[1:] - 0.5, [np.inf]])
    # The upper tail by symmetry: differences of numbers near 1 have no digits left.
    side = np.where(x > mean, -1, 1)
    a, b = (edges[:-1] - mean) / sigma, (edges[1:] - mean) / sigma
    truth = np.where(side > 0, norm.cdf(b) - norm.cdf(a), norm.cdf(-a) - norm.cdf(-b))
    assert np.exp(log_mass).sum() == pytest.approx(1, abs=1e-9)
    np.testing.assert_allclose(np.exp(log_mass), truth, rtol=1e-5, atol=1e-25)
    assert np.isfinite(log_mass).all() and all(np.isfinite(g).all() for g in gradients)


def test_draws_from_the_levels_have_their_masses():
    uniform = (np.arange(20_000) + 0.5) / 20_000
    outputs = np.tile([[2.2, np.log(1.7)]], (len(uniform), 1))
    drawn = DiscretisedGaussian(6, 1).draw(outputs, uniform[:, None])[:, 0]
    log_mass, *_ = gaussian_log_mass(2.2, 1.7, np.arange(6), 6)
    frequencies = np.bincount(drawn.astype(int), minlength=6) / len(uniform)
    np.testing.assert_allclose(frequencies, np.exp(log_mass), atol=1e-4)
    lowest = DiscretisedGaussian(6, 1).draw(outputs[:1], np.zeros((1, 1)))
    assert lowest == 0 and ndtri(0) == -np.inf


@pytest.mark.parametrize(
    "size, levels, depth", [((3, 4), 5, 3), ((9, 11), 256, 20), ((7, 7), 4, 384)]
)
def test_logits_that_are_not_stored_have_the_bits_of_those_that_are(size, levels, depth):
    """Gradients agree within rounding, and nothing depends on threads or batch. 1 s, and compiling."""
    rng = np.random.RandomState(0)
    h, w, bias = (
        rng.standard_normal(shape).astype("float32")
        for shape in ((3, depth, *size), (3 * levels, depth, 1), (3 * levels,))
    )
    x = rng.randint(levels, size=(3, 3, *size)).astype("float32")
    g = rng.standard_normal(3).astype("float32")
    for b in (bias, None):
        logits = apply(Correlate(1, 1, 1), h, w, b)
        log_p, norms = apply(Categorical(), logits, x)
        gradients = []
        for count in (1, 3):
            with threads(count):
                results = apply(CategoricalOfMaps(), h, w, b, x)
                np.testing.assert_array_equal(results[0], log_p)
                np.testing.assert_array_equal(results[1], norms)
                gradients.append(apply(CategoricalOfMapsGradient(), h, w, b, x, norms, g))
        gh, gw, gb = gradients[0]
        for one, other in zip(*gradients):
            np.testing.assert_array_equal(one, other)
        gl = apply(CategoricalGradient(), logits, x, norms, g)
        truth = apply(CorrelateInputs(1, 1, 1), gl, w, *size)
        np.testing.assert_allclose(gh, truth, rtol=1e-5, atol=1e-5 * np.abs(truth).max())
        truth = apply(CorrelateWeights(1, 1, 1), h, gl)
        np.testing.assert_allclose(gw, truth, rtol=1e-5, atol=1e-5 * np.abs(truth).max())
        np.testing.assert_allclose(gb, gl.sum((0, 2, 3)), rtol=1e-5, atol=1e-5 * np.abs(gl).max())
    alone = apply(CategoricalOfMaps(), h[2:], w, bias, x[2:])[0]
    assert alone == apply(CategoricalOfMaps(), h, w, bias, x)[0][2]
