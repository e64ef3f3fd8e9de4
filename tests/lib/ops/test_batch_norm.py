"""Batch norm while training and with known statistics of both kinds; averaging the latter."""

from __future__ import annotations

import numpy as np
import pytest
import theano
import theano.tensor as T
from compiled import BOTH, PYTHON, apply
from theano.tensor import verify_grad

from pixelvae.lib.layers.norm import BatchNorm as Layer
from pixelvae.lib.layers.norm import BatchStatistics, KnownStatistics
from pixelvae.lib.layers.parameters import Parameters
from pixelvae.lib.ops.batch_norm import BatchNorm, BatchNormGradient, batch_norm_inference
from pixelvae.lib.training.statistics import MovingStatistics

RNG = np.random.RandomState(0)
X = (3 + 2 * RNG.standard_normal((4, 3, 5, 6))).astype("float64")
SCALE, OFFSET = np.array([0.5, 1.0, 2.0]), np.array([1.0, 0.0, -1.0])
MEAN, VARIANCE = np.array([3.0, 2.0, 4.0]), np.array([4.0, 1.0, 9.0])


def by_hand(x, mean, variance):
    """One channel after another; mean and variance (N or 1, C)."""
    y = np.empty_like(x)
    for n in range(len(x)):
        for c in range(x.shape[1]):
            row = n if len(mean) > 1 else 0
            root = np.sqrt(variance[row, c] + 0.01)
            y[n, c] = SCALE[c] * (x[n, c] - mean[row, c]) / root + OFFSET[c]
    return y


@pytest.mark.parametrize("mode", BOTH)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_training_normalises_by_the_batch(mode, dtype):
    y, mean, variance = apply(
        BatchNorm(), *[a.astype(dtype) for a in (X, SCALE, OFFSET)], mode=mode
    )
    tolerance = dict(rtol=0, atol=1e-5 if dtype == "float32" else 1e-12)
    true_mean = [np.mean(X[:, c]) for c in range(3)]
    true_variance = [np.mean((X[:, c] - true_mean[c]) ** 2) for c in range(3)]
    np.testing.assert_allclose(mean, true_mean, **tolerance)
    np.testing.assert_allclose(variance, true_variance, **tolerance)
    truth = by_hand(X, np.array([true_mean]), np.array([true_variance]))
    np.testing.assert_allclose(y, truth, **tolerance)


def test_gradients():
    with theano.configparser.change_flags(mode=PYTHON):
        verify_grad(lambda *a: BatchNorm()(*a)[0], [X, SCALE, OFFSET], rng=RNG)


def test_the_gradient_in_c_is_that_of_numpy():
    arrays = X, SCALE, MEAN, VARIANCE, RNG.standard_normal(X.shape)
    for fast, plain in zip(*(apply(BatchNormGradient(), *arrays, mode=mode) for mode in BOTH)):
        np.testing.assert_allclose(fast, plain, rtol=1e-10, atol=1e-12)


def test_shapes_that_do_not_fit_are_refused():
    for mode in BOTH:
        with pytest.raises(ValueError, match="shapes do not fit"):
            apply(BatchNorm(), X, SCALE[:2], OFFSET, mode=mode)


@pytest.mark.parametrize("own", [0.0, 0.25])
def test_known_statistics_plain_and_blended(own):
    arrays = [theano.shared(a) for a in (SCALE, OFFSET, MEAN, VARIANCE)]
    y = batch_norm_inference(theano.shared(X), *arrays, own=own).eval()
    item_mean = np.array([[np.mean(X[n, c]) for c in range(3)] for n in range(4)])
    item_variance = np.array([[np.var(X[n, c]) for c in range(3)] for n in range(4)])
    mean = own * item_mean + (1 - own) * MEAN
    variance = own * item_variance + (1 - own) * VARIANCE
    np.testing.assert_allclose(y, by_hand(X, mean, variance), rtol=0, atol=1e-7)


class OneNorm:
    """A model of one batch norm over the image itself."""

    noise_shapes = {"z1": (2,)}

    def __init__(self):
        self.parameters = Parameters(0)
        self.layer = Layer(self.parameters, "norm", 3)

    def statistics(self, x, noise):
        norm = BatchStatistics()
        norm(self.layer, x)
        return norm.values


def test_moving_statistics_are_the_average_over_batches():
    model = OneNorm()
    batches = [RNG.randint(0, 256, (n, 3, 2, 2)).astype("uint8") for n in (5, 3)]
    noise = np.zeros((5, 2), "float32")
    moving = MovingStatistics(model)
    for _ in range(2):  # the second time forgets the first
        moving(((images, [noise[: len(images)]]) for images in batches), len(batches))
        weights = [5, 3]  # each image counts alike
        mean = np.average([b.mean(axis=(0, 2, 3)) for b in batches], axis=0, weights=weights)
        variance = np.average([b.var(axis=(0, 2, 3)) for b in batches], axis=0, weights=weights)
        np.testing.assert_allclose(model.layer.mean.get_value(), mean, rtol=1e-5)
        np.testing.assert_allclose(model.layer.variance.get_value(), variance, rtol=1e-5)


def test_moving_statistics_are_saved_and_not_trained():
    model = OneNorm()
    assert list(model.parameters) == ["norm.scale", "norm.offset", "norm.mean", "norm.variance"]
    assert [v.name for v in model.parameters.trained] == ["norm.scale", "norm.offset"]


def test_an_item_is_normalised_whatever_else_is_in_its_batch():
    layer = OneNorm().layer
    x = T.tensor4()
    for own in (0.0, 0.25):
        f = theano.function([x], KnownStatistics(own)(layer, x), mode=PYTHON)
        together = f(X.astype("float32"))
        alone = f(X[1:2].astype("float32"))
        np.testing.assert_array_equal(together[1:2], alone)
