"""What training, evaluation and figures ask of a data set."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np

SPLITS = ("train", "valid", "test")


class Dataset(Protocol):
    """Images in the splits "train", "valid" and "test", whole numbers from 0 to `levels` − 1.

    `pixelvae.datasets.open_dataset` gives one by name, `pixelvae.datasets.memory.InMemory` makes
    one of arrays.
    """

    @property
    def name(self) -> str:
        """What opens it again. For data of one's own a place, which may change: no identity."""

    @property
    def checksum(self) -> str:
        """SHA-256 of the content in hexadecimal digits, wherever it lies: this is its identity."""

    @property
    def levels(self) -> int:
        """How many values a pixel can have: 2 for binary images, 256 for grey and colour ones."""

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of an image."""

    @property
    def remarks(self) -> Sequence[str]:
        """Remarks that belong beside every number measured on it, one line each; mostly none.

        That its counts are not those of the published set, that test images occur in training, …
        """

    def size(self, split: str) -> int:
        """Number of images in the split."""

    def images(self, split: str, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Images `start` to `stop` (default: all the others) of a split: uint8 (n, C, H, W).

        They are the caller's to change. Raises UserError if the split has fewer.
        """

    def labels(self, split: str) -> np.ndarray:
        """Classes of a split's images, uint8 or uint16 (size(split),).

        Raises UserError if it has none.
        """

    def batches(self, split: str, batch_size: int) -> Iterator[np.ndarray]:
        """All images of a split in order, as uint8 (n, C, H, W); the last batch may be smaller."""

    def training_stream(self, batch_size: int, seed: int, start: int = 0) -> Iterator[np.ndarray]:
        """Endless batches of training images, uint8 (n, C, H, W), in a new order each epoch.

        The order is a function of `seed` and epoch alone. `start` batches were taken before: the
        stream continues with the next one.
        """
