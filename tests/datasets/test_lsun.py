"""LSUN bedrooms: what comes out of an LMDB, what is refused, which images are taken for duplicates."""

from __future__ import annotations

import io
import signal
import subprocess
import sys
from pathlib import Path

import h5py
import lmdb
import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter

from pixelvae.datasets import deduplicate, lsun_bedrooms, open_dataset, streaming
from pixelvae.datasets.__main__ import command
from pixelvae.datasets.decoding import centre_square
from pixelvae.datasets.deduplicate import BITS, IN_DOUBT, distinct, unseen
from pixelvae.datasets.places import source_folder
from pixelvae.machine.errors import UserError

ROOT = Path(__file__).resolve().parents[2]


def scenes(count, seed=0, size=64):
    """Smooth random pictures with a few strong shapes, uint8 (count, size, size, 3)."""
    random = np.random.RandomState(seed)
    noise = random.standard_normal((count, size, size, 3))
    smooth = sum(s * gaussian_filter(noise, (0, s, s, 0)) for s in (2, 5, 12))
    smooth /= smooth.std((1, 2, 3), keepdims=True)
    return np.clip(128 + 50 * smooth, 0, 255).astype(np.uint8)


def encode(pixels, file_format="WEBP", **options):
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, file_format, **options)
    return out.getvalue()


def decoded(content):
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))


def write_lmdb(folder, values):
    with lmdb.open(str(folder), map_size=1 << 26) as environment:
        with environment.begin(write=True) as transaction:
            for number, value in enumerate(values):
                transaction.put(f"{number:06}".encode(), value)


@pytest.fixture
def source(tmp_path, monkeypatch):
    """Two LMDB folders of WebP and JPEG images; FUEL_DATA_PATH names an empty folder."""
    monkeypatch.delenv("PIXELVAE_DATA", raising=False)
    monkeypatch.setenv("FUEL_DATA_PATH", str(tmp_path / "fuel"))
    folder = tmp_path / "lsun"
    folder.mkdir()
    pictures = scenes(16)
    contents = [encode(p, ("WEBP", "JPEG")[i % 2]) for i, p in enumerate(pictures)]
    write_lmdb(folder / "bedroom_train_lmdb", contents[:12])
    write_lmdb(folder / "bedroom_val_lmdb", contents[12:])
    folder.joinpath("contents").write_bytes(b"".join(contents))
    return folder


@pytest.fixture
def odd_are_duplicates(monkeypatch):
    """In place of training an autoencoder: every image of an odd number is a duplicate."""
    monkeypatch.setattr(lsun_bedrooms, "distinct", lambda images, count: np.arange(0, count, 2))


def expected(numbers):
    pictures = scenes(16)
    images = [decoded(encode(pictures[i], ("WEBP", "JPEG")[i % 2])) for i in numbers]
    return np.stack(images).transpose(0, 3, 1, 2)


def left_over(folder):
    return sorted(path.name for path in (folder / "fuel").glob("*"))


# -- reading ------------------------------------------------------------------------------------


def test_images_are_those_of_the_lmdb_without_the_duplicates(
    source, odd_are_duplicates, tmp_path, capsys
):
    data = open_dataset("lsun_bedrooms", source)
    assert (data.levels, data.image_shape) == (256, (3, 64, 64))
    assert [data.size(split) for split in ("train", "valid", "test")] == [6, 4, 4]
    np.testing.assert_array_equal(data.images("train"), expected(range(0, 12, 2)))
    np.testing.assert_array_equal(data.images("valid"), expected(range(12, 16)))
    np.testing.assert_array_equal(data.images("test"), data.images("valid"))
    assert left_over(tmp_path) == ["lsun_bedrooms.hdf5"]
    assert "6 of 12 training images are duplicates" in capsys.readouterr().err
    with h5py.File(tmp_path / "fuel" / "lsun_bedrooms.hdf5", "r") as file:
        assert file.attrs["duplicates_dropped"] == 6


def test_the_small_version_is_the_mean_of_two_by_two(source, odd_are_duplicates, tmp_path):
    small = open_dataset("lsun_bedrooms_32", source)
    large = open_dataset("lsun_bedrooms")
    assert small.image_shape == (3, 32, 32) and left_over(tmp_path) == ["lsun_bedrooms.hdf5"]
    images = large.images("train").astype(float)
    mean = (images[..., ::2, ::2] + images[..., 1::2, ::2]) / 4
    mean += (images[..., ::2, 1::2] + images[..., 1::2, 1::2]) / 4
    np.testing.assert_array_equal(small.images("train"), np.floor(mean + 0.5))
    batches = zip(small.training_stream(4, 1), large.training_stream(4, 1))
    for (few, many), _ in zip(batches, range(3)):
        np.testing.assert_array_equal(few, streaming.halve(many))
    assert command(["verify", "lsun_bedrooms_32"]) == 0


@pytest.mark.parametrize("shape", [(256, 341), (341, 256), (256, 256)])
def test_the_centre_becomes_the_mean_over_areas(shape):
    height, width = shape
    pixels = np.random.RandomState(0).randint(256, size=(*shape, 3)).astype(np.uint8)
    top, left = (height - 256) // 2, (width - 256) // 2
    centre = pixels[top : top + 256, left : left + 256].astype(float)
    mean = centre.reshape(64, 4, 64, 4, 3).mean((1, 3))
    small = np.asarray(centre_square(Image.fromarray(pixels), 64))
    assert np.abs(small - mean).max() <= 1  # Pillow rounds after each of two directions


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (b"", "is empty"),
        (b"<html>", "is damaged or no JPEG or WEBP image"),
        (encode(scenes(1)[0])[:500], "is damaged or no JPEG or WEBP image"),
        (encode(scenes(1)[0], "JPEG")[:500], "is damaged or no JPEG or WEBP image"),
        (encode(scenes(1)[0], "PNG"), "is damaged or no JPEG or WEBP image"),
        (encode(scenes(1, size=40)[0]), "has 40×40 pixels, fewer than 64×64"),
    ],
)
def test_bad_values(source, value, words, capsys, tmp_path):
    with lmdb.open(str(source / "bedroom_val_lmdb")) as environment:
        with environment.begin(write=True) as transaction:
            transaction.put(b"0bad", value)
    assert command(["prepare", "lsun_bedrooms", "--source", str(source)]) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert f"bedroom_val_lmdb: the image with key b'0bad', number 5, {words}" in line
    assert "<_io" not in line
    assert not (tmp_path / "fuel" / "lsun_bedrooms.hdf5").exists()


def noisy(content):
    """Noise on every page but the two that describe the file: LMDB alone kills the process."""
    return content[:8192] + np.random.RandomState(0).bytes(len(content) - 8192)


def misled(content):
    """A value that is longer than the file."""
    at = content.index(b"000003")
    node = at - 8  # its length, in four bytes
    return content[:node] + b"\xff\xff\xff\x7f" + content[node + 4 :]


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda b: b"", "is damaged or no LMDB"),
        (noisy, "is damaged"),
        (misled, "is damaged"),
        (lambda b: b"<html>" * 10000, "is damaged or no LMDB"),
        (lambda b: b[:20000], "is truncated"),
        (lambda b: b[:-1], "is truncated"),
    ],
)
def test_what_is_no_whole_lmdb(source, edit, words):
    path = source / "bedroom_train_lmdb" / "data.mdb"
    with lmdb.open(str(path.parent), readonly=True) as environment:
        used = (environment.info()["last_pgno"] + 1) * environment.stat()["psize"]
    path.write_bytes(edit(path.read_bytes()[:used]))
    with pytest.raises(UserError, match=f"bedroom_train_lmdb {words}.*: get it again"):
        open_dataset("lsun_bedrooms", source)


def test_an_empty_lmdb_an_empty_folder_and_none(source):
    folder = source / "bedroom_val_lmdb"
    (folder / "data.mdb").unlink()
    with pytest.raises(UserError, match="cannot read .*data.mdb: No such file"):
        open_dataset("lsun_bedrooms", source)
    write_lmdb(folder, [])
    with pytest.raises(UserError, match="bedroom_val_lmdb has no images"):
        open_dataset("lsun_bedrooms", source)
    folder.rename(source / "elsewhere")
    with pytest.raises(UserError, match="has no bedroom_val_lmdb: name the folder that has"):
        open_dataset("lsun_bedrooms", source)


@pytest.mark.parametrize("killed_after", ["decode 7", "distinct 0", "write_images 1"])
def test_a_killed_conversion_goes_on(source, tmp_path, killed_after, monkeypatch):
    """Killed at a picture, before hashing, and before the last copy: nothing is done twice."""
    name, call = killed_after.split()
    code = f"""
import os, signal, sys
import numpy as np
from pathlib import Path
from pixelvae.datasets import lsun_bedrooms, open_dataset, streaming
streaming._BLOCK = 4
lsun_bedrooms.distinct = lambda images, count: np.arange(0, count, 2)
original, count = lsun_bedrooms.{name}, iter(range(100))
def killing(*arguments, **options):
    if next(count) == {call}:
        os.kill(os.getpid(), signal.SIGKILL)
    return original(*arguments, **options)
lsun_bedrooms.{name} = killing
open_dataset("lsun_bedrooms", Path(sys.argv[1]))
"""
    done = subprocess.run([sys.executable, "-c", code, str(source)], cwd=ROOT, capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert left_over(tmp_path) == [".lsun_bedrooms.hdf5.work"]
    calls = []
    decode = lsun_bedrooms.decode
    monkeypatch.setattr(
        lsun_bedrooms, "decode", lambda *a, **o: calls.append("decode") or decode(*a, **o)
    )
    monkeypatch.setattr(
        lsun_bedrooms,
        "distinct",
        lambda images, count: calls.append("distinct") or np.arange(0, count, 2),
    )
    data = open_dataset("lsun_bedrooms", source)
    assert [calls.count("decode"), calls.count("distinct")] == {
        "decode": [12, 1],
        "distinct": [0, 1],
        "write_images": [0, 0],
    }[name]
    np.testing.assert_array_equal(data.images("train"), expected(range(0, 12, 2)))
    np.testing.assert_array_equal(data.images("valid"), expected(range(12, 16)))
    assert left_over(tmp_path) == ["lsun_bedrooms.hdf5"]


# -- duplicates ----------------------------------------------------------------------------------


def test_the_bits_nearest_to_the_threshold_count_either_way():
    base = np.random.RandomState(0).permutation(BITS) + 1.0  # of sizes 1 to BITS, all above 0
    order = np.argsort(base)

    def flipped(*places):
        other = base.copy()
        other[order[list(places)]] *= -1
        return other

    codes = [base, base, 2 * base, flipped(0), flipped(*range(IN_DOUBT)), flipped(IN_DOUBT)]
    new = [True, False, False, False, False, True]
    assert list(unseen([np.stack(codes)])) == new
    assert list(unseen(code[None] for code in codes)) == new
    assert list(unseen([np.stack([flipped(BITS - 1), base, -base, flipped(BITS - 1)])])) == [
        True,
        True,
        True,
        False,
    ]


@pytest.fixture(scope="module")
def planted():
    """Numbers kept of: 150 scenes; exact copies, re-encoded ones, and pictures that are near."""
    originals = scenes(150, size=128)
    others = scenes(150, seed=1, size=128)
    shifted = np.roll(originals, 20, axis=2)  # the same things elsewhere
    mixed = (0.75 * originals + 0.25 * others).astype(np.uint8)  # a weak trace of another scene
    contents = [encode(picture, "JPEG", quality=92) for picture in originals]
    contents += contents[:30]
    contents += [encode(picture, "WEBP", quality=80) for picture in originals[30:60]]
    contents += [encode(picture, "JPEG", quality=75) for picture in originals[60:90]]
    contents += [encode(picture) for picture in (*shifted[90:120], *mixed[120:])]
    images = [np.asarray(centre_square(Image.open(io.BytesIO(c)), 64)) for c in contents]
    return set(distinct(np.stack(images).transpose(0, 3, 1, 2), len(images)).tolist())


def test_first_images_and_near_ones_are_spared(planted):
    assert planted.issuperset(range(150))
    assert planted.issuperset(range(240, 300))


def test_planted_duplicates_are_found(planted):
    assert planted.isdisjoint(range(150, 180))  # the same bytes
    for start in (180, 210):  # WebP of a JPEG's scene, and a coarser JPEG
        assert len(planted.intersection(range(start, start + 30))) <= 2


def test_the_same_images_give_the_same_hashes(monkeypatch):
    monkeypatch.setattr(deduplicate, "_LEAST_STEPS", 3)
    images = streaming.halve(scenes(20).transpose(0, 3, 1, 2))
    first, second = (deduplicate.train_coder(images)(images) for _ in range(2))
    assert first.shape == (20, BITS) and first.dtype == np.float32
    np.testing.assert_array_equal(first, second)


def test_uniform_images_do_not_break_it(monkeypatch):
    monkeypatch.setattr(deduplicate, "_LEAST_STEPS", 3)
    assert distinct(np.full((5, 3, 64, 64), 7, np.uint8), 4).tolist() == [0]


def test_real_photographs_with_planted_duplicates(tmp_path, monkeypatch):
    """The sample script's LMDB: what it plants, and nothing else, is dropped."""
    folder = source_folder("imagenet64_sample")
    if not folder.is_dir():
        pytest.skip(f"no {folder}: PIXELVAE_DATA names no folder with imagenet64_sample")
    monkeypatch.setenv("FUEL_DATA_PATH", str(tmp_path / "fuel"))
    script = [sys.executable, "scripts/make-lsun-sample", str(folder), str(tmp_path), "150"]
    subprocess.run(script, cwd=ROOT, check=True)
    data = open_dataset("lsun_bedrooms", tmp_path)
    assert [data.size("train"), data.size("valid")] == [150, 40]
    sample = open_dataset("imagenet64", folder).images("train", 0, 150).transpose(0, 2, 3, 1)
    large = [Image.fromarray(i).resize((341, 256), Image.Resampling.BICUBIC) for i in sample]
    originals = np.stack([np.asarray(centre_square(i, 64)) for i in large]).astype(float)
    images = data.images("train").transpose(0, 2, 3, 1)
    distances = [np.abs(originals - image).mean((1, 2, 3)) for image in images]
    assert set(np.argmin(distances, axis=1)) == set(range(150))  # each photograph is there once
