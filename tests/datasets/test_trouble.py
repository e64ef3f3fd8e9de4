"""What is not the data's fault, and what the data do not say by themselves: nothing in silence."""

from __future__ import annotations

import errno
import fcntl
import io
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image

from pixelvae.datasets import open_dataset
from pixelvae.datasets.__main__ import command
from pixelvae.datasets.hdf5 import UnusableFile
from pixelvae.machine.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
LINES = {"train": 6, "valid": 3, "test": 4}


@pytest.fixture
def source(tmp_path, monkeypatch):
    """A folder of small .amat files in PIXELVAE_DATA; FUEL_DATA_PATH names an empty one."""
    monkeypatch.setenv("PIXELVAE_DATA", str(tmp_path / "sources"))
    monkeypatch.setenv("FUEL_DATA_PATH", str(tmp_path / "fuel"))
    folder = tmp_path / "sources" / "own"
    folder.mkdir(parents=True)
    random = np.random.RandomState(0)
    for split, count in LINES.items():
        write_amat(folder / f"own_{split}.amat", random.randint(2, size=(count, 784)))
    return folder


def write_amat(path, rows):
    path.write_text("".join(" ".join(map(str, row)) + "\n" for row in rows))


@pytest.fixture
def converted(source, tmp_path):
    open_dataset("own")
    return tmp_path / "fuel" / "own.hdf5"


# -- a good file is never called damaged, nor replaced ---------------------------------------------


def untouched(path):
    return path.stat().st_ino, path.stat().st_mtime_ns, path.read_bytes()


def test_a_file_that_another_program_has_locked(converted, capsys):
    before = untouched(converted)
    with open(converted, "r+b") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        for word in ("prepare", "verify"):
            assert command([word, "own"]) == 2
            line = capsys.readouterr().err.splitlines()[-1]
            assert "own.hdf5 is in use by another program" in line and "damaged" not in line
    assert untouched(converted) == before
    assert command(["prepare", "own"]) == 0 and untouched(converted) == before


def test_a_file_that_another_program_writes(converted):
    """In a process of its own, for HDF5 knows what this one has open."""
    code = (
        f"import h5py; f = h5py.File({str(converted)!r}, 'r+'); print('open', flush=True); input()"
    )
    writer = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert writer.stdout.readline() == b"open\n"
        with pytest.raises(UserError, match="in use by another program") as raised:
            open_dataset("own")
        assert not isinstance(raised.value, UnusableFile)
    finally:
        writer.communicate(b"\n")


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_disk_without_locks(converted, monkeypatch, number):
    """As network disks have it: HDF5 cannot lock the file, and need not."""

    class WithoutLocks(h5py.File):
        def __init__(self, *arguments, locking=None, **options):
            if locking is not False:
                raise OSError(
                    number, f"Unable to open file (unable to lock file, errno = {number})"
                )
            super().__init__(*arguments, locking=locking, **options)

    monkeypatch.setattr(h5py, "File", WithoutLocks)
    assert open_dataset("own").size("train") == 6
    assert command(["verify", "own"]) == 0


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.ENOTCONN, errno.EACCES])
def test_a_disk_that_fails(converted, monkeypatch, capsys, number):
    """Half mounted, gone, or not for us: what the system says, and the file stays."""
    before = untouched(converted)

    def failing(*arguments, **options):
        raise OSError(number, f"Unable to open file (time = Mon\n, errno = {number})")

    with monkeypatch.context() as patch:
        patch.setattr(h5py, "File", failing)
        assert command(["prepare", "own"]) == 2
        line = capsys.readouterr().err.splitlines()[-1]
        assert "damaged" not in line and (os.strerror(number) in line or "in use" in line)
    assert untouched(converted) == before
    data = open_dataset("own")
    with monkeypatch.context() as patch:
        patch.setattr("pixelvae.datasets.base.DataStream", failing)
        with pytest.raises(UserError, match="cannot read the images of own: "):
            next(data.training_stream(2, 0))

    def gone(*arguments):
        raise OSError(number, os.strerror(number))

    for function in ("stat", "listdir"):
        with monkeypatch.context() as patch:
            patch.setattr(os, function, gone)
            with pytest.raises(UserError, match=os.strerror(number)):
                open_dataset("own")


def test_only_content_is_damage(converted):
    converted.write_bytes(converted.read_bytes()[:3000])
    with pytest.raises(UnusableFile, match="own.hdf5 is damaged"):
        open_dataset("own")
    assert command(["prepare", "own"]) == 0


def test_an_lmdb_that_may_not_be_read(tmp_path, monkeypatch):
    from pixelvae.datasets import lsun_bedrooms

    (tmp_path / "data.mdb").write_bytes(b"some")

    def refuse(path):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(lsun_bedrooms, "open_ordinary", refuse)
    with pytest.raises(UserError, match="cannot read .*data.mdb: Permission denied"):
        list(lsun_bedrooms._images(tmp_path, 0))


def test_who_waits_for_another_process_is_told(source, tmp_path, capsys, monkeypatch):
    work = tmp_path / "fuel" / ".own.hdf5.work"
    work.mkdir(parents=True)
    other = open(work / "lock", "wb")
    fcntl.flock(other, fcntl.LOCK_EX)
    monkeypatch.setattr(
        "pixelvae.datasets.conversion.say", lambda line: (print(line), other.close())
    )
    open_dataset("own")
    assert "waiting for another process" in capsys.readouterr().out


# -- names and companions --------------------------------------------------------------------------


def test_companions_beside_sources_and_converted_files(source, tmp_path, capsys):
    for name in ("._own_train.amat", ".DS_Store", "Thumbs.db", ".own_test.amat"):
        (source / name).write_bytes(b"\0\5\x16\7")
    assert open_dataset("own").size("train") == 6
    (tmp_path / "fuel" / "._own.hdf5").write_bytes(b"\0\5\x16\7")
    assert command(["list"]) == 0
    assert "._own" not in capsys.readouterr().out


def test_companions_in_a_tar(tmp_path, monkeypatch):
    monkeypatch.setenv("FUEL_DATA_PATH", str(tmp_path / "fuel"))
    out = io.BytesIO()
    Image.fromarray(np.full((64, 64, 3), 7, np.uint8)).save(out, "PNG")
    for split in ("train", "valid"):
        with tarfile.open(tmp_path / f"{split}_64x64.tar", "w") as tar:
            for name, content in [
                (f"{split}/1.png", out.getvalue()),
                (f"{split}/._1.png", b"\0\5\x16\7"),
                (f"{split}/.DS_Store", b"\0\0\0\1"),
                (f"{split}/Thumbs.db", b"x"),
                (f"__MACOSX/{split}/1.png", b"x"),
            ]:
                member = tarfile.TarInfo(name)
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    assert open_dataset("imagenet64", tmp_path).size("train") == 1


def test_mnist_files_with_a_point_in_their_names(tmp_path, monkeypatch):
    real = Path(os.environ.get("PIXELVAE_DATA", "data")) / "mnist"
    if not real.is_dir():
        pytest.skip(f"no {real}: PIXELVAE_DATA names no folder with mnist")
    monkeypatch.setenv("FUEL_DATA_PATH", str(tmp_path / "fuel"))
    folder = tmp_path / "mnist"
    folder.mkdir()
    for path in real.iterdir():
        (folder / path.name.replace("-idx", ".idx")).symlink_to(path)
    assert open_dataset("mnist", folder).size("train") == 50000


def test_a_name_that_is_nearly_right_is_shown(source):
    (source / "own_train.amat").rename(source / "own_train.amat.zip")
    with pytest.raises(UserError, match="own has no .*train.amat .*it has 'own_train.amat.zip'"):
        open_dataset("own", source)


# -- what the data do not say by themselves --------------------------------------------------------


def said(capsys):
    return [line for line in capsys.readouterr().err.splitlines() if line.startswith("data: ")]


def test_the_same_images_in_several_splits(source, capsys):
    open_dataset("own")
    assert said(capsys) == []
    shutil.copy(source / "own_train.amat", source / "own_test.amat")
    (source / "own_valid.amat").write_text((source / "own_train.amat").read_text()[: 2 * 1568])
    for _ in range(2):  # when it is converted, and afterwards
        data = open_dataset("own")
        (line,) = said(capsys)
        assert "2 of 2 valid images in train; 6 of 6 test images in train" in line
        assert "2 of 6 test images in valid" in line and len(data.remarks) == 1


def test_a_validation_split_that_is_the_test_split_by_publication_is_no_overlap(tmp_path):
    from pixelvae.datasets.duplicates import overlap, repeated
    from pixelvae.datasets.memory import InMemory

    images = np.arange(12, dtype=np.uint8).reshape(3, 1, 2, 2)
    data = InMemory({"train": images[:1], "valid": images[1:], "test": images[1:]})
    assert overlap(data, ("train", "valid")) is None
    assert "2 of 2 test images in valid" in overlap(data, ("train", "valid", "test"))
    assert repeated(data, "test", ("train", "valid")).tolist() == [True, True]
    assert repeated(data, "test", ("train",)).tolist() == [False, False]


def npz(path, **arrays):
    np.savez(path, **arrays)
    return str(path)


def test_an_npz_with_the_same_images(tmp_path, capsys):
    images = np.random.RandomState(0).randint(2, size=(9, 4, 5)).astype(np.uint8)
    open_dataset(npz(tmp_path / "a.npz", train=images, valid=images[:2], test=images[4:8]))
    (line,) = said(capsys)
    assert "2 of 2 valid images in train; 4 of 4 test images in train" in line


@pytest.mark.parametrize("high", [255, 1, 7])
def test_binary_images_that_are_not_zeros_and_ones(tmp_path, capsys, high):
    random = np.random.RandomState(0)
    splits = {
        s: random.randint(2, size=(n, 6, 6)).astype(np.uint8) * high for s, n in LINES.items()
    }
    data = open_dataset(npz(tmp_path / "a.npz", **splits))
    lines = said(capsys)
    assert data.levels == (2 if high == 1 else 256)
    if high == 1:
        assert lines == []
    else:
        assert len(lines) == 1 and f"two values, 0 and {high}: store 0 and 1" in lines[0]


def test_what_a_data_set_is_does_not_depend_on_its_place(tmp_path):
    arrays = {
        s: np.random.RandomState(n).randint(9, size=(n, 4, 4)).astype("u1")
        for s, n in LINES.items()
    }
    first = open_dataset(npz(tmp_path / "a.npz", **arrays))
    (tmp_path / "a.npz").rename(tmp_path / "b.npz")
    assert open_dataset(str(tmp_path / "b.npz")).checksum == first.checksum


# -- folders --------------------------------------------------------------------------------------


def test_a_home_that_is_none(tmp_path, monkeypatch):
    monkeypatch.setenv("PIXELVAE_DATA", "~nobody-of-this-name/data")
    with pytest.raises(UserError, match="~nobody-of-this-name/data, which is not a directory"):
        open_dataset("mnist")
