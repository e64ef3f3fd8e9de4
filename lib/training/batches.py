"""The input of training's iterations: images, their noise and the schedule's scalars."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

import numpy as np

from pixelvae.lib.model import Model, draw_noise
from pixelvae.lib.training.recipe import Recipe
from pixelvae.lib.training.step import TrainingStep


class Batch(NamedTuple):
    """The arguments of a :class:`pixelvae.lib.training.step.TrainingStep`."""

    images: np.ndarray  # uint8 (N, C, H, W)
    noise: list[np.ndarray]  # (N, ...) each, in the order of the model's noise_shapes
    scalars: Mapping[str, float]


def batches(
    model: Model, recipe: Recipe, stream: Iterable[np.ndarray], start: int = 0
) -> Iterator[Batch]:
    """The batches of iterations ``start`` + 1, ``start`` + 2, …, one for each in the stream."""
    for t, images in enumerate(stream, start + 1):
        noise = draw_noise(model, recipe.seed, "training", t, len(images))
        yield Batch(images, noise, recipe.schedule(t))


def timed_step(
    model: Model,
    recipe: Recipe,
    stream: Iterable[np.ndarray],
    clock: Callable[[], float] = time.perf_counter,
) -> Callable[[], float]:
    """Compiles the step of a training that begins with ``model``.

    Returns
    -------
    a function that takes the next step and gives its seconds by the clock, drawing noise included
    """
    step, following = TrainingStep(model, recipe), batches(model, recipe, stream)

    def take() -> float:
        start = clock()
        step(*next(following))
        return clock() - start

    return take
