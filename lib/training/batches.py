"""The input of training's iterations: images, their noise and the schedule's scalars."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

import numpy as np

from pixelvae.lib import noise
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
        drawn = draw_noise(model, recipe.seed, "training", t, len(images))
        if recipe.dropout:
            drawn.append(kept_maps(model.droppable, recipe.dropout, recipe.seed, t, len(images)))
        yield Batch(augmented(images, recipe, t), drawn, recipe.schedule(t))


def kept_maps(maps: int, dropout: float, seed: int, t: int, count: int) -> np.ndarray:
    """Factors of ``count`` images' maps (count, maps), whose mean is 1: 0 for those dropped."""
    kept = noise.uniform(seed, "dropout", t, (count, maps)) >= dropout
    return kept / np.float32(1 - dropout)


def augmented(images: np.ndarray, recipe: Recipe, t: int) -> np.ndarray:
    """The images (N, C, H, W) of iteration t, some of them mirrored or moved by a pixel."""
    if recipe.mirrored:
        chosen = noise.uniform(recipe.seed, "mirrored", t, (len(images), 1, 1, 1))
        images = np.where(chosen < recipe.mirrored, images[..., ::-1], images)
    if recipe.shifted:
        rng, (height, width) = noise.generator(recipe.seed, "shifted", t), images.shape[2:]
        chosen, sides = rng.random(len(images)) < recipe.shifted, rng.integers(8, size=len(images))
        framed = np.pad(images, ((0, 0), (0, 0), (1, 1), (1, 1)))  # what comes in is 0
        images = images.copy()
        for i in np.flatnonzero(chosen):
            top, left = divmod(sides[i] + (sides[i] > 3), 3)  # of 3×3 places all but the middle
            images[i] = framed[i, :, top : top + height, left : left + width]
    return images


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
