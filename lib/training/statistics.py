"""Moving statistics of batch norm, averaged over training batches just before a model is tested."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

import numpy as np
import theano
import theano.tensor as T

from pixelvae.lib.data import Dataset
from pixelvae.lib.model import Model, MovingModel, draw_noise, noise_variables
from pixelvae.lib.training.recipe import Recipe
from pixelvae.machine.console.compiling import compiling
from pixelvae.machine.errors import NotFiniteError
from pixelvae.machine.parallel.world import share


class MovingStatistics:
    """Sets a model's moving statistics to averages over batches; compiled at the first call."""

    def __init__(self, model: MovingModel) -> None:
        self._model = model
        self._function: Any = None

    def _compile(self) -> None:
        images, noise = T.tensor4("images", dtype="uint8"), noise_variables(self._model)
        values = self._model.statistics(T.cast(images, theano.config.floatX), noise)
        self._targets = list(values)
        with compiling("the batch statistics", len(self._model.parameters) // 2):
            self._function = theano.function(
                [images, *noise.values()],
                T.concatenate([v.flatten() for v in values.values()]),
                on_unused_input="ignore",  # what the last layers draw touches no statistic
            )

    def __call__(self, batches: Iterable[tuple[np.ndarray, list[np.ndarray]]], count: int) -> None:
        """Average over ``count`` batches of images (N, C, H, W) with their noise.

        Each image counts alike.

        Raises
        ------
        NotFiniteError
            A statistic is NaN or infinite; all stay as they were.
        """
        if self._function is None:
            self._compile()
        numbered = enumerate(batches)

        def of_batch(number: int) -> tuple[np.ndarray, int]:
            images, noise = next(batch for n, batch in numbered if n == number)
            return len(images) * np.asarray(self._function(images, *noise), "float64"), len(images)

        sums, sizes = zip(*share(of_batch, count))
        lengths = [target.get_value(borrow=True).size for target in self._targets]
        averages = np.split(sum(sums) / sum(sizes), np.cumsum(lengths)[:-1])
        for target, average in zip(self._targets, averages):
            if not np.isfinite(average).all():
                raise NotFiniteError(f"the moving statistic {target.name} is not finite")
        for target, average in zip(self._targets, averages):
            target.set_value(average.astype(target.dtype))


def batches_after(
    model: Model, dataset: Dataset, recipe: Recipe, iteration: int
) -> Iterator[tuple[np.ndarray, list[np.ndarray]]]:
    """The ``recipe.statistics_batches`` training batches after an iteration, with their noise.

    A batch of one image is passed over unless all are of one: maps of 1×1 have no variance in it.
    """
    least = min(2, recipe.batch_size, dataset.size("train"))
    stream = dataset.training_stream(recipe.batch_size, recipe.seed, start=iteration)
    whole = (images for images in stream if len(images) >= least)
    for index, images in enumerate(islice(whole, recipe.statistics_batches)):
        yield images, draw_noise(model, recipe.seed, "statistics", index, len(images))
