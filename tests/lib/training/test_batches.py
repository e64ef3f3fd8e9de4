"""What iterations are computed from, and how long their steps take."""

import numpy as np
from tiny_training import SETTINGS, Images, compile_once, recipe  # noqa: F401

from pixelvae.lib import noise
from pixelvae.lib.training.batches import augmented, batches, kept_maps, timed_step
from pixelvae.lib.training.step import TrainingStep
from pixelvae.models.mnist.model import MnistModel


def first(count, start=0, **changes):
    how, data = recipe(9, **changes), Images()
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


def test_what_keeps_a_model_general_is_a_function_of_the_iteration_alone():
    changes = dict(dropout=0.3, shifted=0.5, mirrored=0.5)
    whole = first(7, **changes)
    for later, batch in zip(first(3, start=4, **changes), whole[4:]):
        assert np.array_equal(later.images, batch.images)
        assert all(np.array_equal(a, b) for a, b in zip(later.noise, batch.noise))
    plain = first(7)
    assert any((a.images != b.images).any() for a, b in zip(plain, whole))
    assert all(np.array_equal(a.noise[0], b.noise[0]) for a, b in zip(plain, whole))
    assert not np.array_equal(whole[0].noise[1], whole[1].noise[1])
    assert whole[4].noise[1].shape == (3, MnistModel(SETTINGS).droppable)


def test_maps_are_dropped_with_the_given_probability_and_keep_their_mean():
    kept = kept_maps(50, 0.2, seed=1, t=7, count=400)
    assert kept.dtype == np.float32 and set(np.unique(kept)) == {np.float32(0), np.float32(1 / 0.8)}
    assert abs((kept == 0).mean() - 0.2) < 0.01


def test_images_are_moved_by_a_pixel_to_each_side_or_mirrored():
    images = np.random.RandomState(0).randint(1, 256, (900, 2, 4, 5)).astype("uint8")
    before = images.copy()
    moved = augmented(images, recipe(1, shifted=0.4), 3)
    canvas = np.zeros((2, 6, 7), "uint8")
    counts = np.zeros((3, 3), int)
    for image, result in zip(before, moved):
        canvas[:, 1:-1, 1:-1] = image
        places = [(y, x) for y in range(3) for x in range(3)]
        (found,) = (
            at
            for at in places
            if np.array_equal(canvas[:, at[0] : at[0] + 4, at[1] : at[1] + 5], result)
        )
        counts[found] += 1
    assert (
        abs(counts[1, 1] / 900 - 0.6) < 0.05 and counts.min() > 25
    )  # of 45 each, but for the middle
    turned = augmented(images, recipe(1, mirrored=0.5), 3)
    flips = np.array([np.array_equal(t, i[..., ::-1]) for t, i in zip(turned, before)])
    assert abs(flips.mean() - 0.5) < 0.05 and np.array_equal(turned[~flips], before[~flips])
    assert np.array_equal(images, before)  # they are the data set's


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
