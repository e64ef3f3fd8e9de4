"""Grids of images as PNG files."""

from __future__ import annotations

import io
import math
import os
from collections.abc import Mapping

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from pixelvae.machine.errors import UserError
from pixelvae.machine.files.atomic import PathLike, atomic_write

PAD_VALUE = 128  # grey, so that neither black nor white images run into each other


def save_png(path: PathLike, data: bytes) -> None:
    """Write the content of a PNG file, such as :func:`grid_png` gives, whole or not at all.

    Raises
    ------
    UserError
        The file cannot be written, or its name does not end in `.png`.
    """
    if os.path.splitext(path)[1].lower() != ".png":
        raise UserError(f"cannot write {path}: pictures are PNG files, so let its name end in .png")
    with atomic_write(path) as file:
        file.write(data)


def grid_png(
    images: np.ndarray,
    levels: int,
    columns: int | None = None,
    text: Mapping[str, str] | None = None,
    scale: int = 2,
    pad: int = 2,
) -> bytes:
    """Images as one PNG, row by row: the content of its file.

    Parameters
    ----------
    images
        uint8 (N, C, H, W) with N > 0, C = 1 (grey) or 3 (RGB), values 0 ... levels - 1.
    levels
        Number of values a pixel can take, 2 to 256; level 0 is black, the last one is white.
    columns
        Images in a row; by default as many as make the grid square.
    text
        The file's text fields, by name.
    scale
        Width and height of the square that one pixel becomes.
    pad
        Width in pixels of the lines between the images and around them.
    """
    grid = _grid(
        _to_bytes(images, levels), columns or math.ceil(math.sqrt(len(images))), scale, pad
    )
    notes, file = PngInfo(), io.BytesIO()
    for name, value in (text or {}).items():
        notes.add_text(name, value)
    Image.fromarray(grid).save(file, format="PNG", pnginfo=notes)
    return file.getvalue()


def _to_bytes(images: np.ndarray, levels: int) -> np.ndarray:
    if images.ndim != 4 or len(images) == 0 or images.shape[1] not in (1, 3):
        raise ValueError(f"expected images (N, 1 or 3, H, W), not {images.shape}")
    if not 2 <= levels <= 256 or images.min() < 0 or images.max() >= levels:
        raise ValueError(f"expected values 0 to {levels - 1}, not {images.min()} to {images.max()}")
    return (images.astype(np.uint32) * 255 // (levels - 1)).astype(np.uint8)


def _grid(images: np.ndarray, columns: int, scale: int, pad: int) -> np.ndarray:
    """Lay out uint8 (N, C, H, W) as (height, width) or (height, width, 3)."""
    images = images.repeat(scale, axis=2).repeat(scale, axis=3)
    count, channels, height, width = images.shape
    rows = math.ceil(count / columns)
    # Each image with a line above and to the left of it, then one more line below and to the right.
    cells = np.full(
        (rows * columns, channels, height + pad, width + pad), PAD_VALUE, dtype=np.uint8
    )
    cells[:count, :, pad:, pad:] = images
    grid = cells.reshape(rows, columns, *cells.shape[1:]).transpose(0, 3, 1, 4, 2)
    grid = grid.reshape(rows * cells.shape[2], columns * cells.shape[3], channels)
    grid = np.pad(grid, ((0, pad), (0, pad), (0, 0)), constant_values=PAD_VALUE)
    return grid[:, :, 0] if channels == 1 else grid
