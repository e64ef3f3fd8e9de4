"""MNIST binarized anew in each epoch (Burda, Grosse & Salakhutdinov 2015), with labels.

A pixel is 1 with the probability that its grey value gives, v/255 exactly. Training draws all
images anew in each epoch, as a function of its seed, the epoch and the image's number; the
validation and the test images, and the training images outside of training, are drawn once, from
fixed seeds. Training and validation split are those of `mnist`.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
from fuel.datasets import IndexableDataset

from pixelvae.datasets import mnist
from pixelvae.datasets.base import IMAGES
from pixelvae.lib.data import SPLITS

_SEED = 20150901


def _binary(path: Path, split: str, seeds: tuple[int, ...]) -> IndexableDataset:
    part = mnist.RECIPE.part(path, split, IMAGES)
    (grey,) = part.get_data(request=slice(0, part.num_examples))
    # RandomState's numbers are the same with every NumPy.
    threshold = np.random.RandomState(seeds).randint(255, size=grey.shape, dtype=np.uint8)
    return IndexableDataset({IMAGES: (threshold < grey).view(np.uint8)})


def _part(path: Path, split: str, source: str) -> Any:
    if source != IMAGES:
        return mnist.RECIPE.part(path, split, source)
    return _binary(path, split, (_SEED, SPLITS.index(split)))


def _draw(path: Path, seed: int, epoch: int) -> IndexableDataset:
    return _binary(path, "train", (_SEED, seed, epoch))


RECIPE = dataclasses.replace(
    mnist.RECIPE,
    name="mnist_dynamic",
    about="MNIST, 28×28, two values, training images drawn anew in each epoch, with labels",
    levels=2,
    part=_part,
    draw=_draw,
    stored_as="mnist",
    remark="drawn from MNIST's grey values: numbers on it are not those of binarized_mnist",
)
