"""Random numbers as pure functions of a seed, a purpose and an index.

Nothing is remembered between calls, so going on from iteration t needs nothing but t, and the
noise of one purpose does not shift when another draws more or less.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np


def standard_normal(seed: int, purpose: str, index: int, shape: Sequence[int]) -> np.ndarray:
    """Standard normal noise, float32, of the given shape.

    Parameters
    ----------
    seed, index
        Non-negative; the index is the iteration, or the number of the batch or of the sample.
    purpose
        What the noise is for, such as "training posterior": different purposes are independent.
    """
    return _generator(seed, purpose, index).standard_normal(tuple(shape), dtype=np.float32)


def uniform(seed: int, purpose: str, index: int, shape: Sequence[int]) -> np.ndarray:
    """Uniform noise in [0, 1), float32; parameters as in :func:`standard_normal`.

    Drawn in float32 (multiples of 2**-24), for a float64 just below 1 would be rounded to 1.
    """
    return _generator(seed, purpose, index).random(tuple(shape), dtype=np.float32)


def _generator(seed: int, purpose: str, index: int) -> np.random.Generator:
    entropy = np.random.SeedSequence([seed, zlib.crc32(purpose.encode()), index])
    return np.random.Generator(np.random.PCG64(entropy))
