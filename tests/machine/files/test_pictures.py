"""Grids: every pixel where it belongs."""

from __future__ import annotations

import os

import numpy as np
import pytest
from PIL import Image

from pixelvae.machine.errors import UserError
from pixelvae.machine.files.pictures import PAD_VALUE, grid_png, save_png


def read(path) -> np.ndarray:
    with Image.open(path) as picture:
        assert picture.format == "PNG"
        return np.asarray(picture)


@pytest.mark.parametrize("channels", [1, 3])
def test_each_pixel_of_each_image_is_in_its_cell(tmp_path, channels):
    images = np.random.RandomState(0).randint(0, 256, (5, channels, 4, 3)).astype(np.uint8)
    scale, pad, columns = 3, 2, 2
    save_png(tmp_path / "a.png", grid_png(images, 256, columns=columns, scale=scale, pad=pad))
    grid = read(tmp_path / "a.png").reshape(3 * (12 + pad) + pad, 2 * (9 + pad) + pad, channels)
    covered = np.zeros(grid.shape[:2], bool)
    for number, image in enumerate(images):
        for y in range(4):
            for x in range(3):
                top = pad + (number // columns) * (12 + pad) + y * scale
                left = pad + (number % columns) * (9 + pad) + x * scale
                square = np.s_[top : top + scale, left : left + scale]
                assert (grid[square] == image[:, y, x]).all()
                covered[square] = True
    assert (grid[~covered] == PAD_VALUE).all()


@pytest.mark.parametrize(
    ("levels", "bytes_"), [(2, [0, 255]), (4, [0, 85, 170, 255]), (256, list(range(256)))]
)
def test_levels_span_black_to_white(tmp_path, levels, bytes_):
    images = np.arange(levels, dtype=np.uint8).reshape(levels, 1, 1, 1)
    save_png(tmp_path / "a.png", grid_png(images, levels, columns=levels, scale=1, pad=0))
    assert read(tmp_path / "a.png").tolist() == [bytes_]


def test_the_grid_is_square_by_default(tmp_path):
    save_png(tmp_path / "a.png", grid_png(np.zeros((16, 1, 28, 28), np.uint8), 2))
    height, width = read(tmp_path / "a.png").shape
    assert height == width == 4 * 28 * 2 + 5 * 2


def test_a_failed_save_leaves_the_old_picture(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    images = np.zeros((1, 1, 2, 2), np.uint8)
    save_png(path, grid_png(images, 2))
    before = path.read_bytes()

    def torn(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", torn)
    with pytest.raises(UserError, match="cannot write .*No space left"):
        save_png(path, grid_png(images, 2))
    assert path.read_bytes() == before and len(list(tmp_path.iterdir())) == 1


def test_pictures_are_png_files(tmp_path):
    with pytest.raises(UserError, match="end in .png"):
        save_png(tmp_path / "a.jpg", grid_png(np.zeros((1, 1, 2, 2), np.uint8), 2))


@pytest.mark.parametrize(
    ("images", "levels"),
    [
        (np.zeros((0, 1, 2, 2), np.uint8), 2),
        (np.zeros((1, 2, 2, 2), np.uint8), 2),
        (np.zeros((1, 2, 2), np.uint8), 2),
        (np.full((1, 1, 2, 2), 2, np.uint8), 2),
        (np.zeros((1, 1, 2, 2), np.uint8), 1),
    ],
)
def test_what_is_no_image_is_refused(tmp_path, images, levels):
    with pytest.raises(ValueError):
        save_png(tmp_path / "a.png", grid_png(images, levels))


def test_a_picture_says_of_itself_what_it_is_told_to(tmp_path):
    images = np.zeros((1, 1, 2, 2), np.uint8)
    save_png(tmp_path / "a.png", grid_png(images, 2, text={"rows": '["z₂"]'}))
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.info["rows"] == '["z₂"]'
    assert (tmp_path / "a.png").read_bytes() == grid_png(images, 2, text={"rows": '["z₂"]'})
