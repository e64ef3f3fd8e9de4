"""Sets that are too large for memory: written image by image, read from the disk.

An HDF5 file is created at its full size, and its bookkeeping is finished before the first image is
written. The images lie one after the other, neither chunked nor compressed: one image in random
order costs one read of its own bytes, and a process that is killed leaves a file that can be filled
further.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import h5py
import numpy as np
from fuel.datasets import H5PYDataset

from pixelvae.datasets.base import IMAGES, LABELS
from pixelvae.datasets.decoding import DamagedPicture
from pixelvae.datasets.hdf5 import check_room, hdf5_part
from pixelvae.machine.console.progress import Progress
from pixelvae.machine.errors import UserError
from pixelvae.machine.files.atomic import write_json

_BLOCK = 1000  # images from one note of the progress to the next

#: Part of a recipe whose images stay on the disk.
streamed_part = partial(hdf5_part, in_memory=False)


@dataclass(frozen=True)
class Split:
    """Images to write: how many, and a function that gives them from number `start` on.

    Each is uint8 of the file's image shape, (C, H, W), or the damaged picture that is in its place.
    `labels`, uint8 or uint16 (size,), are there for all splits or for none.
    """

    size: int
    images: Callable[[int], Iterator[np.ndarray | DamagedPicture]]
    labels: np.ndarray | None = None


def write_images(
    path: Path,
    shape: tuple[int, int, int],
    splits: Mapping[str, Split],
    attributes: Mapping[str, int | str] | None = None,
    skip_damaged: bool = False,
) -> dict[str, int]:
    """Write images (C, H, W) to a Fuel HDF5 file, or continue where an interrupted call left off.

    Parameters
    ----------
    attributes
        The file's own.
    skip_damaged
        Leave damaged pictures out. Else the first one is raised.

    Returns
    -------
    how many were left out of each split
    """
    note = path.with_name(f"{path.name}.progress")
    kept = path.with_name(f"{path.name}.kept")
    state = _State.of(note)
    if state.damaged and not skip_damaged:
        state = _State()  # from the start, for the first of them is to be named
    again = kept.with_name(f"{kept.name}.progress")
    if not state.written:
        for left in (kept, again):
            left.unlink(missing_ok=True)
    if not state.moved:
        _write(path, shape, splits, attributes, skip_damaged, state, note)
    damaged = set(state.damaged)
    if damaged and not state.moved:
        # The images lie where those left out would have been between them: copy them together.
        with h5py.File(path, "r", locking=False) as file:
            selected = _without(file[IMAGES], splits, damaged)
            _write(kept, shape, selected, attributes, False, _State.of(again), again)
        state.moved = True
        state.save(note)
    if kept.exists():
        os.replace(kept, path)
    left_out, first = {}, 0
    for name, split in splits.items():
        left_out[name] = len(damaged.intersection(range(first, first + split.size)))
        first += split.size
    return left_out


@dataclass
class _State:
    """How far a file is written: images, damaged ones among them; and whether those are gone."""

    written: int = 0
    damaged: list[int] = field(default_factory=list)
    moved: bool = False

    @classmethod
    def of(cls, note: Path) -> _State:
        return cls(**json.loads(note.read_text())) if note.exists() else cls()

    def save(self, note: Path) -> None:
        write_json(note, vars(self))


def _write(
    path: Path,
    shape: tuple[int, int, int],
    splits: Mapping[str, Split],
    attributes: Mapping[str, int | str] | None,
    skip_damaged: bool,
    state: _State,
    note: Path,
) -> None:
    """Write the images that are not written yet; the place of a damaged one is left empty."""
    if not note.exists() or not state.written:
        _create(path, shape, splits)
        with h5py.File(path, "r+", locking=False) as file:
            file.attrs.update(attributes or {})
        state.save(note)
    with h5py.File(path, "r", locking=False) as file:
        offset = file[IMAGES].id.get_offset()
        total = len(file[IMAGES])
    size, first = int(np.prod(shape)), 0
    with open(path, "r+b") as out, Progress(total, state.written, unit="images") as progress:
        out.seek(offset + state.written * size)
        for split in splits.values():
            done = state.written < first + split.size
            for image in split.images(state.written - first) if done else ():
                if isinstance(image, DamagedPicture):
                    if not skip_damaged:
                        raise image
                    state.damaged.append(state.written)
                    out.seek(size, os.SEEK_CUR)
                else:
                    out.write(image.tobytes())
                state.written += 1
                progress.update()
                if state.written % _BLOCK == 0 or state.written == total:
                    out.flush()
                    os.fsync(out.fileno())
                    state.save(note)
            first += split.size


def _without(images: h5py.Dataset, splits: Mapping[str, Split], damaged: set[int]) -> dict:
    """The splits without damaged images, read from the file in which those have an empty place."""

    def reading(rows: np.ndarray, start: int) -> Iterator[np.ndarray]:
        return (images[row] for row in rows[start:])

    selected, first = {}, 0
    for name, split in splits.items():
        rows = np.array([r for r in range(first, first + split.size) if r not in damaged], int)
        if not len(rows):
            raise UserError(f"every picture of the {name} split is damaged: get them again")
        labels = None if split.labels is None else split.labels[rows - first]
        selected[name] = Split(len(rows), partial(reading, rows), labels)
        first += split.size
    return selected


def _create(path: Path, shape: tuple[int, int, int], splits: Mapping[str, Split]) -> None:
    bounds = np.cumsum([0, *(split.size for split in splits.values())]).tolist()
    labels = [split.labels for split in splits.values() if split.labels is not None]
    sources = [IMAGES, LABELS] if labels else [IMAGES]
    check_room(path, bounds[-1] * math.prod(shape) + sum(label.nbytes for label in labels))
    with h5py.File(path, "w", locking=False) as file:
        images = file.create_dataset(IMAGES, (bounds[-1], *shape), np.uint8)
        images[-1] = 0  # HDF5 allocates all of it with the first write, most of it as a hole
        for dimension, label in zip(images.dims, ("batch", "channel", "height", "width")):
            dimension.label = label
        if labels:
            targets = file.create_dataset(LABELS, data=np.concatenate(labels)[:, None])
            for dimension, label in zip(targets.dims, ("batch", "index")):
                dimension.label = label
        file.attrs["split"] = H5PYDataset.create_split_array(
            {
                name: {source: tuple(bounds[i : i + 2]) for source in sources}
                for i, name in enumerate(splits)
            }
        )


def halve(images: np.ndarray) -> np.ndarray:
    """Images (N, C, H, W) of uint8 as (N, C, H/2, W/2): the mean of 2×2, a half rounded up."""
    rows = images[..., ::2, :].astype(np.uint16) + images[..., 1::2, :]
    return ((rows[..., ::2] + rows[..., 1::2] + 2) // 4).astype(np.uint8)
