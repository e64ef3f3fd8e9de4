"""Convolutions of cached rows as matrix products."""

from __future__ import annotations

from itertools import groupby
from typing import Callable, Optional, Sequence

import numpy as np

from pixelvae.lib.sampling.cache import Cache


class Strip:
    """The taps of one row of a kernel; the pixels under them lie side by side, as one vector.

    ``row`` and ``columns`` are the taps' offsets, ``weights`` (count * C, O).
    """

    def __init__(self, cache: Cache, row: int, columns: Sequence[int], w: np.ndarray):
        self.row, self.columns = row, list(columns)
        self.weights = np.ascontiguousarray(w.transpose(2, 1, 0).reshape(-1, len(w)))
        self._inputs = cache.strips(columns[0], len(columns))

    def at_row(self, i: int) -> np.ndarray:
        """(N, W, count * C): what the taps see from the pixels of row i."""
        return self._inputs[(i + self.row) % len(self._inputs)]

    def at_pixel(self, i: int, j: int) -> np.ndarray:
        """(N, count * C)."""
        return self.at_row(i)[:, j]

    def product(self, read: Callable) -> Callable:
        """A function (i, j) -> (N, O) of the inputs that ``read(i, j)`` gives."""
        weights = self.weights
        return lambda i, j: read(i, j) @ weights


def strips(cache: Cache, offsets: Sequence[tuple], w: np.ndarray) -> list[Strip]:
    """The strips of a kernel w (O, C, taps), whose taps are in raster order."""
    result, first = [], 0
    for row, taps in groupby(offsets, key=lambda at: at[0]):
        columns = [column for _, column in taps]
        result.append(Strip(cache, row, columns, w[:, :, first : first + len(columns)]))
        first += len(columns)
    return result


class RowConvolution:
    """Sum of strips, and a bias (O,), over a whole row: one matrix product."""

    def __init__(self, strips: Sequence[Strip], bias: Optional[np.ndarray]):
        self._strips, self._bias = strips, bias
        self._weights = np.concatenate([s.weights for s in strips])
        shape = strips[0].at_row(0).shape[:2]
        self._inputs = np.empty(shape + self._weights.shape[:1], self._weights.dtype)

    def __call__(self, i: int) -> np.ndarray:
        """(N, W, O)."""
        first = 0
        for strip in self._strips:
            last = first + len(strip.weights)
            self._inputs[:, :, first:last] = strip.at_row(i)
            first = last
        n, width, depth = self._inputs.shape
        result = self._inputs.reshape(n * width, depth) @ self._weights
        if self._bias is not None:
            result += self._bias
        return result.reshape(n, width, -1)
