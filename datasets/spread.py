"""Some images of a split, evenly spaced: a fair part of a set that is sorted, as binarized MNIST's test set is."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from datasets.base import Dataset
from lib.errors import UserError


class Spread:
    """A view of `count` images of one split of a data set, every (size / count)-th; all where count is the size.

    Read once and kept in memory. Raises UserError where the split has fewer images.
    """

    def __init__(self, dataset: Dataset, split: str, count: int) -> None:
        size = dataset.size(split)
        if count > size:
            raise UserError(
                f"{count} images of the {split} split are asked for, and it has {size}: "
                f"choose from 1 to {size}",
                setting="images",
            )
        taken = (n * size // count for n in range(count))
        self._pixels = np.concatenate([dataset.images(split, n, n + 1) for n in taken])
        self._split = split

    def size(self, split: str) -> int:
        """Number of images in the view."""
        return len(self._of(split))

    def images(self, split: str, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Images `start` to `stop` (default: all the others): uint8 (n, C, H, W)."""
        return self._of(split)[start:stop]

    def batches(self, split: str, batch_size: int) -> Iterator[np.ndarray]:
        """All images of the view in order, as uint8 (n, C, H, W); the last batch may be smaller."""
        for start in range(0, self.size(split), batch_size):
            yield self.images(split, start, start + batch_size)

    def _of(self, split: str) -> np.ndarray:
        if split != self._split:
            raise ValueError(f"a view of the {self._split} split was asked for {split}")
        return self._pixels
