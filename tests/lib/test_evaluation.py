"""Bounds and importance weights against closed forms, and the book-keeping of batches and noise."""

import numpy as np
import pytest
import theano
import theano.tensor as T
from scipy.special import logsumexp
from scipy.stats import multivariate_normal

from lib.errors import UserError
from lib.evaluation import Bound, ImportanceWeighted, LogSumExp
from lib.model import Terms
from lib.ops.gaussian import Gaussian, kl_to_standard, standard_log_density


class Arrays:
    """A data set of whole numbers between 0 and 3."""

    def __init__(self, count):
        self._images = np.random.RandomState(0).randint(0, 4, (count, 1, 1, 3)).astype("uint8")

    def size(self, split):
        return len(self._images)

    def images(self, split, start=0, stop=None):
        return self._images[start:stop]

    def batches(self, split, batch_size):
        for start in range(0, len(self._images), batch_size):
            yield self._images[start : start + batch_size]


class LinearGaussian:
    """p(z) = N(0, I), p(x|z) = N(Wz + b, s²), so log p(x) is known; q is near the true posterior, not equal."""

    latent_dim, noise_shapes, parameters = 2, {"z": (2,)}, {}
    W = np.array([[1.0, 0.3], [-0.5, 0.8], [0.2, 0.4]], "float32")
    b = np.array([1.5, 1.0, 2.0], "float32")
    s = 0.8

    def encode(self, x):
        precision = np.eye(2) + self.W.T @ self.W / self.s**2
        to_mean = np.linalg.solve(precision, self.W.T / self.s**2).astype("float32")
        mean = T.dot(x.flatten(2) - self.b, to_mean.T) + np.float32(0.1)
        sigma = np.sqrt(np.diag(np.linalg.inv(precision))).astype("float32")
        return Gaussian(mean, T.log(sigma * np.float32(1.2)) + T.zeros_like(mean))

    def _log_p(self, x, z):
        e = (x.flatten(2) - T.dot(z, self.W.T) - self.b) / np.float32(self.s)
        constant = np.float32(3 * np.log(self.s * np.sqrt(2 * np.pi)))
        return -0.5 * T.sqr(e).sum(axis=1) - constant

    def terms(self, x, noise):
        q = self.encode(x)
        return Terms(-self._log_p(x, q.sample(noise["z"])), {"kl": kl_to_standard(q)})

    def log_weights(self, x, mean, log_sigma, noise):
        q = Gaussian(mean, log_sigma)
        z = q.sample(noise)
        many = T.extra_ops.repeat(x, noise.shape[0], axis=0)
        return self._log_p(many, z) + standard_log_density(z) - q.log_density(z)

    def log_likelihood(self, images):
        covariance = self.W @ self.W.T + self.s**2 * np.eye(3)
        return multivariate_normal(self.b, covariance).logpdf(images.reshape(len(images), 3))


@pytest.fixture(autouse=True)
def compile_fast():
    with theano.configparser.change_flags(mode="FAST_COMPILE"):
        yield


def test_importance_weighting_finds_the_closed_form():
    model, data = LinearGaussian(), Arrays(12)
    truth = -model.log_likelihood(data.images("test"))
    estimate = ImportanceWeighted(model, seed=0)(data, "test", samples=4000)
    np.testing.assert_allclose(estimate.values["importance_weighted"], truth, atol=0.05)


def test_the_bound_lies_above_the_importance_weighted_estimate():
    model, data = LinearGaussian(), Arrays(12)
    bound = Bound(model, seed=0)(data, "test", samples=50)
    truth = -model.log_likelihood(data.images("test")).mean()
    gap = bound.mean("bound") - truth
    assert 0.01 < gap < 1.0
    weighted = ImportanceWeighted(model, seed=0)(data, "test", samples=20)
    assert truth - 0.05 < weighted.mean("importance_weighted") < bound.mean("bound")


def test_memory_is_bounded_by_the_batch_and_the_result_hardly_depends_on_it():
    model, data = LinearGaussian(), Arrays(3)
    largest = []

    class Watched(LinearGaussian):
        pass

    for batch_size in (7, 100):
        evaluation = ImportanceWeighted(Watched(), seed=0, batch_size=batch_size)
        function = evaluation._log_weights
        evaluation._log_weights = lambda x, m, s, noise, f=function: (
            largest.append(len(noise)),
            f(x, m, s, noise),
        )[1]
        estimate = evaluation(data, "test", samples=1000)
        assert max(largest) <= batch_size
        truth = -model.log_likelihood(data.images("test"))
        np.testing.assert_allclose(estimate.values["importance_weighted"], truth, atol=0.1)
        largest.clear()


def test_every_image_counts_once_with_its_own_noise():
    model, data = LinearGaussian(), Arrays(11)
    whole = Bound(model, seed=5, batch_size=4)(data, "valid")
    assert len(whole.values["bound"]) == 11
    part = Bound(model, seed=5, batch_size=4)(data, "valid", images=6)
    np.testing.assert_array_equal(part.values["bound"], whole.values["bound"][:6])
    other = Bound(model, seed=6, batch_size=4)(data, "valid")
    assert not np.allclose(other.values["bound"], whole.values["bound"])
    assert whole.se("bound") == pytest.approx(whole.values["bound"].std(ddof=1) / np.sqrt(11))


def test_more_images_than_there_are():
    with pytest.raises(UserError, match="--images 12 is more than the 11 images"):
        Bound(LinearGaussian(), seed=0)(Arrays(11), "test", images=12)


def test_log_sum_exp_in_parts():
    values = np.random.RandomState(0).randn(500) * 300 - 5000
    total = LogSumExp()
    for part in np.split(values, [3, 100, 101]):
        total.add(part.astype("float64"))
    assert total.value() == pytest.approx(logsumexp(values), rel=1e-12)


@pytest.mark.parametrize("values", [[0.0] * 10_000, [1e4, -1e4], [-np.inf, -3.0], [-np.inf]])
def test_log_sum_exp_of_extremes(values):
    total = LogSumExp()
    total.add(np.array(values))
    assert total.value() == pytest.approx(logsumexp(values))


@pytest.mark.parametrize("name", ["conv-vae", "pixelvae", "gated-pixelvae", "gated-pixelvae-noup"])
def test_one_image_shared_by_many_samples_weighs_as_its_copies_do(name):
    from models.mnist import MnistModel, Settings

    model = MnistModel(Settings(name, 1, 2, 2, 3, height=6, width=5))
    rng = np.random.RandomState(0)
    for value in model.parameters.values():
        value.set_value(
            value.get_value() + 0.2 * rng.randn(*value.get_value().shape).astype("float32")
        )
    one, many = T.TensorType("float32", (True, False, False, False))(), T.tensor4()
    posterior, noise = [T.row(), T.row()], T.matrix()
    rows = [p.repeat(4, axis=0) for p in posterior]
    shared = theano.function([one, *posterior, noise], model.log_weights(one, *posterior, noise))
    copied = theano.function([many, *posterior, noise], model.log_weights(many, *rows, noise))
    x = rng.randint(0, 2, (1, 1, 6, 5)).astype("float32")
    q = rng.randn(2, 1, 2).astype("float32")
    eps = rng.randn(4, 2).astype("float32")
    np.testing.assert_allclose(shared(x, *q, eps), copied(x.repeat(4, axis=0), *q, eps), rtol=1e-5)
