"""Values at the positions that are known so far, channels last."""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import as_strided

from pixelvae.lib.sampling.plan import Window


class Fixed:
    """What does not depend on the image: maps (N, C, H, W), or (N, C) for all positions."""

    def __init__(self, values: np.ndarray):
        maps = values.reshape(values.shape[:2] + (1, 1)) if values.ndim == 2 else values
        self._values = np.ascontiguousarray(maps.transpose(2, 0, 3, 1))
        self._height, _, self._width, _ = self._values.shape

    def row(self, i: int) -> np.ndarray:
        """(N, W, C); sizes may be 1, for NumPy to broadcast."""
        return self._values[i if self._height > 1 else 0]

    def pixel(self, i: int, j: int) -> np.ndarray:
        """(N, C)."""
        return self.row(i)[:, j if self._width > 1 else 0]


class Cache:
    """The last rows of a variable that depends on the image, with zeros around them.

    The rows take turns in ``window.rows`` slots. Those above the image read as zeros because
    nothing has been written into their slots yet.
    """

    def __init__(self, window: Window, images: int, width: int, channels: int, dtype: str):
        self._left, self._width = window.left, width
        padded = window.left + width + window.right
        self._slots = np.zeros((window.rows, images, padded, channels), dtype)
        self._newest: np.ndarray = np.empty(0)

    def row(self, i: int) -> np.ndarray:
        """(N, W, C)."""
        return self._slots[i % len(self._slots), :, self._left : self._left + self._width]

    def pixel(self, i: int, j: int) -> np.ndarray:
        """(N, C)."""
        return self._slots[i % len(self._slots), :, self._left + j]

    def newest(self, i: int, j: int) -> np.ndarray:
        """(N, C) at the pixel that was written last."""
        return self._newest

    def write_row(self, i: int, values: np.ndarray) -> None:
        """Take (N, W, C) as row i, over the oldest one."""
        self.row(i)[:] = values

    def write_pixel(self, i: int, j: int, values: np.ndarray) -> None:
        """Take (N, C) as pixel (i, j); with no rows to keep, it is only the newest."""
        self._newest = values
        if len(self._slots):
            self.pixel(i, j)[:] = values

    def strips(self, first: int, count: int) -> np.ndarray:
        """A view (slots, N, W, count * C) with ``count`` pixels, from j + first on, at each j."""
        slots, images, _, channels = self._slots.shape
        return as_strided(
            self._slots[:, :, self._left + first :],
            (slots, images, self._width, count * channels),
            self._slots.strides,
            writeable=False,
        )
