"""Random numbers as pure functions of a seed, a purpose and an index.

Nothing is remembered between calls, so resuming from iteration t needs nothing but t, and the noise
of one purpose does not shift when another draws more or less.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence

import numpy as np


def generator(seed: int, purpose: str, index: int) -> np.random.Generator:
    """The generator of one purpose and index, for noise that is drawn in several parts.

    What it draws does not depend on the parts: 3 and then 2 numbers are the same as 5.

    Parameters
    ----------
    seed, index
        Non-negative; the index is the iteration, or the number of the image or of the sample.
    purpose
        What the noise is for, such as "training posterior": different purposes are independent.
    """
    entropy = np.random.SeedSequence([seed, zlib.crc32(purpose.encode()), index])
    return np.random.Generator(np.random.PCG64(entropy))


def standard_normal(seed: int, purpose: str, index: int, shape: Sequence[int]) -> np.ndarray:
    """Standard normal noise, float32, of the given shape; parameters as in :func:`generator`."""
    return generator(seed, purpose, index).standard_normal(tuple(shape), dtype=np.float32)


def uniform(seed: int, purpose: str, index: int, shape: Sequence[int]) -> np.ndarray:
    """Uniform noise in [0, 1), float32; parameters as in :func:`generator`.

    Drawn in float32 (multiples of 2**-24): a float64 just below 1 would be rounded to 1.
    """
    return generator(seed, purpose, index).random(tuple(shape), dtype=np.float32)


def standard_normals(
    seed: int, purpose: str, indices: Iterable[int], shape: Sequence[int]
) -> np.ndarray:
    """Standard normal noise for several images, float32 (N, ...).

    Each image's is a function of its own index (10,000 images take 0.15 s), so that it depends
    neither on how images are batched nor on which others there are.
    """
    return _stack(standard_normal, seed, purpose, indices, shape)


def uniforms(seed: int, purpose: str, indices: Iterable[int], shape: Sequence[int]) -> np.ndarray:
    """Uniform noise for several images, float32 (N, ...), as :func:`standard_normals`."""
    return _stack(uniform, seed, purpose, indices, shape)


def _stack(draw, seed, purpose, indices, shape) -> np.ndarray:
    each = [draw(seed, purpose, int(index), shape) for index in indices]
    return np.stack(each) if each else np.zeros((0, *shape), np.float32)
