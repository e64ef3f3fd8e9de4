"""Conversions where a file may not grow as large as they make it: one line, and nothing lost."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from fresh_process import unmeasured
from PIL import Image

from pixelvae.datasets import hdf5
from pixelvae.datasets.hdf5 import check_room

ROOT = Path(__file__).parents[2]
SIZE = 1797 * 28 * 28  # bytes of the digits' images


@pytest.fixture(autouse=True)
def folders(tmp_path, monkeypatch):
    monkeypatch.setenv("PIXELVAE_DATA", str(tmp_path))
    monkeypatch.setenv("FUEL_DATA_PATH", str(tmp_path / "fuel"))


def prepared(*arguments, limit=resource.RLIM_INFINITY):
    """`python -m datasets prepare`, in which no file may have more bytes than the limit."""
    return subprocess.run(
        [sys.executable, "-m", "pixelvae.datasets", "prepare", *arguments],
        cwd=ROOT,
        env=unmeasured(),
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )


def assert_refused(result):
    assert result.returncode == 2, result.stderr
    line = result.stderr.splitlines()[-1]
    assert line.startswith("error: cannot write ") and line.endswith(
        "File too large; raise the limit of a file's size (ulimit -f), or choose a disk that takes larger ones"
    )
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("limit", [4096, SIZE // 2, SIZE + 4096])
def test_data_in_memory(tmp_path, limit):
    assert_refused(prepared("digits", limit=limit))
    assert not list((tmp_path / "fuel").iterdir())


def test_pictures(tmp_path):
    (tmp_path / "pictures").mkdir()
    random = np.random.RandomState(0)
    for number in range(60):
        pixels = random.randint(256, size=(8, 8, 3)).astype(np.uint8)
        Image.fromarray(pixels).resize((64, 64)).save(tmp_path / f"pictures/{number}.png")
    assert_refused(prepared(str(tmp_path / "pictures"), limit=60 * 3 * 64 * 64 // 2))
    assert prepared(str(tmp_path / "pictures"), limit=4 << 20).returncode == 0


def test_own_files_of_text(tmp_path):
    (tmp_path / "own").mkdir()
    for split in ("train", "valid", "test"):
        np.savetxt(tmp_path / f"own/{split}.amat", np.eye(200, 784), fmt="%d")
    # The sources, which are copied first, are larger than what is made of them.
    assert_refused(prepared("own", limit=100_000))
    assert_refused(prepared("own", limit=400_000))


def test_room_is_looked_for_before_anything_is_written(tmp_path, monkeypatch):
    path = tmp_path / "x"
    check_room(path, 1000)
    free = shutil.disk_usage(tmp_path).free
    with pytest.raises(OSError) as full:
        check_room(path, free + (1 << 30))
    assert full.value.errno == errno.ENOSPC

    monkeypatch.setattr(hdf5, "_MOST_OF_FAT32", 1000)  # this disk takes larger files
    check_room(path, 2000)
    assert os.listdir(tmp_path) == []
