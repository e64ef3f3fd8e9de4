"""Likelihoods at the ends of what numbers can hold, and sums over a whole test set."""

from __future__ import annotations

import numpy as np
import pytest
import theano
import theano.tensor as T
from compiled import BOTH, apply, fast_compile
from scipy.special import logsumexp
from theano import gof

from pixelvae.datasets.memory import InMemory
from pixelvae.lib.evaluation import Bound, Evaluation, LogSumExp
from pixelvae.lib.model import Terms
from pixelvae.lib.ops.categorical import Categorical, CategoricalGradient
from pixelvae.lib.ops.gaussian import Gaussian, StandardNormal, kl
from pixelvae.lib.ops.likelihood import discretised_gaussian_log_likelihood
from pixelvae.lib.ops.native import NativeOp, as_list, examples
from pixelvae.models.hierarchical.levels import split_gaussian
from pixelvae.models.mnist.model import MnistModel, Settings


@pytest.mark.parametrize("mode", BOTH)
@pytest.mark.parametrize("size", [1e2, 1e4, 1e30])
def test_saturated_softmax_and_its_gradient_are_finite(mode, size):
    """One level takes all; images that are all of it, and all of another."""
    logits = np.zeros((2, 8, 1, 3), "float32")
    logits[:, 7], logits[:, 0] = size, -size
    x = np.stack([np.full((1, 1, 3), 7), np.zeros((1, 1, 3))]).astype("float32")
    log_p, norms = apply(Categorical(), logits, x, mode=mode)
    np.testing.assert_allclose(log_p, [0, -6 * size], rtol=1e-6)
    g = np.ones(2, "float32")
    gradient = apply(CategoricalGradient(), logits, x, norms, g, mode=mode)
    assert np.isfinite(gradient).all()
    np.testing.assert_allclose(gradient[:, 7, 0], [[0] * 3, [-1] * 3], atol=1e-6)
    np.testing.assert_allclose(gradient[1, 0, 0], 1, atol=1e-6)


@pytest.fixture(scope="module")
def discretised():
    mean, log_sigma, x = (T.ftensor4(name) for name in ("mean", "log_sigma", "x"))
    log_p = discretised_gaussian_log_likelihood(Gaussian(mean, log_sigma), x, 256)
    gradients = theano.grad(log_p.sum(), [mean, log_sigma])
    return theano.function([mean, log_sigma, x], [log_p, *gradients], mode="FAST_COMPILE")


@pytest.mark.parametrize("log_sigma", [-12.0, -7.0, 0.0, 7.0, 20.0, 40.0])
@pytest.mark.parametrize("pixel", [0, 255])
def test_narrow_and_wide_pixels_stay_finite(discretised, log_sigma, pixel):
    """Images of nothing but the first or last level, wherever the mean is."""
    mean = np.array([-1e3, 0, 0.5, 100, 254.5, 255, 1e3], "float32").reshape(-1, 1, 1, 1)
    log_p, *gradients = discretised(
        mean, np.full_like(mean, log_sigma), np.full_like(mean, float(pixel))
    )
    assert np.isfinite(log_p).all() and all(np.isfinite(g).all() for g in gradients)
    assert (log_p <= 1e-6).all()


def test_latents_that_are_narrow_or_wide():
    """σ from 10⁻¹⁷ to 10¹⁷, in single precision, against the formulas in double precision."""
    sizes = np.array([-40.0, -12.0, 0.0, 12.0, 40.0])
    m, s = T.fmatrices("m", "s")
    outputs = [kl(Gaussian(m, s), StandardNormal()), kl(Gaussian(m, s), Gaussian(0 * m, 0 * s))]
    outputs += [Gaussian(m, s).log_density(m + T.exp(s))]
    gradients = theano.grad(sum(o.sum() for o in outputs), [m, s])
    function = theano.function([m, s], [*outputs, *gradients], mode="FAST_COMPILE")
    s_value = np.repeat(sizes[:, None], 2, 1)
    m_value = np.full_like(s_value, 3.0)
    results = function(m_value.astype("float32"), s_value.astype("float32"))
    truth = (0.5 * (m_value**2 + np.exp(2 * s_value) - 1) - s_value).sum(1)
    for result in results[:2]:
        np.testing.assert_allclose(result, truth, rtol=1e-5)
    assert all(np.isfinite(result).all() for result in results)


def test_priors_that_are_narrow_or_wide():
    """What the hierarchical models' networks can give: their σ is never 0, however large the outputs."""
    outputs = np.float32([-1e9, -1e3, 0, 1e3, 1e9])
    q, p = T.fmatrices("q", "p")
    divergence = kl(split_gaussian(q, 1), split_gaussian(p, 1, bounded=True))
    gradients = theano.grad(divergence.sum(), [q, p])
    function = theano.function([q, p], [divergence, *gradients], mode="FAST_COMPILE")
    pairs = np.stack([a.ravel() for a in np.meshgrid(outputs, outputs)])
    values, *slopes = function(*(np.stack([0 * a, a], 1) for a in pairs))
    assert np.isfinite(values).all() and all(np.isfinite(g).all() for g in slopes)
    assert (values > -1e-6).all() and values.max() > 1e15


@pytest.mark.parametrize("top", [0.0, -1e4, 1e4])
def test_one_sample_that_outweighs_all_others(top):
    values = np.full(5000, top - 900.0)
    for place in (0, 2500, 4999):  # in the first batch, between, in the last
        some = values.copy()
        some[place] = top
        total = LogSumExp()
        for part in np.split(some, 50):
            total.add(part.astype("float32"))
        assert total.value() == pytest.approx(logsumexp(some), abs=1e-9)
        assert total.value() == pytest.approx(top, abs=1e-9)


class Known:
    """A model whose nats an image are known: 80 to 100, as float32 of the image's number."""

    noise_shapes: dict = {}
    parameters: dict = {}

    def terms(self, x, noise):
        number = 256 * x[:, 0, 0, 0] + x[:, 0, 0, 1]
        return Terms(T.cast(80 + 20 * T.sqr(T.sin(number)), "float32"), {})


def test_the_mean_over_a_test_set_loses_nothing():
    numbers = np.arange(10_000)  # an image's two pixels are its number
    pixels = np.stack([numbers // 256, numbers % 256], 1).astype("uint8").reshape(-1, 1, 1, 2)
    with fast_compile():
        evaluation = Bound(Known(), seed=0)(InMemory(pixels), "test")
    truth = 80 + 20 * np.sin(np.arange(10_000.0)) ** 2
    # Each image is rounded once, to 2⁻¹⁸ at most; what is summed is not rounded again.
    np.testing.assert_allclose(evaluation.values["bound"], truth, atol=1e-3)
    assert evaluation.mean("bound") == pytest.approx(truth.mean(), abs=1e-5)
    exact = np.float64(evaluation.values["bound"].astype("longdouble").mean())
    assert evaluation.mean("bound") == pytest.approx(exact, rel=1e-14)
    # Far from 0, where the sum in single precision would be off by some 0.1.
    values = Evaluation({"x": 1e4 + evaluation.values["bound"]})
    assert values.mean("x") == pytest.approx(1e4 + exact, rel=1e-13)


def tiny(name: str) -> MnistModel:
    return MnistModel(Settings(name, 1, 2, 2, 3, height=4, width=4), seed=0)


@pytest.mark.parametrize("name", ["conv-vae", "gated-pixelvae-noup"])
@pytest.mark.parametrize("scale", [1.0, 30.0, 1000.0])
def test_blank_and_full_images_have_finite_bounds(name, scale):
    """Whole models, with weights as training leaves them and with weights far too large."""
    model = tiny(name)
    x, noise = T.tensor4("x"), T.matrix("noise")
    terms = model.terms(x, {"z": noise})
    function = theano.function([x, noise], terms.reconstruction, mode="FAST_COMPILE")
    for variable in model.parameters.values():
        if variable.name and variable.name.split(".")[0] != "encoder":
            variable.set_value(variable.get_value() * np.float32(scale))
    images = np.stack([np.zeros((1, 4, 4)), np.ones((1, 4, 4))]).astype("float32")
    assert np.isfinite(function(images, np.ones((2, 2), "float32"))).all()


# -- Theano's own checks ------------------------------------------------------------------------


def _native(function, shapes) -> bool:
    inputs = [T.TensorType("float32", (False,) * len(shape))() for shape in shapes]
    nodes = gof.graph.io_toposort(inputs, as_list(function(*inputs)))
    return any(isinstance(node.op, NativeOp) for node in nodes)


OPERATIONS = {name: example for name, example in examples().items() if _native(*example)}


@pytest.mark.parametrize("name", OPERATIONS)
def test_theano_finds_no_fault_in_the_operations(name):
    """DebugMode: C against NumPy, views, memory that is reused, for an operation and its gradient."""
    operation, shapes = OPERATIONS[name]
    rng = np.random.RandomState(0)
    arrays = [rng.standard_normal(shape).astype("float32") for shape in shapes]
    inputs = [T.TensorType("float32", (False,) * a.ndim)() for a in arrays]
    output = as_list(operation(*inputs))[0]
    mode = theano.compile.debugmode.DebugMode(
        optimizer=None, check_py_code=True, require_matching_strides=False
    )
    gradients = theano.grad(output.sum(), inputs)
    function = theano.function(inputs, [output, *gradients], mode=mode)
    assert all(np.isfinite(result).all() for result in function(*arrays))
