"""The tar files of 64×64 ImageNet: what comes out, what is refused, what an interruption leaves."""

from __future__ import annotations

import io
import itertools
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pixelvae.datasets import imagenet64, open_dataset, streaming
from pixelvae.datasets.__main__ import command
from pixelvae.datasets.places import source_folder
from pixelvae.machine.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
SIZES = {"train": 23, "valid": 7}


def picture(content, file_format="PNG"):
    out = io.BytesIO()
    Image.fromarray(content).save(out, file_format)
    return out.getvalue()


def noise(count, seed=0):
    return np.random.RandomState(seed).randint(256, size=(count, 64, 64, 3)).astype(np.uint8)


def add(tar, name, content=b"", **fields):
    member = tarfile.TarInfo(name)
    member.size = len(content)
    for field, value in fields.items():
        setattr(member, field, value)
    tar.addfile(member, io.BytesIO(content))


def write_tar(path, pictures):
    with tarfile.open(path, "w") as tar:
        add(tar, path.stem, type=tarfile.DIRTYPE)
        for number, content in enumerate(pictures):
            add(tar, f"{path.stem}/{number:04}.png", content)


@pytest.fixture
def pixels():
    return {split: noise(count, count) for split, count in SIZES.items()}


@pytest.fixture
def source(tmp_path, monkeypatch, pixels):
    """A folder with the two tar files, not in PIXELVAE_DATA; FUEL_DATA_PATH names an empty one."""
    monkeypatch.delenv("PIXELVAE_DATA", raising=False)
    monkeypatch.setenv("FUEL_DATA_PATH", str(tmp_path / "fuel"))
    folder = tmp_path / "tars"
    folder.mkdir()
    for split, images in pixels.items():
        write_tar(folder / f"{split}_64x64.tar", map(picture, images))
    return folder


def left_over(folder):
    return sorted(path.name for path in (folder / "fuel").glob("*"))


def test_images_are_those_of_the_tar_in_order(source, pixels, tmp_path):
    data = open_dataset("imagenet64", source)
    assert (data.name, data.levels, data.image_shape) == ("imagenet64", 256, (3, 64, 64))
    assert [data.size(split) for split in ("train", "valid", "test")] == [23, 7, 7]
    np.testing.assert_array_equal(data.images("train"), pixels["train"].transpose(0, 3, 1, 2))
    np.testing.assert_array_equal(data.images("valid"), pixels["valid"].transpose(0, 3, 1, 2))
    np.testing.assert_array_equal(data.images("test"), data.images("valid"))
    assert left_over(tmp_path) == ["imagenet64.hdf5"]
    with pytest.raises(UserError, match="imagenet64 has no labels"):
        data.labels("train")


def test_the_stream_from_the_disk_is_that_of_numpy(source, pixels):
    data = open_dataset("imagenet64", source)
    stream = itertools.islice(data.training_stream(5, seed=3, start=2), 6)
    orders = [np.random.RandomState([3, epoch]).permutation(23) for epoch in (0, 1)]
    expected = pixels["train"].transpose(0, 3, 1, 2)[np.concatenate(orders)[10 : 23 + 15]]
    np.testing.assert_array_equal(np.concatenate(list(stream)), expected)


def test_a_named_source_counts_and_is_converted_once(source, pixels, tmp_path):
    first = open_dataset("imagenet64", source)
    written = (tmp_path / "fuel" / "imagenet64.hdf5").stat().st_mtime_ns
    assert open_dataset("imagenet64", source).checksum == first.checksum
    assert open_dataset("imagenet64").checksum == first.checksum  # where no source is to be found
    assert (tmp_path / "fuel" / "imagenet64.hdf5").stat().st_mtime_ns == written
    write_tar(source / "valid_64x64.tar", map(picture, pixels["valid"][:3]))
    assert open_dataset("imagenet64", source).size("valid") == 3


def test_grey_and_palette_images_become_colour(source):
    grey = noise(1)[0, :, :, 0]
    palette = io.BytesIO()
    Image.fromarray(grey).convert("P").save(palette, "PNG")
    write_tar(source / "valid_64x64.tar", [picture(grey), palette.getvalue()])
    images = open_dataset("imagenet64", source).images("valid")
    np.testing.assert_array_equal(images, np.broadcast_to(grey, (2, 3, 64, 64)))


PNG = picture(noise(1)[0])
BAD_MEMBER = {
    "a link": (
        dict(name="a", type=tarfile.SYMTYPE, linkname="/etc/passwd"),
        "not an ordinary file",
    ),
    "a hard link": (dict(name="a", type=tarfile.LNKTYPE, linkname="b"), "not an ordinary file"),
    "a device": (dict(name="a", type=tarfile.CHRTYPE), "not an ordinary file"),
    "a fifo": (dict(name="a", type=tarfile.FIFOTYPE), "not an ordinary file"),
    "traversal": (dict(name="train/../../x.png", content=PNG), "points out of its folder"),
    "absolute": (dict(name="/tmp/x.png", content=PNG), "points out of its folder"),
    "a large file": (dict(name="x.png", content=bytes(2 << 20)), "2097152 bytes, too many"),
    "text": (dict(name="x.png", content=b"hello"), "is damaged or no PNG image"),
    "nothing": (dict(name="x.png"), "number 8, is empty"),
    "JPEG": (dict(name="x.png", content=picture(noise(1)[0], "JPEG")), "damaged or no PNG image"),
    "half": (dict(name="x.png", content=PNG[: len(PNG) // 2]), "is damaged or no PNG image"),
    "a flipped bit": (
        dict(name="x.png", content=PNG[:3000] + bytes([PNG[3000] ^ 1]) + PNG[3001:]),
        "is damaged or no PNG image",
    ),
    "wrong size": (
        dict(name="x.png", content=picture(noise(1)[0, :, :32])),
        "has 32×64 pixels, not 64×64",
    ),
    "huge": (
        dict(name="x.png", content=picture(np.zeros((9000, 9000), np.uint8))),
        "has 9000×9000 pixels, which is too many",
    ),
}


@pytest.mark.parametrize("case", BAD_MEMBER)
def test_bad_members(source, case, capsys, tmp_path):
    fields, words = BAD_MEMBER[case]
    with tarfile.open(source / "valid_64x64.tar", "a") as tar:
        add(tar, **fields)
    assert command(["prepare", "imagenet64", "--source", str(source)]) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert "valid_64x64.tar: '" in line and words in line and "get " in line and "<_io" not in line
    assert not (tmp_path / "fuel" / "imagenet64.hdf5").exists()


@pytest.mark.parametrize(
    "edit",
    [
        lambda b: b"",
        lambda b: b"<html>" * 1000,
        lambda b: b[:100],
        lambda b: b[:30000],
        lambda b: b[: b.rindex(b"ustar") - 257],  # in the middle of all, at the end of a member
        lambda b: b[: len(b.rstrip(b"\0")) // 512 * 512 + 512],  # only the end is missing
        lambda b: b[: b.rindex(b"ustar")] + bytes(9) + b[b.rindex(b"ustar") + 9 :],
        lambda b: b.replace(b"0000644", b"00x0644"),
    ],
)
def test_damaged_tar_files(source, edit):
    path = source / "train_64x64.tar"
    path.write_bytes(edit(path.read_bytes()))
    with pytest.raises(UserError, match="train_64x64.tar is truncated, damaged or no tar"):
        open_dataset("imagenet64", source)


def test_a_tar_without_images_and_a_missing_one(source):
    write_tar(source / "train_64x64.tar", [])
    with pytest.raises(UserError, match="train_64x64.tar has no images"):
        open_dataset("imagenet64", source)
    (source / "train_64x64.tar").unlink()
    with pytest.raises(UserError, match="has no train_64x64.tar: name the folder that has"):
        open_dataset("imagenet64", source)


def test_without_any_source(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PIXELVAE_DATA", str(tmp_path))
    monkeypatch.setenv("FUEL_DATA_PATH", str(tmp_path / "fuel"))
    assert command(["prepare", "imagenet64"]) == 2
    assert "imagenet64 and cannot be downloaded: put it there\n" in capsys.readouterr().err
    assert command(["list"]) == 0
    assert "imagenet64       no source" in capsys.readouterr().out


@pytest.mark.parametrize("killed_after", [3, 20, 26])
def test_a_killed_conversion_goes_on(source, pixels, tmp_path, killed_after):
    code = f"""
import os, signal, sys
from pathlib import Path
from pixelvae.datasets import imagenet64, open_dataset, streaming
streaming._BLOCK = 4
decode, count = imagenet64.decode, iter(range(100))
def killing(*arguments):
    if next(count) == {killed_after}:
        os.kill(os.getpid(), signal.SIGKILL)
    return decode(*arguments)
imagenet64.decode = killing
open_dataset("imagenet64", Path(sys.argv[1]))
"""
    done = subprocess.run([sys.executable, "-c", code, str(source)], cwd=ROOT, capture_output=True)
    assert done.returncode == -signal.SIGKILL
    assert left_over(tmp_path) == [".imagenet64.hdf5.work"]
    decoded = []
    with pytest.MonkeyPatch.context() as patch:
        decode = imagenet64.decode
        patch.setattr(imagenet64, "decode", lambda *a: decoded.append(a) or decode(*a))
        data = open_dataset("imagenet64", source)
    assert len(decoded) == 30 - killed_after // 4 * 4
    for split in SIZES:
        np.testing.assert_array_equal(data.images(split), pixels[split].transpose(0, 3, 1, 2))
    assert left_over(tmp_path) == ["imagenet64.hdf5"]


def test_what_an_interruption_left_is_not_used_for_other_sources(source, pixels, monkeypatch):
    monkeypatch.setattr(streaming, "_BLOCK", 4)

    def interrupted(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("pixelvae.datasets.conversion.write_header", interrupted)
        with pytest.raises(KeyboardInterrupt):
            open_dataset("imagenet64", source)
    write_tar(source / "train_64x64.tar", map(picture, 255 - pixels["train"]))
    images = open_dataset("imagenet64", source).images("train")
    np.testing.assert_array_equal(images, 255 - pixels["train"].transpose(0, 3, 1, 2))


PEAK = """
import sys, tracemalloc
from pathlib import Path
from pixelvae.datasets import imagenet64, open_dataset
from pixelvae.datasets.conversion import prepare
source = Path(sys.argv[1])
tracemalloc.start()
prepare(imagenet64.RECIPE, source)
assert len(next(open_dataset("imagenet64", source).training_stream(10, 0))) == 10
print(tracemalloc.get_traced_memory()[1])
"""


def test_memory_does_not_grow_with_the_set(source):
    """In a process of its own, where nothing else allocates or is left to be collected."""

    def peak(count):
        write_tar(source / "train_64x64.tar", [PNG] * count)
        command = [sys.executable, "-c", PEAK, source]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return int(done.stdout)

    small, large = peak(200), peak(1200)
    assert large - small < 0.1 * 1000 * 3 * 64 * 64


def test_the_stream_keeps_up(source):
    """A training step takes several images a second here, and some hundreds on a GPU."""
    write_tar(source / "train_64x64.tar", [PNG] * 512)
    stream = open_dataset("imagenet64", source).training_stream(64, 0)

    def seconds():
        start = time.perf_counter()
        for _ in range(8):
            next(stream)
        return time.perf_counter() - start

    assert min(seconds() for _ in range(3)) < 512 / 2000


def test_the_real_sample(tmp_path, monkeypatch):
    folder = source_folder("imagenet64_sample")
    if not folder.is_dir():
        pytest.skip(f"no {folder}: PIXELVAE_DATA names no folder with imagenet64_sample")
    monkeypatch.setenv("FUEL_DATA_PATH", str(tmp_path))
    data = open_dataset("imagenet64", folder)
    assert [data.size(split) for split in ("train", "valid")] == [2000, 500]
    with tarfile.open(folder / "train_64x64.tar") as tar:
        content = tar.extractfile("train_64x64/0002.png").read()
    expected = np.asarray(Image.open(io.BytesIO(content)))
    np.testing.assert_array_equal(data.images("train", 1, 2)[0], expected.transpose(2, 0, 1))
    # Photographs: neighbouring pixels are much alike, and every level occurs.
    images = data.images("valid").astype(float)
    assert np.abs(np.diff(images)).mean() < 0.5 * images.std()
    assert set(np.unique(images)) == set(range(256))
