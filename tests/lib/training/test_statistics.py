"""Moving statistics: what they average over, and what they refuse."""

import numpy as np
import pytest
import theano

from pixelvae.lib.training.recipe import Recipe
from pixelvae.lib.training.statistics import MovingStatistics, batches_after
from pixelvae.machine.errors import NotFiniteError

pytestmark = pytest.mark.usefixtures("fast_compile")


class Moments:
    """A model that has the mean and variance of its images, 1×1, as moving statistics."""

    noise_shapes: dict = {}
    parameters: dict = {}

    def __init__(self):
        self.mean = theano.shared(np.zeros(1, "float32"), name="mean")
        self.variance = theano.shared(np.ones(1, "float32"), name="variance")

    def statistics(self, x, noise):
        return {self.mean: x.mean(axis=(0, 2, 3)), self.variance: x.var(axis=(0, 2, 3))}


class Pixels:
    """Images of one pixel, taken in order, epoch after epoch."""

    def __init__(self, values):
        self.values = np.array(values, "uint8").reshape(-1, 1, 1, 1)

    def size(self, split):
        return len(self.values)

    def training_stream(self, batch_size, seed, start=0):
        cuts = range(0, len(self.values), batch_size)
        batches = [self.values[at : at + batch_size] for at in cuts]
        while True:
            yield batches[start % len(batches)]
            start += 1


def averaged(values, batch, count, after=0):
    model = Moments()
    recipe = Recipe(1, batch, 1, 0, lambda t: {}, statistics_batches=count)
    batches = list(batches_after(model, Pixels(values), recipe, after))
    assert len(batches) == count
    MovingStatistics(model)(batches, count)
    return float(model.mean.get_value()[0]), float(model.variance.get_value()[0])


def test_a_batch_of_one_image_does_not_halve_the_variance():
    """Nine images in batches of eight: maps of 1×1 have no variance in the ninth alone."""
    values = [0, 8, 0, 8, 0, 8, 0, 8, 200]
    for after in (0, 1):  # also if the single image comes first
        for count in (1, 2, 5):
            assert averaged(values, 8, count, after) == pytest.approx((4, 16))


def test_each_image_counts_alike():
    first, last = [1, 3, 5, 7], [100, 102]
    mean, variance = averaged(first + last, 4, 2)
    assert mean == pytest.approx((4 * np.mean(first) + 2 * np.mean(last)) / 6)
    assert variance == pytest.approx((4 * np.var(first) + 2 * np.var(last)) / 6)


@pytest.mark.parametrize(("values", "batch"), [([7], 8), ([3, 5, 7], 1)])
def test_batches_of_one_image_are_taken_if_there_are_no_others(values, batch):
    assert averaged(values, batch, 3) == (np.mean(values), 0)


def test_statistics_that_are_not_finite_are_not_set():
    model = Moments()
    batch = np.zeros((2, 1, 1, 1), "uint8")

    class Overflowing(MovingStatistics):
        def _compile(self):
            super()._compile()
            self._function = lambda images: np.array([5.0, np.inf])

    with pytest.raises(NotFiniteError, match="moving statistic variance is not finite"):
        Overflowing(model)([(batch, [])], 1)
    assert (model.mean.get_value(), model.variance.get_value()) == (0, 1)
