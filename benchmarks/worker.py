"""The jobs, done by this project: ``python -m benchmarks.worker``; see :mod:`benchmarks.protocol`.

Every job takes the model as a weights file, and ``inputs``, an .npz file of images (N, C, H, W) and
the noise of each latent under its name. Each imports what needs Theano itself, for the device is
chosen first: a GPU where ``PIXELVAE_DEVICE`` is cuda, else the CPU.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import replace
from functools import partial
from itertools import count, repeat
from typing import Any

import numpy as np

from benchmarks.protocol import serve
from pixelvae.models.weights import load


def _open(weights: str, inputs: str):
    """A model, images, and values of its lowest latent."""
    model: Any = load(weights).model
    with np.load(inputs) as file:
        return model, file["images"], file[model.latents[-1].name]


def _training(weights: str, inputs: str, images: int | None):
    """A model, and the recipe, with the scalars of its first iteration, and batches to train it."""
    loaded: Any = load(weights)
    with np.load(inputs) as file:
        batch, preset = file["images"], str(file["preset"])
    recipe = loaded.family.presets[preset].training.recipe(seed=0)
    first = recipe.schedule(1)
    return loaded.model, replace(recipe, schedule=lambda t: first), repeat(batch[:images])


def training_step(weights: str, inputs: str, images: int | None = None):
    """One step of a preset's training, with all images or so many."""
    from pixelvae.lib.training.batches import timed_step

    return timed_step(*_training(weights, inputs, images))


def profiled_step(weights: str, inputs: str):
    """The same; answers with the seconds of each kind of operation in all steps so far."""
    import theano

    from benchmarks.profile import Profile

    with theano.configparser.change_flags(profile=True):
        return Profile(*_training(weights, inputs, None))


def product(size: int):
    """A product of square matrices, as a convolution of as many places."""
    import theano

    from pixelvae.lib.ops.conv import Correlate

    rng = np.random.RandomState(0)
    x = theano.shared(rng.standard_normal((1, size, 1, size)).astype("float32"))
    w = theano.shared(rng.standard_normal((size, size, 1)).astype("float32"))
    return theano.function([], Correlate(1, 1, 1)(x, w)).fn


def bound(weights: str, inputs: str):
    """The bound of all images, as one batch."""
    from pixelvae.datasets.memory import InMemory
    from pixelvae.lib.evaluation import Bound

    model, images, _ = _open(weights, inputs)
    evaluate, dataset = Bound(model, 0, len(images)), InMemory(images)
    return lambda: evaluate(dataset, "test")


def importance(weights: str, inputs: str, samples: int):
    """The importance-weighted likelihood of one image, with that many samples."""
    from pixelvae.datasets.memory import InMemory
    from pixelvae.lib.evaluation import ImportanceWeighted

    model, batch, _ = _open(weights, inputs)
    evaluate, dataset = ImportanceWeighted(model, 0, len(batch)), InMemory(batch)
    return lambda: evaluate(dataset, "test", samples, 1)


class _Enough(Exception):
    pass


def _sampling(method: str, weights: str, inputs: str, passes: int):
    """As many images as there is noise, until so many values of each are drawn."""
    import theano.tensor as T

    from pixelvae.lib import noise as random_noise
    from pixelvae.lib.model import noise_variables
    from pixelvae.lib.sampling import Sampler

    model, images, z = _open(weights, inputs)
    name = model.latents[-1].name
    x, latent = T.tensor4("x"), noise_variables(model)[name]
    uniform = random_noise.uniform(0, "sample pixels", 0, images.shape)
    drawn = count(1)

    def draw(outputs, noise):
        if next(drawn) % passes == 0:
            raise _Enough
        return model.pixels.draw(outputs, noise)

    groups = model.image_shape[0]
    sampler = Sampler(x, model.decode(x, {name: latent}), [latent], draw, groups, method)

    def until_enough() -> None:
        with suppress(_Enough):
            sampler(uniform, z)

    return until_enough


JOBS = {
    **{job.__name__: job for job in (training_step, profiled_step, product, bound, importance)},
    **{f"{method}_sampling": partial(_sampling, method) for method in ("cached", "naive")},
}

if __name__ == "__main__":
    from pixelvae.machine.backend import device

    device.use("cuda" if os.environ.get("PIXELVAE_DEVICE") == "cuda" else "cpu")
    serve(JOBS)
