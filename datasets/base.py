"""A data set that is read through Fuel: images, labels and streams of batches, by split."""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Iterator, Sequence
from typing import Any, Callable

import numpy as np
from fuel.schemes import SequentialScheme
from fuel.streams import DataStream

from pixelvae.lib.data import SPLITS
from pixelvae.machine.errors import UserError
from pixelvae.machine.files.atomic import user_errors
from pixelvae.machine.threads import queued

IMAGES, LABELS = "features", "targets"  # Fuel's names for the two sources

#: Gives Fuel's data set that holds one source of one split. Raises UserError if there is none.
Part = Callable[[str, str], Any]

#: Gives Fuel's data set that holds the training images as they are drawn for a seed and an epoch.
Draw = Callable[[int, int], Any]


class FuelDataset:
    """A :class:`pixelvae.lib.data.Dataset` whose images Fuel reads, from memory or from the disk.

    Parameters
    ----------
    name
        The name that opened it.
    checksum
        SHA-256 of the content in hexadecimal digits; the same wherever it was converted.
    levels
        Number of values that a pixel can have, from 0: 2 for binary images, 256 for grey ones.
    part
        Called once for each split and source that is asked for.
    remarks
        Remarks that belong beside every number measured on it, one line each.
    draw
        Called for each epoch of training if its images are drawn anew; by default they are those
        of the training split.
    """

    def __init__(
        self,
        name: str,
        checksum: str,
        levels: int,
        part: Part,
        remarks: Sequence[str] = (),
        draw: Draw | None = None,
    ) -> None:
        self.name = name
        self.checksum = checksum
        self.levels = levels
        self.remarks = tuple(remarks)
        self._part = functools.lru_cache(maxsize=None)(part)
        self._draw: Draw = draw or (lambda seed, epoch: self._images("train"))

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of an image."""
        _, channels, height, width = self.images("train", 0, 1).shape
        return channels, height, width

    def size(self, split: str) -> int:
        """Number of images in the split."""
        return self._images(split).num_examples

    def images(self, split: str, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Images `start` to `stop` (default: all the others) of a split in the source's order.

        Returns
        -------
        uint8, shape (stop - start, C, H, W), values 0 to levels - 1

        Raises
        ------
        UserError
            The split is unknown or has fewer images.
        """
        size = self.size(split)
        stop = size if stop is None else stop
        if not 0 <= start <= stop <= size:
            raise UserError(
                f"images {start} to {stop} of the {split} split of {self.name} are asked for, "
                f"and it has {size}: ask for at most {size}"
            )
        with self._reading():
            return _read(self._images(split), slice(start, stop))

    def labels(self, split: str) -> np.ndarray:
        """Classes of a split's images in the same order: uint8 or uint16, shape (size(split),).

        Raises
        ------
        UserError
            The data set has no labels for this split.
        """
        part = self._part(_known(split), LABELS)
        with self._reading():
            return _read(part, slice(0, part.num_examples)).reshape(-1)

    def batches(self, split: str, batch_size: int) -> Iterator[np.ndarray]:
        """All images of a split in order, as uint8 (n, C, H, W); the last batch may be smaller."""
        indices = range(self.size(split))
        return self._batches(self._images(split), indices, _positive(batch_size))

    def training_stream(self, batch_size: int, seed: int, start: int = 0) -> Iterator[np.ndarray]:
        """Endless batches of training images, uint8 (n, C, H, W), in a new order each epoch.

        The order of an epoch is `RandomState([seed, epoch]).permutation(size)`, so that it depends
        on nothing that was drawn before. The last batch of an epoch may be smaller: no image is
        left out.

        Parameters
        ----------
        start
            Number of batches that were taken before: the stream continues with the next one,
            without reading those.
        """
        if not 0 <= seed < 2**32:
            raise UserError(f"the seed is {seed}: choose one from 0 to {2**32 - 1}")
        if start < 0:
            raise UserError(f"the stream cannot start at batch {start}: choose 0 or more")
        return self._epochs(_positive(batch_size), seed, start)

    def _epochs(self, batch_size: int, seed: int, start: int) -> Iterator[np.ndarray]:
        size = self.size("train")
        epoch, taken = divmod(start, -(-size // batch_size))
        while True:
            order = np.random.RandomState([seed, epoch]).permutation(size)
            left = order[taken * batch_size :].tolist()
            yield from self._batches(self._draw(seed, epoch), left, batch_size)
            epoch, taken = epoch + 1, 0

    def _batches(self, images: Any, indices: Any, batch_size: int) -> Iterator[np.ndarray]:
        with self._reading():
            scheme = SequentialScheme(indices, batch_size)
            stream = DataStream(images, iteration_scheme=scheme)
            try:
                for (batch,) in stream.get_epoch_iterator():
                    yield batch
            finally:
                stream.close()

    def _images(self, split: str) -> Any:
        return self._part(_known(split), IMAGES)

    @contextlib.contextmanager
    def _reading(self) -> Iterator[None]:
        """A disk or network that fails while data are read is one line."""
        with user_errors(f"cannot read the images of {self.name}"), brief_errors():
            yield


@contextlib.contextmanager
def brief_errors() -> Iterator[None]:
    """The system's own message of an error; HDF5 adds its buffers and offsets."""
    try:
        yield
    except OSError as problem:
        if not problem.errno:
            raise
        raise OSError(problem.errno, os.strerror(problem.errno)) from problem


@queued  # Fuel counts who has a file open
def _read(dataset: Any, request: slice) -> np.ndarray:
    stream = DataStream(dataset)
    try:
        (array,) = stream.get_data(request)
        return array.copy()  # never a view of what the data set keeps in memory
    finally:
        stream.close()


def _known(split: str) -> str:
    if split not in SPLITS:
        raise UserError(f"unknown split {split!r}: choose one of {', '.join(SPLITS)}")
    return split


def _positive(batch_size: int) -> int:
    if batch_size < 1:
        raise UserError(f"the batch size is {batch_size}: choose 1 or more")
    return batch_size
