"""A data set that is held in memory: arrays of images, and labels if there are any."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np
from fuel.datasets import IndexableDataset

from pixelvae.datasets.base import IMAGES, LABELS, FuelDataset
from pixelvae.lib.data import SPLITS
from pixelvae.machine.errors import UserError


class InMemory(FuelDataset):
    """A :class:`pixelvae.lib.data.Dataset` of arrays, which are not copied and must not be changed.

    Parameters
    ----------
    images
        uint8 (N, C, H, W) of each split; a split that is left out cannot be asked for. One array
        alone stands for every split.
    labels
        uint8 or uint16 (N,) of each split that has them.
    levels
        Number of values of a pixel; by default 2 if there are only zeros and ones, else 256.
    checksum
        SHA-256 of the content; computed by default.
    remarks
        Remarks that belong beside every number measured on it, one line each.
    """

    def __init__(
        self,
        images: Mapping[str, np.ndarray] | np.ndarray,
        labels: Mapping[str, np.ndarray] | None = None,
        name: str = "images in memory",
        levels: int | None = None,
        checksum: str | None = None,
        remarks: Sequence[str] = (),
    ) -> None:
        if isinstance(images, np.ndarray):
            images = dict.fromkeys(SPLITS, images)
        if levels is None:
            levels = 2 if all(array.max() <= 1 for array in images.values()) else 256
        self._arrays = {
            **{(split, IMAGES): array for split, array in images.items()},
            **{(split, LABELS): array for split, array in (labels or {}).items()},
        }
        checksum = checksum or _checksum(self._arrays)
        super().__init__(name, checksum, levels, self._of, remarks)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of an image."""
        _, channels, height, width = next(iter(self._arrays.values())).shape
        return channels, height, width

    def _of(self, split: str, source: str) -> IndexableDataset:
        if (split, source) not in self._arrays:
            what = "labels for" if source == LABELS else "images of"
            advice = f": store them as {split}_labels" if source == LABELS else ""
            raise UserError(f"{self.name} has no {what} {split}{advice}")
        return IndexableDataset({source: self._arrays[split, source]})


def _checksum(arrays: Mapping[tuple[str, str], np.ndarray]) -> str:
    digest = hashlib.sha256()
    for (split, source), array in arrays.items():
        digest.update(f"{split} {source} {array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()
