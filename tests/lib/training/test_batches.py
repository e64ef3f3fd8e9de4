"""What iterations are computed from, and how long their steps take."""

import numpy as np
from tiny_training import SETTINGS, Images, compile_once, recipe  # noqa: F401

from pixelvae.lib import noise
from pixelvae.lib.training.batches import batches, timed_step
from pixelvae.lib.training.step import TrainingStep
from pixelvae.models.mnist.model import MnistModel


def first(count, start=0):
    how, data = recipe(9), Images()
    stream = data.training_stream(how.batch_size, how.seed, start)
    return [b for b, _ in zip(batches(MnistModel(SETTINGS), how, stream, start), range(count))]


def test_a_batch_is_a_function_of_the_iteration_alone():
    whole = first(7)
    for later, batch in zip(first(3, start=4), whole[4:]):
        assert np.array_equal(later.images, batch.images)
        assert all(np.array_equal(a, b) for a, b in zip(later.noise, batch.noise))
        assert later.scalars == batch.scalars
    ((name, shape),) = MnistModel(SETTINGS).noise_shapes.items()
    assert len(whole[4].images) == 3 and whole[4].scalars == {"learning_rate": 0.01, "alpha": 1.0}
    drawn = noise.standard_normal(3, f"training {name}", 5, (3, *shape))
    assert np.array_equal(whole[4].noise[0], drawn)


def test_timed_steps_are_those_of_a_training(compile_once):  # noqa: F811
    how = recipe(9)
    reference = TrainingStep(MnistModel(SETTINGS), how)
    for batch in first(3):
        reference(*batch)
    expected = reference.state()
    ticks = iter([1.0, 1.5, 7.0, 9.0, 9.0, 10.0])
    model, stream = MnistModel(SETTINGS), Images().training_stream(how.batch_size, how.seed)
    take = timed_step(model, how, stream, lambda: next(ticks))
    assert [take() for _ in range(3)] == [0.5, 2.0, 1.0]
    for variable, part in zip(
        model.parameters.trained, np.split(expected["packed"], np.cumsum(sizes(model))[:-1])
    ):
        assert np.array_equal(variable.get_value().ravel(), part), variable.name


def sizes(model):
    return [variable.get_value().size for variable in model.parameters.trained]
