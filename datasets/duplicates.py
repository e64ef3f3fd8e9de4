"""Exact duplicates between the splits of a data set, counted by hash."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

import numpy as np

from pixelvae.lib.data import Dataset

_PAIRS = (("valid", "train"), ("test", "train"), ("test", "valid"))
_BATCH = 100


def hashes(images: Iterable[np.ndarray]) -> np.ndarray:
    """64-bit hashes of images: uint64 (N,). Two different images share one by chance of 5e-20."""
    digests = [hashlib.blake2b(image.tobytes(), digest_size=8).digest() for image in images]
    return np.frombuffer(b"".join(digests), np.uint64)


def repeated(dataset: Dataset, split: str, others: Sequence[str]) -> np.ndarray:
    """Which images of a split are in another one, too: bool (size(split),)."""
    found, *known = (_of_split(dataset, name) for name in (split, *others))
    return np.isin(found, np.concatenate(known))


def _of_split(dataset: Dataset, split: str) -> np.ndarray:
    return np.concatenate([hashes(batch) for batch in dataset.batches(split, _BATCH)])


def overlap(dataset: Dataset, splits: Sequence[str]) -> str | None:
    """A line with how many images of a split are in another one too, or None.

    Parameters
    ----------
    splits
        Those of which no one stands for another.
    """
    found = {split: _of_split(dataset, split) for split in splits}
    shared = [
        f"{np.isin(found[one], found[other]).sum():,} of {len(found[one]):,} {one} images in {other}"
        for one, other in _PAIRS
        if one in found and other in found and np.isin(found[one], found[other]).any()
    ]
    if not shared:
        return None
    return (
        f"the same images are in several splits ({'; '.join(shared)}; exact duplicates), and say "
        "nothing about new images"
    )
