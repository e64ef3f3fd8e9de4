"""The NumPy batches of the second edition of 64×64 ImageNet, as they are and in zips."""

from __future__ import annotations

import zipfile

import numpy as np
import pytest

from pixelvae.datasets import open_dataset
from pixelvae.machine.errors import UserError

PER_BATCH = 5
NAMES = [f"train_data_batch_{n}.npz" for n in range(1, 11)]


def rows(seed, count=PER_BATCH):
    return np.random.RandomState(seed).randint(256, size=(count, 12288)).astype(np.uint8)


def batch(path, seed, count=PER_BATCH, save=np.savez, **changes):
    labels = (np.arange(count) + seed) % 1000 + 1
    arrays = {"data": rows(seed, count), "labels": labels, "mean": np.zeros(12288), **changes}
    with open(path, "wb") as file:
        save(file, **{name: array for name, array in arrays.items() if array is not None})


@pytest.fixture
def source(tmp_path, monkeypatch):
    monkeypatch.setenv("PIXELVAE_DATA", str(tmp_path))
    monkeypatch.setenv("FUEL_DATA_PATH", str(tmp_path / "fuel"))
    folder = tmp_path / "imagenet64_2017"
    folder.mkdir()
    for number, name in enumerate(NAMES):
        batch(folder / name, number, save=(np.savez, np.savez_compressed)[number % 2])
    batch(folder / "val_data.npz", 50, count=3)
    return folder


def pack(folder, name, members, compression):
    with zipfile.ZipFile(folder / name, "w", compression) as archive:
        for member in members:
            archive.write(folder / member, f"inside/{member}")
            (folder / member).unlink()


def check(data):
    assert [data.size(split) for split in ("train", "valid", "test")] == [50, 3, 3]
    expected = np.concatenate([rows(n) for n in range(10)])
    images = data.images("train")
    np.testing.assert_array_equal(images[:, 0].reshape(50, -1), expected[:, :4096])  # red
    np.testing.assert_array_equal(images[:, 2, 1], expected[:, 8192 + 64 : 8192 + 128])
    np.testing.assert_array_equal(data.images("test").reshape(3, -1), rows(50, 3))
    assert data.labels("train").tolist() == [n + i for n in range(10) for i in range(PER_BATCH)]
    assert data.labels("valid").tolist() == [50, 51, 52]


def test_batches_as_they_are(source, capsys):
    data = open_dataset("imagenet64_2017")
    check(data)
    said = capsys.readouterr().err
    assert "a stand-in, with 50 / 3 images, not the 1,281,167 / 50,000" in said
    assert "its bits/dim do not compare" in said and len(data.remarks) == 2


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_batches_in_the_zips_around_them(source, compression):
    pack(source, "Imagenet64_train_part1_npz.zip", NAMES[:5], compression)
    pack(source, "Imagenet64_train_part2_npz.zip", NAMES[5:], compression)
    pack(source, "Imagenet64_val_npz.zip", ["val_data.npz"], compression)
    (source / "._val_data.npz").write_bytes(b"")
    check(open_dataset("imagenet64_2017"))


def test_an_interruption_within_a_batch(source, monkeypatch):
    from pixelvae.datasets import imagenet64_2017 as module
    from pixelvae.datasets import streaming

    monkeypatch.setattr(streaming, "_BLOCK", 4)
    monkeypatch.setattr(module, "_ROWS", 2)
    original, count = module._images, iter(range(10**6))

    def interrupted(*arguments):
        for image in original(*arguments):
            if next(count) == 23:
                raise KeyboardInterrupt
            yield image

    with monkeypatch.context() as patch:
        patch.setattr(module, "_images", interrupted)
        with pytest.raises(KeyboardInterrupt):
            open_dataset("imagenet64_2017")
    starts = []
    monkeypatch.setattr(
        module, "_images", lambda b, s, start: starts.append(start) or original(b, s, start)
    )
    check(open_dataset("imagenet64_2017"))
    assert starts == [20, 0]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"data": None}, "is damaged"),
        ({"data": rows(0).astype(np.float32)}, "data is float32"),
        ({"data": rows(0)[:, :100]}, r"data is uint8 \(5, 100\)"),
        ({"data": np.asfortranarray(rows(0))}, "lies column by column"),
        ({"labels": np.arange(5)}, "labels are not 1 to 1,000"),
        ({"labels": np.arange(4) + 1}, r"labels are int64 \(4,\)"),
        ({"data": np.array([{}])}, "data is object"),
    ],
)
def test_batches_of_something_else(source, changes, words):
    batch(source / NAMES[2], 2, **changes)
    with pytest.raises(UserError, match=f"train_data_batch_3.npz is damaged .*{words}|{words}"):
        open_dataset("imagenet64_2017")


@pytest.mark.parametrize(
    "edit", [lambda b: b"", lambda b: b[:20000], lambda b: b[:9000] + b"x" + b[9001:]]
)
def test_damaged_batches(source, edit):
    path = source / NAMES[4]
    path.write_bytes(edit(path.read_bytes()))
    with pytest.raises(UserError, match="train_data_batch_5.npz is damaged .*get it again"):
        open_dataset("imagenet64_2017")


def test_batches_without_labels_and_a_missing_one(source):
    batch(source / "val_data.npz", 50, 3, labels=None)
    data = open_dataset("imagenet64_2017")
    with pytest.raises(UserError, match="has no labels"):
        data.labels("train")
    (source / NAMES[9]).unlink()
    with pytest.raises(UserError, match="has no train_data_batch_10.npz, as it is or in a zip"):
        open_dataset("imagenet64_2017")
    with pytest.raises(UserError, match="has no set of NumPy batches"):
        open_dataset("imagenet64_2017", source.parent / "fuel")
