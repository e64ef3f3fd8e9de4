"""Sets that are too large for memory: written image by image, read from the disk.

An HDF5 file is created at its full size, and its bookkeeping is finished before the first image is
written. The images lie one after the other, neither chunked nor compressed: one image in random
order costs one read of its own bytes, and a process that is killed leaves a file that can be filled
further.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
from fuel.datasets import H5PYDataset
from PIL import Image

from datasets.base import IMAGES
from datasets.conversion import hdf5_part
from lib.console.progress import Progress
from lib.files.atomic import write_json

_MOST_PIXELS = 1 << 26  # of a picture: decoded it has three bytes each
_BLOCK = 1000  # images from one note of the progress to the next


@dataclass(frozen=True)
class Split:
    """Images to write: how many, and a function that gives them from number `start` on.

    Each is uint8 of the file's image shape, (C, H, W).
    """

    size: int
    images: Callable[[int], Iterator[np.ndarray]]


def write_images(
    path: Path,
    shape: tuple[int, int, int],
    splits: Mapping[str, Split],
    attributes: Mapping[str, int] | None = None,
) -> None:
    """Write images (C, H, W) to a Fuel HDF5 file, or go on where an interrupted call left it.

    `attributes` become the file's own.
    """
    note = path.with_name(f"{path.name}.written")
    if not note.exists():
        _create(path, shape, {name: split.size for name, split in splits.items()})
        with h5py.File(path, "r+") as file:
            file.attrs.update(attributes or {})
        write_json(note, 0)
    with h5py.File(path, "r") as file:
        offset = file[IMAGES].id.get_offset()
        total = len(file[IMAGES])
    written = int(note.read_text())
    first = 0
    with open(path, "r+b") as out, Progress(total, written, unit="images") as progress:
        for split in splits.values():
            out.seek(offset + written * int(np.prod(shape)))
            for image in split.images(written - first) if written < first + split.size else ():
                out.write(image.tobytes())
                written += 1
                progress.update()
                if written % _BLOCK == 0:
                    out.flush()
                    os.fsync(out.fileno())
                    write_json(note, written)
            first += split.size


def _create(path: Path, shape: tuple[int, int, int], sizes: Mapping[str, int]) -> None:
    bounds = np.cumsum([0, *sizes.values()]).tolist()
    with h5py.File(path, "w") as file:
        images = file.create_dataset(IMAGES, (bounds[-1], *shape), np.uint8)
        images[-1] = 0  # HDF5 allocates all of it with the first write, most of it as a hole
        for dimension, label in zip(images.dims, ("batch", "channel", "height", "width")):
            dimension.label = label
        file.attrs["split"] = H5PYDataset.create_split_array(
            {name: {IMAGES: bounds[i : i + 2]} for i, name in enumerate(sizes)}
        )


def streamed_part(
    path: Path, split: str, source: str, kind: type[H5PYDataset] = H5PYDataset
) -> H5PYDataset:
    """One source of one split, read from the disk.

    These sets are published without test images: "test" is the validation split, on which the
    paper reports its numbers.
    """
    split = "valid" if split == "test" else split
    return hdf5_part(path, split, source, in_memory=False, kind=kind)


def halve(images: np.ndarray) -> np.ndarray:
    """Images (N, C, H, W) of uint8 as (N, C, H/2, W/2): the mean of 2×2, a half rounded up."""
    rows = images[..., ::2, :].astype(np.uint16) + images[..., 1::2, :]
    return ((rows[..., ::2] + rows[..., 1::2] + 2) // 4).astype(np.uint8)


def decode(content: bytes, *formats: str) -> Image.Image:
    """The picture in a file's bytes, in colour; of these formats alone.

    Raises
    ------
    ValueError
        It is none, or damaged; the message says it in a few words, to follow the picture's name.
    """
    try:
        image = Image.open(io.BytesIO(content), formats=formats)
        if image.width * image.height <= _MOST_PIXELS:
            return image.convert("RGB")
    except MemoryError:
        raise
    except Exception as problem:  # parsers raise what they like on bytes without sense
        names = " or ".join(formats)
        raise ValueError(f"is damaged or no {names} image ({problem})") from problem
    raise ValueError(f"has {image.width}×{image.height} pixels, which is too many")


def channels_first(image: Image.Image) -> np.ndarray:
    """A colour picture as uint8 (3, H, W)."""
    return np.asarray(image).transpose(2, 0, 1)
