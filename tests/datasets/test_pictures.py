"""Pictures of one's own: which files count, what becomes of them, what an interruption leaves."""

from __future__ import annotations

import io
import os
import shutil
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image

from pixelvae.datasets import DamagedPicture, open_dataset, streaming
from pixelvae.datasets.__main__ import command
from pixelvae.datasets.picture_files import listed, split
from pixelvae.machine.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
REAL = os.environ.get("PIXELVAE_DATA")  # before the tests change it
SIZES = {"train": 9, "valid": 3, "test": 4}


def encoded(pixels, file_format="PNG", **options):
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, file_format, **options)
    return out.getvalue()


def noise(seed, height=32, width=32):
    return np.random.RandomState(seed).randint(256, size=(height, width, 3)).astype(np.uint8)


def pictures():
    """Name and content of pictures of 32×32, two classes in each split."""
    found = {}
    for s, (name, size) in enumerate(SIZES.items()):
        for number in range(size):
            kind = ("cats", "dogs")[number % 2]
            found[f"{name}/{kind}/deep/{number:02}.png"] = encoded(noise(100 * s + number))
    return found


def write_folder(folder, contents):
    for name, content in contents.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def write_zip(path, contents):
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in contents.items():
            archive.writestr(name, content)
    return path


@pytest.fixture(autouse=True)
def folders(tmp_path, monkeypatch):
    monkeypatch.setenv("PIXELVAE_DATA", str(tmp_path))
    monkeypatch.setenv("FUEL_DATA_PATH", str(tmp_path / "fuel"))


def opened(place, **options):
    return open_dataset(str(place), **{"image_size": 32, **options})


def sizes(dataset):
    return [dataset.size(name) for name in SIZES]


def test_a_relative_name_is_looked_for_here_and_then_where_data_are(tmp_path, monkeypatch):
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    write_folder(tmp_path / "photos" / "all", pictures())
    there = opened("photos/all")
    assert (there.name, sizes(there)) == ("photos/all", [9, 3, 4])
    few = {name: content for name, content in pictures().items() if "8" not in name}
    write_folder(here / "photos" / "all", few)
    assert sizes(opened("photos/all")) == [8, 3, 4]
    shutil.rmtree(here / "photos")
    shutil.rmtree(tmp_path / "photos")
    assert sizes(opened("photos/all")) == [8, 3, 4]  # what was converted of the nearer one
    with pytest.raises(UserError, match="photos/none is not there"):
        opened("photos/none")


def test_a_folder_and_a_zip_of_it_are_the_same_data(tmp_path):
    folder = write_folder(tmp_path / "photos", pictures())
    wrapped = {f"my photos/{name}": content for name, content in pictures().items()}
    data, same = opened(folder), opened(write_zip(tmp_path / "photos.zip", wrapped))
    assert (data.name, data.levels, data.image_shape) == (str(folder), 256, (3, 32, 32))
    assert sizes(data) == [9, 3, 4] and data.checksum == same.checksum
    for s, name in enumerate(SIZES):
        # In the order of the names: cats before dogs.
        order = [n for k in (0, 1) for n in range(k, SIZES[name], 2)]
        expected = np.stack([noise(100 * s + n) for n in order]).transpose(0, 3, 1, 2)
        np.testing.assert_array_equal(data.images(name), expected)
        assert data.labels(name).tolist() == [n % 2 for n in order]
    assert len(list((tmp_path / "fuel").iterdir())) == 2


def test_pictures_are_cropped_averaged_and_upright(tmp_path):
    random = np.random.RandomState(0).randint(256, size=(64, 96, 3)).astype(np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: the right way up is a quarter turn clockwise
    wide = encoded(random)
    turned = encoded(np.rot90(random).copy(), exif=exif.tobytes())
    grey = encoded(random[:, :, 0])
    folder = write_folder(
        tmp_path / "p",
        {"train/a.png": wide, "train/b.png": turned, "valid/c.png": grey, "test/c.PNG": wide},
    )
    data = opened(folder, image_size=16)
    mean = random[:, 16:80].astype(float).reshape(16, 4, 16, 4, 3).mean((1, 3)).transpose(2, 0, 1)
    for image in (*data.images("train"), data.images("test")[0]):
        assert np.abs(image - mean).max() <= 1  # Pillow rounds after each of two directions
    assert np.abs(data.images("valid")[0] - mean[0]).max() <= 1
    assert opened(folder).image_shape == (3, 32, 32)  # another size is another file


def test_jpeg_and_webp(tmp_path):
    smooth = np.add.outer(np.arange(32), np.arange(32) * 2).astype(np.uint8)
    smooth = np.repeat(smooth[..., None], 3, 2)
    contents = {
        "train/a.jpeg": encoded(smooth, "JPEG", quality=95),
        "valid/b.webp": encoded(smooth, "WEBP", lossless=True),
        "test/really-a.jpg": encoded(smooth),
    }
    data = opened(write_folder(tmp_path / "p", contents))
    for name in SIZES:
        assert np.abs(data.images(name)[0] - smooth.transpose(2, 0, 1).astype(int)).max() <= 8


# -- which files count ---------------------------------------------------------------------------


COMPANIONS = (
    ".DS_Store", "train/Thumbs.db", "train/._00.png", "__MACOSX/train/cats/._x.png", "train/.h/a.png",
    "train/@eaDir/a.png", "$RECYCLE.BIN/a.png", "desktop.ini",
)  # fmt: skip


@pytest.mark.parametrize("packed", [False, True])
def test_what_other_systems_leave_is_no_picture(tmp_path, packed, capsys):
    contents = {**pictures(), **dict.fromkeys(COMPANIONS, encoded(noise(1)))}
    contents["train/notes.txt"] = b"hello"
    place = (
        write_zip(tmp_path / "p.zip", contents)
        if packed
        else write_folder(tmp_path / "p", contents)
    )
    assert sizes(opened(place)) == [9, 3, 4]
    assert "those of JPEG, PNG and WebP do: 1" in capsys.readouterr().err


def test_links_below_the_folder_are_followed_and_loops_are_not(tmp_path, capsys):
    folder = write_folder(tmp_path / "p", pictures())
    cache = write_folder(
        tmp_path / ".cache", {"0a1b": encoded(noise(1)), "more/y.png": encoded(noise(2))}
    )
    (folder / "train" / "a.png").symlink_to(cache / "0a1b")  # named by its content, as in git-annex
    (folder / "train" / "more").symlink_to(cache / "more")
    (folder / "test" / "again.png").symlink_to(folder / "train" / "cats" / "deep" / "00.png")
    (folder / "train" / "nowhere.png").symlink_to(cache / "gone.png")
    (folder / "train" / "itself.png").symlink_to("itself.png")
    (folder / "train" / "loop").symlink_to(folder)
    (cache / "more" / "back").symlink_to(folder / "train")
    os.mkfifo(folder / "train" / "pipe.png")
    assert sizes(opened(folder)) == [11, 3, 5]
    assert "in a circle or out of a zip: 4" in capsys.readouterr().err
    linked = tmp_path / "link"
    linked.symlink_to(folder)
    assert listed(linked).names == listed(folder).names


def test_links_without_content_are_counted_in_the_line(tmp_path):
    for number in range(9):
        (tmp_path / f"{number}.jpg").symlink_to(tmp_path / ".git/annex/objects" / str(number))
    with pytest.raises(
        UserError, match="has no pictures: files left out because they lead nowhere.*: 9;"
    ):
        opened(tmp_path)


def test_path_tricks_in_a_zip_are_no_pictures(tmp_path, capsys):
    path = write_zip(tmp_path / "p.zip", pictures())
    with zipfile.ZipFile(path, "a") as archive:
        for name in ("../train/x.png", "/train/x.png", "C:/train/x.png", "train/../../x.png"):
            archive.writestr(name, encoded(noise(1)))
        link = zipfile.ZipInfo("train/link.png")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
        odd = zipfile.ZipInfo("x")
        odd.filename = "train\\cats\\windows.png"  # as some programs write folders
        archive.writestr(odd, encoded(noise(2)))
    assert sizes(opened(path)) == [10, 3, 4]
    assert "in a circle or out of a zip: 5" in capsys.readouterr().err
    assert not (tmp_path / "x.png").exists()


def test_a_split_by_a_hash_of_the_names(tmp_path, capsys):
    contents = {f"photos/{n}.png": encoded(noise(n, 16, 16)) for n in range(60)}
    data = opened(write_folder(tmp_path / "p", contents), image_size=16)
    assert sizes(data) == [54, 3, 3]
    said = [line for line in capsys.readouterr().err.splitlines() if "a hash of" in line]
    assert len(said) == 1 and "54 / 3 / 3" in said[0]
    found = [bytes(image) for name in SIZES for image in data.images(name)]
    assert len(set(found)) == 60
    same = opened(write_zip(tmp_path / "q.zip", contents), image_size=16)
    assert same.checksum == data.checksum
    names = split([f"{n}.png" for n in range(60)]).names  # the folder that holds all counts not
    kept = {name.rpartition("/")[2] for name in split(sorted(contents)).names["test"]}
    assert kept == set(names["test"])


def test_a_split_that_is_missing_is_taken_from_training():
    names = [f"train/{n}.png" for n in range(40)] + ["val/a.png", "other/b.png"]
    found = split(names)
    assert [len(found.names[name]) for name in SIZES] == [38, 1, 2]
    assert found.names["valid"] == ["val/a.png"]
    assert any(remark.endswith("outside train, valid and test: 1") for remark in found.remarks)
    for few in (["valid/a.png"], ["a.png", "b.png"]):
        with pytest.raises(UserError, match="no pictures for training|too few to be split"):
            split(few)


def test_labels_only_if_folders_are_classes():
    def labels(*names):
        return split(list(names)).labels

    assert labels("train/a/1.png", "train/b/1.png", "valid/a/1.png", "test/b/1.png") is not None
    assert labels("train/1.png", "train/b/1.png", "valid/a/1.png", "test/b/1.png") is None
    assert labels("train/a/1.png", "train/b/1.png", "valid/all/1.png", "test/b/1.png") is None
    assert labels("train/a/1.png", "valid/a/1.png", "test/a/1.png") is None


# -- what is wrong ---------------------------------------------------------------------------------


@pytest.mark.parametrize("packed", [False, True])
def test_damaged_pictures_are_named_or_left_out(tmp_path, packed, capsys):
    contents = pictures()
    contents["train/cats/deep/00.png"] = contents["train/cats/deep/00.png"][:300]
    contents["train/cats/small.png"] = encoded(noise(1, 20, 20))
    contents["valid/dogs/empty.jpg"] = b""
    place = (
        write_zip(tmp_path / "p.zip", contents)
        if packed
        else write_folder(tmp_path / "p", contents)
    )
    with pytest.raises(DamagedPicture, match="'train/cats/deep/00.png' is damaged or no JPEG"):
        opened(place)
    assert command(["prepare", str(place), "--image-size", "32"]) == 2
    assert "leave damaged pictures out (--skip-damaged)" in capsys.readouterr().err
    skipping = ["prepare", str(place), "--image-size", "32", "--skip-damaged"]
    assert command(skipping) == 0
    assert "damaged pictures left out of the train split: 2" in capsys.readouterr().err
    data = opened(place)  # converted as it is
    assert sizes(data) == [8, 3, 4] and len(data.remarks) == 2
    expected = [noise(n) for n in (2, 4, 6, 8, 1, 3, 5, 7)]
    np.testing.assert_array_equal(data.images("train").transpose(0, 2, 3, 1), expected)
    np.testing.assert_array_equal(data.images("valid")[0].transpose(1, 2, 0), noise(100))
    assert data.labels("train").tolist() == [0] * 4 + [1] * 4
    assert command(["verify", str(place), "--image-size", "32"]) == 0
    assert [path.suffix for path in (tmp_path / "fuel").iterdir()] == [".hdf5"]


def test_a_damaged_place_in_a_zip(tmp_path):
    path = write_zip(tmp_path / "p.zip", pictures())
    content = bytearray(path.read_bytes())
    content[content.index(b"train/dogs/deep/03.png") + 100] ^= 1
    path.write_bytes(content)
    with pytest.raises(DamagedPicture, match="'train/dogs/deep/03.png' is damaged in the zip"):
        opened(path)
    assert sizes(opened(path, skip_damaged=True)) == [8, 3, 4]


@pytest.mark.parametrize("edit", [lambda b: b"", lambda b: b"hello", lambda b: b[: len(b) // 2]])
def test_what_is_no_zip(tmp_path, edit):
    path = write_zip(tmp_path / "p.zip", pictures())
    path.write_bytes(edit(path.read_bytes()))
    with pytest.raises(UserError, match="p.zip is truncated, damaged or no zip file"):
        opened(path)


def test_places_without_pictures(tmp_path):
    (tmp_path / "empty").mkdir()
    for name, words in (
        ("empty", "has no pictures"),
        ("none", "is not there"),
        ("a.zip", "not there"),
    ):
        with pytest.raises(UserError, match=words):
            opened(tmp_path / name)
    folder = write_folder(tmp_path / "p", pictures())
    for size in (0, 15, 40, 2048):
        with pytest.raises(UserError, match="choose a multiple of 16 up to 1024|image size"):
            opened(folder, image_size=size or -16)
    with pytest.raises(UserError, match="is itself the source"):
        opened(folder, source=tmp_path)


def test_a_file_that_may_not_be_read_is_not_damaged(tmp_path, monkeypatch):
    folder = write_folder(tmp_path / "p", pictures())

    def refuse(path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pixelvae.datasets.picture_files.open_ordinary", refuse)
    with pytest.raises(UserError, match="cannot read .*00.png: Permission denied") as raised:
        opened(folder, skip_damaged=True)
    assert not isinstance(raised.value, DamagedPicture)


# -- converted once --------------------------------------------------------------------------------


def test_it_is_converted_once_and_again_if_it_changes(tmp_path):
    folder = write_folder(tmp_path / "p", pictures())
    first = opened(folder).checksum
    (path,) = (tmp_path / "fuel").iterdir()
    written = path.stat().st_mtime_ns
    assert opened(folder).checksum == first and path.stat().st_mtime_ns == written
    (folder / "train" / "cats" / "deep" / "00.png").write_bytes(encoded(noise(77)))
    changed = opened(folder)
    assert changed.checksum != first
    np.testing.assert_array_equal(changed.images("train")[0].transpose(1, 2, 0), noise(77))
    folder.rename(tmp_path / "elsewhere")  # or unmounted
    assert opened(folder).checksum == changed.checksum
    folder.mkdir()
    assert opened(folder).checksum == changed.checksum


def test_a_name_alone_and_names_that_are_odd(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_folder(tmp_path / "photos", pictures())
    assert sizes(opened("photos")) == [9, 3, 4]
    assert sizes(opened(write_folder(tmp_path / "my [ö] photos, 100%", pictures()))) == [9, 3, 4]
    names = {os.fsdecode(b"train/\xff\xfe.png"): encoded(noise(50)), **pictures()}
    assert sizes(opened(write_folder(tmp_path / "bytes", names))) == [10, 3, 4]


@pytest.mark.parametrize("killed_after", [3, 10, 15])
@pytest.mark.parametrize("skip", [False, True])
def test_a_killed_conversion_goes_on(tmp_path, killed_after, skip, monkeypatch):
    contents = pictures()
    if skip:
        contents["train/cats/deep/02.png"] = b"damaged"
    folder = write_folder(tmp_path / "p", contents)
    code = f"""
import os, signal, sys
from pixelvae.datasets import open_dataset, pictures, streaming
streaming._BLOCK = 4
square, count = pictures.square, iter(range(100))
def killing(*arguments):
    if next(count) == {killed_after}:
        os.kill(os.getpid(), signal.SIGKILL)
    return square(*arguments)
pictures.square = killing
open_dataset(sys.argv[1], image_size=32, skip_damaged={skip})
"""
    done = subprocess.run([sys.executable, "-c", code, str(folder)], cwd=ROOT, capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    calls = []
    from pixelvae.datasets import pictures as module

    square = module.square
    monkeypatch.setattr(module, "square", lambda *a: calls.append(a) or square(*a))
    data = opened(folder, skip_damaged=skip)
    assert len(calls) == 16 - killed_after // 4 * 4
    order = [n for n in (0, 2, 4, 6, 8, 1, 3, 5, 7) if not (skip and n == 2)]
    expected = np.stack([noise(n) for n in order])
    np.testing.assert_array_equal(data.images("train").transpose(0, 2, 3, 1), expected)
    assert [path.suffix for path in (tmp_path / "fuel").iterdir()] == [".hdf5"]


@pytest.mark.parametrize("at", ["replace", "header"])
def test_killed_while_leaving_pictures_out(tmp_path, monkeypatch, at):
    folder = write_folder(tmp_path / "p", {**pictures(), "train/cats/a.png": b"damaged"})

    class InterruptedState(streaming._State):
        def save(self, note):
            super().save(note)
            if self.moved:  # and the file not yet in its place
                raise KeyboardInterrupt

    def interrupted(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        if at == "replace":
            patch.setattr(streaming, "_State", InterruptedState)
        else:
            patch.setattr("pixelvae.datasets.conversion.write_header", interrupted)
        with pytest.raises(KeyboardInterrupt):
            opened(folder, skip_damaged=True)
    data = opened(folder, skip_damaged=True)
    assert sizes(data) == [9, 3, 4]
    np.testing.assert_array_equal(data.images("train")[0].transpose(1, 2, 0), noise(0))


def test_left_out_before_and_not_asked_for_now(tmp_path, monkeypatch):
    folder = write_folder(tmp_path / "p", {**pictures(), "train/cats/a.png": b"damaged"})

    def interrupted(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("pixelvae.datasets.conversion.write_header", interrupted)
        with pytest.raises(KeyboardInterrupt):
            opened(folder, skip_damaged=True)
    with pytest.raises(DamagedPicture, match="'train/cats/a.png' is damaged"):
        opened(folder)
    assert sizes(opened(folder, skip_damaged=True)) == [9, 3, 4]


def test_classes_are_kept_by_name(tmp_path):
    opened(write_folder(tmp_path / "p", pictures()))
    (path,) = (tmp_path / "fuel").iterdir()
    with h5py.File(path, "r") as file:
        assert file.attrs["classes"] == '["cats", "dogs"]'


def test_a_damaged_converted_file_says_what_to_run(tmp_path, capsys):
    folder = write_folder(tmp_path / "p", pictures())
    opened(folder)
    (path,) = (tmp_path / "fuel").iterdir()
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(UserError, match=f"run `python -m datasets prepare {folder}`"):
        opened(folder)
    assert command(["prepare", str(folder), "--image-size", "32"]) == 0
    assert sizes(opened(folder)) == [9, 3, 4]


def test_real_photographs():
    place = Path(REAL or "data") / "photos64" / "photos64.zip"
    if not place.exists():
        pytest.skip(f"no {place}: PIXELVAE_DATA names no folder with photos64")
    found = split(listed(place).names)
    assert [len(found.names[name]) for name in SIZES] == [40000, 2500, 2500]
    assert found.names["train"][0] == "train/00000.jpg" and found.labels is None
