"""From source files to converted files: what is refused, what survives, what the commands say."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import h5py
import numpy as np
import pytest

from pixelvae.datasets import SPLITS, binarized_mnist, mnist, open_dataset
from pixelvae.datasets.__main__ import command
from pixelvae.datasets.conversion import open_recipe, prepare
from pixelvae.datasets.hdf5 import FORMAT, verify
from pixelvae.datasets.sources import stage
from pixelvae.machine.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
LINES = {"train": 6, "valid": 3, "test": 4}


def amat(images):
    return "".join(" ".join(map(str, row)) + "\n" for row in images.reshape(len(images), -1))


@pytest.fixture
def images():
    random = np.random.RandomState(0)
    return {s: random.randint(2, size=(n, 1, 28, 28)).astype(np.uint8) for s, n in LINES.items()}


@pytest.fixture
def source(tmp_path, monkeypatch, images):
    """A folder of small .amat files in PIXELVAE_DATA; FUEL_DATA_PATH names an empty one."""
    monkeypatch.setenv("PIXELVAE_DATA", str(tmp_path / "sources"))
    monkeypatch.setenv("FUEL_DATA_PATH", str(tmp_path / "fuel"))
    folder = tmp_path / "sources" / "own"
    folder.mkdir(parents=True)
    for split in SPLITS:
        (folder / f"own_{split}.amat").write_text(amat(images[split]))
    return folder


@pytest.fixture
def published(source):
    """A recipe that expects exactly these files, as that of binarized MNIST does the real ones."""
    recipe = binarized_mnist.amat_recipe("own")
    files = [
        dataclasses.replace(
            file,
            problem=partial(binarized_mnist.amat_problem, lines=lines),
            size=lines * 1568,
            md5=hashlib.md5((source / f"own_{split}.amat").read_bytes()).hexdigest(),
        )
        for file, (split, lines) in zip(recipe.files, LINES.items())
    ]
    return dataclasses.replace(recipe, files=files)


def compress(path):
    path.with_name(path.name + ".gz").write_bytes(gzip.compress(path.read_bytes()))
    path.unlink()


def left_over(folder):
    return sorted(path.name for path in (folder / "fuel").glob("*") if path.name != "own.hdf5")


# -- conversion --------------------------------------------------------------------------------


@pytest.mark.parametrize("zipped", [(), ("valid",), SPLITS])
def test_plain_and_gzipped_sources_convert_to_the_same(source, published, images, zipped, tmp_path):
    for split in zipped:
        compress(source / f"own_{split}.amat")
    data = open_recipe(published)
    for split in SPLITS:
        np.testing.assert_array_equal(data.images(split), images[split])
    assert data.checksum == open_dataset("own").checksum == verify(published.path).checksum
    assert left_over(tmp_path) == []
    with pytest.raises(UserError, match="own has no labels"):
        data.labels("test")


def test_fuel_reads_the_converted_file(source, published):
    from fuel.datasets import H5PYDataset

    prepare(published)
    assert H5PYDataset(str(published.path), ("train",)).num_examples == LINES["train"]


def change(source, split, edit):
    path = source / f"own_{split}.amat"
    path.write_bytes(edit(path.read_bytes()))


BAD_AMAT = {
    "a 2": (lambda b: b[:1568] + b"2" + b[1569:], "has '2', not 0 or 1, in line 2, column 1"),
    "text": (lambda b: b"<html>\n</html>\n", "has '<html>', not 0 or 1, in line 1, column 1"),
    "bytes": (lambda b: b"\x7f\0\xfe\n" * 9000, "not 0 or 1, in line 1"),
    "truncated": (
        lambda b: b[: 1568 * 2 + 100],
        "is truncated: line 3 ends after 50 of 784 values",
    ),
    "a long line": (lambda b: b[:-1] + b" 1\n", "has 785 values in line 3, not 784"),
    "a short line": (lambda b: b[2:], "has 783 values in line 1, not 784"),
    "endless line": (lambda b: b"0 " * 10**6, "values in line 1, not 784"),
    "empty": (lambda b: b"", "has too few lines: 0"),
}
BAD_COUNT = {
    "too few lines": (lambda b: b[1568:], "has too few lines: 2, not 3"),
    "too many lines": (lambda b: b + b[:1568], "has more than 3 lines"),
    "a flipped bit": (
        lambda b: bytes([b[0] ^ 1]) + b[1:],
        "has another content than the published",
    ),
}


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("case", [*BAD_AMAT, *BAD_COUNT])
def test_bad_amat(source, published, case, zipped, tmp_path):
    edit, words = {**BAD_AMAT, **BAD_COUNT}[case]
    change(source, "valid", edit)
    if zipped:
        compress(source / "own_valid.amat")
    with pytest.raises(UserError, match=rf"own_valid\.amat(\.gz)? .*{words}") as raised:
        prepare(published)
    assert "\n" not in str(raised.value) and str(raised.value).endswith(": get it again")
    assert not published.path.exists() and left_over(tmp_path) == []


@pytest.mark.parametrize("case", BAD_AMAT)
def test_bad_amat_of_ones_own(source, case):
    edit, words = BAD_AMAT[case]
    change(
        source, "train", edit if case != "a long line" else lambda b: b[: 1568 * 3 - 1] + b" 1\n"
    )
    with pytest.raises(UserError, match=words):
        open_dataset("own")


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda b: b[:-20], "is truncated"),
        (lambda b: b[:100] + bytes([b[100] ^ 8]) + b[101:], "is damaged|has another content"),
        (lambda b: b[:-6] + b"\0\0" + b[-4:], "is damaged .CRC"),
        (gzip.decompress, "is not a gzip file"),
        (lambda b: b"", "is not a gzip file"),
    ],
)
def test_bad_gzip(source, published, edit, words):
    path = source / "own_train.amat.gz"
    compress(source / "own_train.amat")
    path.write_bytes(edit(path.read_bytes()))
    with pytest.raises(UserError, match=rf"own_train\.amat\.gz .*({words})"):
        prepare(published)


def test_a_gzip_bomb_does_not_fill_the_disk(source, published, tmp_path):
    (source / "own_train.amat").unlink()
    with gzip.open(source / "own_train.amat.gz", "wb") as file:
        for _ in range(64):
            file.write(b"0 " * (1 << 19))
    work = tmp_path / "work"
    work.mkdir()
    with pytest.raises(UserError, match="values in line 1, not 784"):
        stage(published.files[0], source / "own_train.amat.gz", work)
    assert sum(path.stat().st_size for path in work.iterdir()) <= published.files[0].size
    own = dataclasses.replace(published.files[0], size=None, md5=None)
    with pytest.raises(UserError, match="values in line 1, not 784: correct it"):
        stage(own, source / "own_train.amat.gz", work / "own")
    assert not (work / "own").exists()


def test_what_is_no_file_is_refused_and_not_waited_for(source, published):
    (source / "own_train.amat").unlink()
    os.mkfifo(source / "own_train.amat")
    with pytest.raises(UserError, match="own_train.amat: it is not an ordinary file"):
        prepare(published)


def idx(magic, shape, content):
    header = b"".join(n.to_bytes(4, "big") for n in (magic, *shape))
    return header + content


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (idx(2051, (3, 28, 28), bytes(3 * 784)), None),
        (idx(2051, (3, 28, 28), bytes(3 * 784 - 5)), "has 2363 bytes, not 2368: it is truncated"),
        (idx(2051, (3, 28, 28), bytes(3 * 784 + 5)), "has 2373 bytes, not 2368"),
        (idx(2049, (3,), bytes(3)), "is not an IDX file of images"),
        (b"<html>", "is not an IDX file of images"),
        (b"", "is not an IDX file of images"),
        (idx(2051, (3, 32, 32), bytes(3 * 1024)), "of another shape than"),
        (idx(2051, (2**32 - 1, 28, 28), b""), "of another shape than"),
    ],
)
def test_idx_files(tmp_path, content, words):
    path = tmp_path / "train-images-idx3-ubyte"
    path.write_bytes(content)
    zipped = path.with_name(path.name + ".gz")
    zipped.write_bytes(gzip.compress(content))
    for file in (path, zipped):
        problem = mnist.idx_problem(file, (3, 28, 28))
        assert words in problem if words else problem is None


def test_missing_and_doubled_files(source, published):
    with pytest.raises(UserError, match=r"has no \*train.amat \(or .gz\)"):
        prepare(published, source=source.parent)
    (source / "other_train.amat").write_text("")
    with pytest.raises(UserError, match="has other_train.amat and own_train.amat: keep the one"):
        prepare(published)
    (source / "other_train.amat").unlink()
    (source / "own_test.amat").unlink()
    with pytest.raises(UserError, match=r"\*test.amat is not in .*own and cannot be downloaded"):
        prepare(published)


def test_a_folder_that_cannot_be_read(source, published, monkeypatch):
    for path in source.iterdir():
        path.unlink()
    source.rmdir()
    source.write_text("a file where the folder should be")
    with pytest.raises(UserError, match="cannot read the folder .*own: Not a directory"):
        prepare(published)

    def refuse(folder):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "listdir", refuse)
    with pytest.raises(UserError, match="cannot read the folder .*own: Permission denied"):
        prepare(published)


def test_read_only_sources_are_enough(source, published):
    before = {path: path.stat().st_mtime_ns for path in [source, *source.iterdir()]}
    prepare(published)
    assert before == {path: path.stat().st_mtime_ns for path in [source, *source.iterdir()]}


# -- what is kept, and what has changed ----------------------------------------------------------


def test_a_second_opening_converts_nothing(source, published):
    prepare(published)
    written = published.path.stat().st_mtime_ns
    for path in source.iterdir():
        os.utime(path)  # another time, the same content
    compress(source / "own_test.amat")
    prepare(published)
    for path in source.iterdir():
        path.unlink()
    open_recipe(published).images("test")
    assert published.path.stat().st_mtime_ns == written


def test_sources_that_kept_size_and_time_are_not_read_again(source, published, monkeypatch):
    prepare(published)
    monkeypatch.delattr("pixelvae.datasets.sources.plain_chunks")
    prepare(published)


def test_changed_sources_are_converted_again(source, images):
    first = open_dataset("own").checksum
    (source / "own_test.amat").write_text(amat(1 - images["test"]))
    data = open_dataset("own")
    np.testing.assert_array_equal(data.images("test"), 1 - images["test"])
    assert data.checksum != first


def test_a_source_that_broke_is_not_passed_over(source, published):
    prepare(published)
    whole = published.path.read_bytes()
    change(source, "train", lambda b: b[:5000])
    with pytest.raises(UserError, match="own_train.amat is truncated"):
        open_recipe(published)
    assert published.path.read_bytes() == whole


@pytest.mark.parametrize("share", [0, 0.1, 0.5, 0.99])
def test_a_truncated_conversion_is_never_taken_for_a_whole_one(source, published, share):
    prepare(published)
    whole = published.path.read_bytes()
    published.path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(
        UserError, match="own.hdf5 is damaged .*run `python -m datasets prepare own`"
    ):
        open_recipe(published)
    prepare(published, replace=True)
    verify(published.path)


def test_verify_finds_a_flipped_bit(source, published, images):
    prepare(published)
    content = bytearray(published.path.read_bytes())
    content[content.index(images["valid"].tobytes()) + 5] ^= 1
    published.path.write_bytes(content)
    with pytest.raises(UserError, match="own.hdf5 is damaged .its content has SHA-256"):
        verify(published.path)


def test_files_of_another_format_or_program(source, published):
    prepare(published)
    with h5py.File(published.path, "r+") as file:
        file.attrs["pixelvae_format"] = FORMAT + 1
    with pytest.raises(UserError, match=f"has format {FORMAT + 1}, not {FORMAT}: run"):
        open_recipe(published)
    prepare(published, replace=True)
    with h5py.File(published.path, "r+") as file:
        del file.attrs["pixelvae_format"]
    for replace in (False, True):  # somebody else's file is never replaced
        with pytest.raises(UserError, match="not written by this program: move it away"):
            prepare(published, replace=replace)


def test_files_of_earlier_versions_are_used(source, published):
    checksum = prepare(published).checksum
    with h5py.File(published.path, "r+") as file:
        for name in ("checksum", "sources"):
            file.attrs[f"pixelvae_{name}"] = file.attrs[f"pixelvae_{name}"].decode()
        for name in ("left_out", "overlap"):
            del file.attrs[f"pixelvae_{name}"]
    written = published.path.stat().st_mtime_ns
    data = open_recipe(published)
    assert data.checksum == checksum == verify(published.path).checksum
    assert data.remarks == () and published.path.stat().st_mtime_ns == written


def test_killed_while_converting(source, images, tmp_path):
    code = """
import os, signal, h5py, datasets
from pixelvae.datasets import binarized_mnist, conversion
def killed(folder, path):
    h5py.File(path, "w").create_dataset("features", data=[1])
    os.kill(os.getpid(), signal.SIGKILL)
import dataclasses
conversion.prepare(dataclasses.replace(binarized_mnist.amat_recipe("own"), convert=killed))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True)
    assert done.returncode == -signal.SIGKILL
    assert left_over(tmp_path) != [] and not (tmp_path / "fuel" / "own.hdf5").exists()
    np.testing.assert_array_equal(open_dataset("own").images("train"), images["train"])
    assert left_over(tmp_path) == []


def test_interrupted_while_converting(source, published, tmp_path):
    def interrupted(folder, path):
        path.write_bytes(b"half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(dataclasses.replace(published, convert=interrupted))
    assert not published.path.exists() and left_over(tmp_path) == []


def test_a_full_disk(source, published, tmp_path):
    def full(folder, path):
        raise OSError(28, "Can't write data (file write failed: time = Mon\n, ...)")

    with pytest.raises(UserError, match="cannot write .*own.hdf5: No space left on device; free"):
        prepare(dataclasses.replace(published, convert=full))
    assert left_over(tmp_path) == []


def test_two_processes_convert_at_once(source):
    line = [sys.executable, "-m", "datasets", "prepare", "own"]
    both = [subprocess.Popen(line, cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    outputs = [process.communicate()[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert outputs[0] == outputs[1] and "6 / 3 / 4 images of 1×28×28, 2 values" in outputs[0]


# -- the commands --------------------------------------------------------------------------------


def test_commands(source, capsys):
    assert command(["list"]) == 0
    listed = capsys.readouterr().out
    assert "binarized_mnist  to download" in listed and "digits           source here" in listed
    assert command(["prepare", "digits"]) == 0
    assert "digits: 1397 / 200 / 200 images of 1×28×28, 2 values" in capsys.readouterr().out
    assert command(["prepare", "mine", "--source", str(source)]) == 0
    assert command(["verify", "mine"]) == 0
    assert "mine.hdf5 is whole" in capsys.readouterr().out
    assert command(["list"]) == 0
    listed = capsys.readouterr().out
    assert "digits           converted" in listed and "mine             converted" in listed
    assert open_dataset("mine").size("train") == LINES["train"]


def test_prepare_mends_a_damaged_file(source, capsys):
    assert command(["prepare", "own"]) == 0
    path = source.parent.parent / "fuel" / "own.hdf5"
    path.write_bytes(path.read_bytes()[:3000])
    assert command(["verify", "own"]) == 2
    assert "is damaged" in capsys.readouterr().err
    assert command(["prepare", "own"]) == 0
    assert command(["verify", "own"]) == 0


def test_prepare_describes_an_npz(source, images, capsys, tmp_path):
    np.savez(tmp_path / "a.npz", **images)
    assert command(["prepare", str(tmp_path / "a.npz")]) == 0
    assert "a.npz: 6 / 3 / 4 images of 1×28×28, 2 values" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["prepare", "mnits"], "unknown data set 'mnits': did you mean mnist?"),
        (["prepare", "own", "--source", "/nowhere"], "/nowhere is not a directory"),
        (["prepare", "digits", "--source", "."], "digits needs no source files"),
        (["prepare", "mnist", "--source", "."], "has no train-images-idx3-ubyte (or .gz)"),
        (["verify", "digits"], "is not there: run `python -m datasets prepare digits`"),
        (["verify", "a/b"], "a/b is not there: name a folder or a zip of pictures"),
        (["verify", "a b"], "is not a valid data set name"),
        (["prepare", "own", "--skip-damaged"], "own has no pictures of which damaged ones"),
        (["prepare", "own", "--image-size", "32"], "own has images of a size of its own"),
    ],
)
def test_bad_commands_are_one_line_and_status_2(source, capsys, arguments, words):
    assert command(arguments) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and words in lines[0]


@pytest.mark.parametrize("arguments", [[], ["prepare"], ["frobnicate"], ["list", "--all"]])
def test_bad_usage(arguments):
    done = subprocess.run(
        [sys.executable, "-m", "datasets", *arguments], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1


def test_a_bad_binarized_mnist(source, capsys):
    """The published name with a bad file: the command says which file, and where."""
    for split in SPLITS:
        text = (source / f"own_{split}.amat").read_text()
        (source / f"binarized_mnist_{split}.amat").write_text("0 2" + text[3:])
        (source / f"own_{split}.amat").unlink()
    assert command(["prepare", "binarized_mnist", "--source", str(source)]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert "binarized_mnist_train.amat has '2', not 0 or 1, in line 1, column 2" in error
