"""on_ranks.py FOLDER: trains, evaluates and samples two small models on the ranks that it is started on.

Rank 0 writes FOLDER/results.npz, which must not depend on how many there are.
"""

from __future__ import annotations

import sys
from itertools import islice
from pathlib import Path

import numpy as np
from small_models import small

from pixelvae.lib.evaluation import Bound, ImportanceWeighted
from pixelvae.lib.model import draw_noise
from pixelvae.lib.sampling import ImageSampler
from pixelvae.lib.training.recipe import Recipe
from pixelvae.lib.training.statistics import MovingStatistics
from pixelvae.lib.training.step import NotFinite, TrainingStep
from pixelvae.machine.errors import NotFiniteError, UserError
from pixelvae.machine.parallel.world import join, world

STEPS = 50


class Images:
    """Random images, for evaluation; a training stream of 23 of them in batches of 7, the last one of 2."""

    name, checksum, remarks = "images", "0", ()

    def __init__(self, model):
        self.levels, self.image_shape = model.levels, model.image_shape
        shape = (23, *model.image_shape)
        self._images = np.random.RandomState(1).randint(0, model.levels, shape).astype("uint8")

    def size(self, split):
        return len(self._images)

    def images(self, split, start=0, stop=None):
        return self._images[start:stop]

    def training_stream(self, batch_size, seed, start=0):
        starts = range(0, len(self._images), batch_size)
        while True:
            at = starts[start % len(starts)]
            yield self._images[at : at + batch_size]
            start += 1


def schedule(names):
    return lambda t: {"learning_rate": 0.01, **dict.fromkeys(names, 0.5)}


def gated():
    """Uneven slices, and batches of fewer images than ranks; evaluation and samples before them."""
    model = small("gated-pixelvae-noup")
    data = Images(model)
    bound = Bound(model, seed=3, batch_size=4)
    values = bound(data, "valid", samples=2).values
    weighted = ImportanceWeighted(model, seed=3, batch_size=5)(data, "valid", samples=12).values
    sampler = ImageSampler(model)
    sampler.batch = 3
    images = sampler.sample(11, seed=4)

    recipe = Recipe(STEPS, 7, STEPS, 0, schedule(["alpha"]), clip_norm=5.0, average_decay=0.9)
    step, costs = TrainingStep(model, recipe), []
    for t, batch in enumerate(islice(data.training_stream(7, 0), STEPS), start=1):
        noise = draw_noise(model, 0, "training", t, len(batch))
        costs.append(step(batch, noise, recipe.schedule(t)))
    world().check_same({"weights of checksum": step.checksum()}, "they are to be the same")

    # One rank's NaN is everybody's, and nothing is changed by it.
    before = step.state()
    noise[0][-1] = np.nan
    try:
        step(batch, noise, recipe.schedule(1))
    except NotFinite as trouble:
        assert trouble.bad_gradients()
    else:
        raise AssertionError("a step with NaN was taken")
    assert all((before[name] == array).all() for name, array in step.state().items())
    # As is an image's that cannot be evaluated: the first one is named, whoever met it.
    name = model.parameters.trained[0]
    name.set_value(name.get_value() * np.nan)
    try:
        bound(data, "valid")
    except NotFiniteError as problem:
        refused = str(problem)
    return {
        "costs": np.array(costs), "images": images, "refused": np.array(refused),
        **{f"bound.{n}": v for n, v in values.items()}, **weighted,
        **{f"state.{n}": v for n, v in before.items()},
    }  # fmt: skip


def hierarchical():
    """Batch norm sees each rank's slice: the slices of a batch hold the same images and noise."""
    model = small("hierarchical")
    data = Images(model)
    recipe = Recipe(
        STEPS, 12, STEPS, 0, schedule(["alpha1", "alpha2", "sigma_floor"]), clip_norm=5.0
    )
    step, costs = TrainingStep(model, recipe), []
    for t in range(1, STEPS + 1):
        pair = slice(2 * (t % 10), 2 * (t % 10) + 2)
        batch = np.tile(data.images("train")[pair], (6, 1, 1, 1))
        noise = [np.concatenate([n] * 6) for n in draw_noise(model, 0, "training", t, 2)]
        costs.append(step(batch, noise, recipe.schedule(t)))
    state = step.state()
    model = small("hierarchical")
    batches = (
        (batch, draw_noise(model, 0, "s", 0, len(batch))) for batch in data.training_stream(7, 0)
    )
    MovingStatistics(model)(batches, 5)
    moving = {
        n: v
        for n, v in model.parameters.arrays().items()
        if model.parameters[n] not in model.parameters.trained
    }
    assert moving
    return {
        "costs": np.array(costs), **{f"state.{n}": v for n, v in state.items()},
        **{f"moving.{n}": v for n, v in moving.items()},
    }  # fmt: skip


def main(folder: str) -> int:
    join()
    results = {
        f"{model.__name__}.{name}": value
        for model in (gated, hierarchical)
        for name, value in model().items()
    }
    sums = world().gather({name: value.tobytes() for name, value in results.items()})
    if any(other != sums[0] for other in sums):
        raise UserError("the ranks hold different results")
    if world().first:
        np.savez(Path(folder) / "results.npz", **results)
    return world().end(0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
