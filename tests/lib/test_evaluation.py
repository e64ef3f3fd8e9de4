"""Bounds and importance weights against closed forms, and the book-keeping of batches and noise."""

import numpy as np
import pytest
import theano
import theano.tensor as T
from scipy.special import logsumexp
from scipy.stats import multivariate_normal

from pixelvae.datasets.memory import InMemory
from pixelvae.lib.evaluation import Bound, ImportanceWeighted, LogSumExp
from pixelvae.lib.model import Terms
from pixelvae.lib.ops.gaussian import Gaussian, StandardNormal, kl
from pixelvae.machine.errors import NotFiniteError, UserError

pytestmark = pytest.mark.usefixtures("fast_compile")


def pixels(count, levels=4, shape=(1, 1, 3)):
    """Images of whole numbers from 0 to levels - 1."""
    return np.random.RandomState(0).randint(0, levels, (count, *shape)).astype("uint8")


def arrays(count):
    """A data set of whole numbers between 0 and 3."""
    return InMemory(pixels(count))


class LinearGaussian:
    """p(z) = N(0, I), p(x|z) = N(Wz + b, s²), so log p(x) is known; q is near the true posterior, not equal."""

    noise_shapes: dict = {"z": (2,)}
    parameters: dict = {}
    W = np.array([[1.0, 0.3], [-0.5, 0.8], [0.2, 0.4]], "float32")
    b = np.array([1.5, 1.0, 2.0], "float32")
    s = 0.8

    def posteriors(self, x):
        precision = np.eye(2) + self.W.T @ self.W / self.s**2
        to_mean = np.linalg.solve(precision, self.W.T / self.s**2).astype("float32")
        mean = T.dot(x.flatten(2) - self.b, to_mean.T) + np.float32(0.1)
        sigma = np.sqrt(np.diag(np.linalg.inv(precision))).astype("float32")
        return {"z": Gaussian(mean, T.log(sigma * np.float32(1.2)) + T.zeros_like(mean))}

    def _log_p(self, x, z):
        e = (x.flatten(2) - T.dot(z, self.W.T) - self.b) / np.float32(self.s)
        constant = np.float32(3 * np.log(self.s * np.sqrt(2 * np.pi)))
        return -0.5 * T.sqr(e).sum(axis=1) - constant

    def terms(self, x, noise):
        q = self.posteriors(x)["z"]
        return Terms(-self._log_p(x, q.sample(noise["z"])), {"kl": kl(q, StandardNormal())})

    def log_weights(self, x, posteriors, noise):
        q = posteriors["z"]
        z = q.sample(noise["z"])
        many = T.extra_ops.repeat(x, z.shape[0], axis=0)
        return self._log_p(many, z) + StandardNormal().log_density(z) - q.log_density(z)

    def log_likelihood(self, images):
        covariance = self.W @ self.W.T + self.s**2 * np.eye(3)
        return multivariate_normal(self.b, covariance).logpdf(images.reshape(len(images), 3))


def test_importance_weighting_finds_the_closed_form():
    model, data = LinearGaussian(), arrays(12)
    truth = -model.log_likelihood(data.images("test"))
    estimate = ImportanceWeighted(model, seed=0)(data, "test", samples=4000)
    np.testing.assert_allclose(estimate.values["importance_weighted"], truth, atol=0.05)


def test_the_bound_lies_above_the_importance_weighted_estimate():
    model, data = LinearGaussian(), arrays(12)
    bound = Bound(model, seed=0)(data, "test", samples=50)
    truth = -model.log_likelihood(data.images("test")).mean()
    gap = bound.mean("bound") - truth
    assert 0.01 < gap < 1.0
    weighted = ImportanceWeighted(model, seed=0)(data, "test", samples=20)
    assert truth - 0.05 < weighted.mean("importance_weighted") < bound.mean("bound")


def test_two_stages_estimate_what_all_samples_would_give():
    model, data, name = LinearGaussian(), arrays(120), "importance_weighted"
    estimate = ImportanceWeighted(model, seed=0, batch_size=2)
    stages = estimate.in_two_stages(data, "test", few=2, samples=60, images=30)
    whole = estimate(data, "test", 2).values[name]
    there = {samples: estimate(data, "test", samples, 30).values[name] for samples in (2, 60)}
    np.testing.assert_array_equal(stages.whole.values[name], whole)
    np.testing.assert_array_equal(stages.gain.values["gain"], there[2] - there[60])
    summary = stages.summary()
    assert (summary["few"]["images"], summary["gain"]["images"]) == (120, 30)
    assert (summary["few"]["samples"], summary["gain"]["samples"]) == (2, 60)
    assert summary[name]["mean"] == pytest.approx(whole.mean() - (there[2] - there[60]).mean())
    assert summary[name]["se"] == pytest.approx(
        np.hypot(whole.std(ddof=1) / 120**0.5, (there[2] - there[60]).std(ddof=1) / 30**0.5)
    )
    truth = -model.log_likelihood(data.images("test")).mean()
    assert abs(summary[name]["mean"] - truth) < 3 * summary["gain"]["se"]
    with pytest.raises(ValueError, match="fewer"):
        estimate.in_two_stages(data, "test", 5, 5, 30)


def test_memory_is_bounded_by_the_batch_and_the_result_does_not_depend_on_it():
    data, estimates = arrays(3), []
    for batch_size in (7, 100, 5000):
        evaluation, largest = ImportanceWeighted(LinearGaussian(), 0, batch_size), []
        function = evaluation._log_weights

        def watched(x, m, s, noise, function=function, largest=largest):
            largest.append(len(noise))
            return function(x, m, s, noise)

        evaluation._log_weights = watched
        estimates.append(evaluation(data, "test", samples=1000).values["importance_weighted"])
        assert max(largest) == min(batch_size, 1000)
    np.testing.assert_allclose(
        estimates[0], -LinearGaussian().log_likelihood(data.images("test")), atol=0.1
    )
    for other in estimates[1:]:
        np.testing.assert_allclose(other, estimates[0], rtol=0, atol=1e-5)


def test_every_image_counts_once_with_its_own_noise():
    model, data = LinearGaussian(), arrays(11)
    whole = Bound(model, seed=5, batch_size=4)(data, "valid")
    assert len(whole.values["bound"]) == 11
    other = Bound(model, seed=6, batch_size=4)(data, "valid")
    assert not np.allclose(other.values["bound"], whole.values["bound"])
    assert whole.se("bound") == pytest.approx(whole.values["bound"].std(ddof=1) / np.sqrt(11))
    # Of equal images each has noise of its own.
    equal = InMemory(np.repeat(pixels(1), 11, axis=0))
    assert len(set(Bound(model, seed=5)(equal, "valid").values["bound"])) == 11


@pytest.mark.parametrize("samples", [1, 3])
@pytest.mark.parametrize("images", [1, 4, 6, 10, 11])
def test_an_image_has_its_value_whichever_others_are_evaluated(images, samples):
    model, data = LinearGaussian(), arrays(11)
    chosen = [n * 11 // images for n in range(images)]
    whole = Bound(model, seed=5, batch_size=4)(data, "test", samples=samples)
    part = Bound(model, seed=5, batch_size=3)(data, "test", images, samples)
    for name, values in whole.values.items():
        np.testing.assert_allclose(part.values[name], values[chosen], rtol=1e-6, err_msg=name)
    weigh = ImportanceWeighted(model, seed=5)
    name = "importance_weighted"
    whole, part = (weigh(data, "test", 20, n).values[name] for n in (None, images))
    np.testing.assert_array_equal(part, whole[chosen])


def test_a_bound_does_not_depend_on_the_batches():
    """A model of the paper's on 150 images, in batches of 1, 7 and 100."""
    from pixelvae.models.mnist.model import MnistModel, Settings

    model = MnistModel(Settings("gated-pixelvae-noup", 1, 2, 3, 3, height=6, width=5), seed=2)
    data = InMemory(pixels(150, 2, (1, 6, 5)))
    values = [Bound(model, 0, size)(data, "valid", samples=2).values for size in (1, 7, 100)]
    for other in values[1:]:
        for name in ("bound", "reconstruction", "kl"):
            np.testing.assert_allclose(other[name], values[0][name], rtol=0, atol=1e-5)
            assert other[name].mean() == pytest.approx(values[0][name].mean(), abs=1e-5)


class Broken(LinearGaussian):
    """Of a dark image nothing is finite, and of a bright one a single importance weight is not."""

    def terms(self, x, noise):
        terms = super().terms(x, noise)
        dark = T.eq(x.flatten(2).sum(axis=1), 0)
        return Terms(T.switch(dark, np.float32(np.nan), terms.reconstruction), terms.kls)

    def log_weights(self, x, posteriors, noise):
        weights = super().log_weights(x, posteriors, noise)
        bright = T.eq(x.sum(), 9) * T.eq(noise["z"][:, 0], noise["z"][:, 0].max())
        return T.switch(bright, np.float32(np.nan), weights)


def test_numbers_that_are_not_finite_are_not_reported():
    dark, bright = pixels(11), pixels(11)
    dark[[3, 5]], bright[4] = 0, 3
    data = InMemory(dark)
    with pytest.raises(NotFiniteError, match="reconstruction of image 3 of the valid split is nan"):
        Bound(Broken(), seed=0, batch_size=2)(data, "valid")
    # Evenly spaced: images 0, 5.
    with pytest.raises(NotFiniteError, match="image 5 of the test split"):
        Bound(Broken(), seed=0)(data, "test", images=2)
    data = InMemory(bright)
    with pytest.raises(NotFiniteError, match="weight of image 4 of the test split is nan"):
        ImportanceWeighted(Broken(), seed=0, batch_size=7)(data, "test", samples=20)


@pytest.mark.parametrize("images", [0, 12])
def test_more_images_than_there_are_or_none(images):
    with pytest.raises(UserError, match=f"{images} images of the test split .* it has 11"):
        Bound(LinearGaussian(), seed=0)(arrays(11), "test", images=images)


def test_one_image_has_no_standard_error():
    import json

    from pixelvae.machine.files.atomic import to_json

    summary = Bound(LinearGaussian(), seed=0)(arrays(11), "test", images=1).summary("bound")
    assert np.isfinite(summary["mean"]) and np.isnan(summary["se"])
    assert json.loads(to_json(summary), parse_constant=pytest.fail) == {**summary, "se": None}


def test_log_sum_exp_in_parts():
    values = np.random.RandomState(0).randn(500) * 300 - 5000
    total = LogSumExp()
    for part in np.split(values, [3, 100, 101]):
        total.add(part.astype("float64"))
    assert total.value() == pytest.approx(logsumexp(values), rel=1e-12)


@pytest.mark.parametrize(
    "values", [[0.0] * 10_000, [1e4, -1e4], [-np.inf, -3.0], [-np.inf], [np.inf, 1.0]]
)
def test_log_sum_exp_of_extremes(values):
    total = LogSumExp()
    total.add(np.array(values))
    assert total.value() == pytest.approx(logsumexp(values))


def test_log_sum_exp_forgets_no_nan():
    for parts in ([[np.nan, 1.0], [2.0]], [[1.0], [np.nan]], [[np.nan]], [[-np.inf], [np.nan]]):
        total = LogSumExp()
        for part in parts:
            total.add(np.array(part))
        assert np.isnan(total.value())


@pytest.mark.parametrize("name", ["conv-vae", "pixelvae", "gated-pixelvae", "gated-pixelvae-noup"])
def test_one_image_shared_by_many_samples_weighs_as_its_copies_do(name):
    from pixelvae.models.mnist.model import MnistModel, Settings

    model = MnistModel(Settings(name, 1, 2, 2, 3, height=6, width=5))
    rng = np.random.RandomState(0)
    for value in model.parameters.values():
        value.set_value(
            value.get_value() + 0.2 * rng.randn(*value.get_value().shape).astype("float32")
        )
    one, many = T.TensorType("float32", (True, False, False, False))(), T.tensor4()
    posterior, noise = [T.row(), T.row()], T.matrix()

    def weights(x, mean, log_sigma):
        return model.log_weights(x, {"z": Gaussian(mean, log_sigma)}, {"z": noise})

    rows = [p.repeat(4, axis=0) for p in posterior]
    shared = theano.function([one, *posterior, noise], weights(one, *posterior))
    copied = theano.function([many, *posterior, noise], weights(many, *rows))
    x = rng.randint(0, 2, (1, 1, 6, 5)).astype("float32")
    q = rng.randn(2, 1, 2).astype("float32")
    eps = rng.randn(4, 2).astype("float32")
    np.testing.assert_allclose(shared(x, *q, eps), copied(x.repeat(4, axis=0), *q, eps), rtol=1e-5)
