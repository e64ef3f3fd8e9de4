"""What a data set promises: its images in order, its streams, and how it is found."""

from __future__ import annotations

import itertools
import os
import time
import tracemalloc
from collections import OrderedDict

import fresh_process
import numpy as np
import pytest
from fuel.datasets import IndexableDataset

import pixelvae.datasets as datasets
from pixelvae.datasets import RECIPES, SPLITS, digits, named_recipe, open_dataset
from pixelvae.datasets.base import FuelDataset
from pixelvae.machine.backend import device
from pixelvae.machine.errors import UserError

SIZES = {"train": 23, "valid": 7, "test": 5}


@pytest.fixture
def folders(tmp_path, monkeypatch):
    """An empty PIXELVAE_DATA and an empty FUEL_DATA_PATH."""
    (tmp_path / "sources").mkdir()
    monkeypatch.setenv("PIXELVAE_DATA", str(tmp_path / "sources"))
    monkeypatch.setenv("FUEL_DATA_PATH", str(tmp_path / "fuel"))
    return tmp_path


def arrays():
    random = np.random.RandomState(3)
    return {s: random.randint(2, size=(n, 1, 4, 5)).astype(np.uint8) for s, n in SIZES.items()}


@pytest.fixture
def numbered():
    """A data set whose image number i is filled with i."""
    images = {
        s: np.repeat(np.arange(n, dtype=np.uint8), 20).reshape(n, 1, 4, 5) for s, n in SIZES.items()
    }
    return FuelDataset(
        "numbered", "0", 256, lambda s, source: IndexableDataset(OrderedDict({source: images[s]}))
    )


def numbers(batch):
    assert batch.dtype == np.uint8 and batch.shape[1:] == (1, 4, 5)
    return batch[:, 0, 0, 0].tolist()


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_has_the_name_under_which_it_is_found(name):
    assert named_recipe(name).name == name


def test_opening_one_data_set_imports_no_other():
    modules = sorted({f"pixelvae.datasets.{module}" for module, _ in RECIPES.values()})
    imported = fresh_process.output(
        "import sys; from pixelvae.datasets import find_recipe; find_recipe('digits'); "
        f"print([module for module in {modules} if module in sys.modules])"
    )
    assert imported == "['pixelvae.datasets.digits']"


def test_images_and_batches_are_in_order_with_the_tail(numbered):
    assert [numbered.size(split) for split in SPLITS] == [23, 7, 5]
    assert numbered.image_shape == (1, 4, 5)
    assert numbers(numbered.images("train")) == list(range(23))
    assert numbers(numbered.images("train", 3, 6)) == [3, 4, 5]
    assert [numbers(batch) for batch in numbered.batches("valid", 3)] == [[0, 1, 2], [3, 4, 5], [6]]


def test_what_is_handed_out_is_the_callers(numbered):
    numbered.images("test")[:] = 99
    for batch in numbered.batches("test", 2):
        batch[:] = 99
    assert numbers(numbered.images("test")) == [0, 1, 2, 3, 4]


def test_training_order_is_that_of_numpy_epoch_by_epoch(numbered):
    stream = numbered.training_stream(5, seed=11)
    for epoch in range(3):
        batches = [numbers(next(stream)) for _ in range(5)]
        assert list(map(len, batches)) == [5, 5, 5, 5, 3]
        expected = np.random.RandomState([11, epoch]).permutation(23)
        assert sum(batches, []) == expected.tolist()


def test_seeds_and_epochs_differ(numbered):
    def order(seed, epoch):
        return [numbers(b) for b in itertools.islice(numbered.training_stream(23, seed, epoch), 1)]

    assert len({str(order(seed, epoch)) for seed in (0, 1, 2**32 - 1) for epoch in (0, 1)}) == 6


@pytest.mark.parametrize("start", [0, 1, 4, 5, 7, 14, 250])
def test_a_later_start_goes_on_exactly(numbered, start):
    whole = itertools.islice(numbered.training_stream(5, 1), start, start + 8)
    later = itertools.islice(numbered.training_stream(5, 1, start=start), 8)
    assert [numbers(b) for b in whole] == [numbers(b) for b in later]


def test_what_is_skipped_is_not_read():
    requests = []

    class Spy(IndexableDataset):
        def get_data(self, state=None, request=None):
            requests.append(request)
            return super().get_data(state, request)

    images = np.zeros((23, 1, 4, 5), dtype=np.uint8)
    spied = FuelDataset("spied", "0", 2, lambda split, source: Spy(OrderedDict({source: images})))
    next(spied.training_stream(5, 1, start=10**9))
    assert len(requests) == 1


def test_batches_larger_than_the_split(numbered):
    assert sorted(numbers(next(numbered.training_stream(100, 0)))) == list(range(23))
    assert [len(batch) for batch in numbered.batches("test", 100)] == [5]


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda d: d.images("tset"), "unknown split 'tset': choose one of train, valid, test"),
        (lambda d: d.images("test", 0, 6), "images 0 to 6 of the test split"),
        (lambda d: d.images("test", -1), "ask for at most 5"),
        (lambda d: d.batches("test", 0), "batch size is 0"),
        (lambda d: d.training_stream(-3, 0), "batch size is -3"),
        (lambda d: d.training_stream(3, -1), "seed is -1"),
        (lambda d: d.training_stream(3, 2**32), "seed is 4294967296"),
        (lambda d: d.training_stream(3, 0, start=-1), "cannot start at batch -1"),
    ],
)
def test_bad_requests(numbered, call, words):
    with pytest.raises(UserError, match=words):
        call(numbered)


def test_the_stream_is_fast():
    images = np.zeros((50000, 1, 28, 28), dtype=np.uint8)
    large = FuelDataset(
        "l", "0", 2, lambda s, source: IndexableDataset(OrderedDict({source: images}))
    )

    def seconds():
        start = time.perf_counter()
        assert sum(map(len, itertools.islice(large.training_stream(100, 0), 500))) == 50000
        return time.perf_counter() - start

    assert min(seconds() for _ in range(5)) < 0.2


# -- data of the user's own in .npz -----------------------------------------------------------


def test_npz(tmp_path):
    content = arrays()
    content["test_labels"] = np.arange(5, dtype=np.uint8)
    path = tmp_path / "own.npz"
    np.savez_compressed(path, **content)
    own = open_dataset(str(path))
    assert (own.name, own.levels, own.image_shape) == (str(path), 2, (1, 4, 5))
    for split in SPLITS:
        np.testing.assert_array_equal(own.images(split), content[split])
    assert own.labels("test").tolist() == [0, 1, 2, 3, 4]
    with pytest.raises(UserError, match="has no labels for train: store them as train_labels"):
        own.labels("train")
    assert len(next(own.training_stream(10, 0))) == 10


def test_npz_without_channels_and_with_booleans_is_the_same(tmp_path):
    np.savez(tmp_path / "a.npz", **arrays())
    np.savez(tmp_path / "b.npz", **{s: a[:, 0].astype(bool) for s, a in arrays().items()})
    a, b = (open_dataset(str(tmp_path / name)) for name in ("a.npz", "b.npz"))
    assert a.checksum == b.checksum and b.images("test").dtype == np.uint8


def test_npz_grey_values_have_256_levels_and_another_checksum(tmp_path):
    np.savez(tmp_path / "a.npz", **arrays())
    np.savez(tmp_path / "b.npz", **{**arrays(), "test": np.full((5, 1, 4, 5), 2, np.uint8)})
    a, b = (open_dataset(str(tmp_path / name)) for name in ("a.npz", "b.npz"))
    assert b.levels == 256 and a.checksum != b.checksum


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"valid": None}, "has no array 'valid'"),
        ({"valid": np.zeros((2, 4, 5))}, "valid is float64; store uint8"),
        ({"valid": np.zeros((2, 4, 5), "int64")}, "valid is int64; store uint8"),
        ({"valid": np.zeros((2, 20), np.uint8)}, r"shape \(2, 20\)"),
        ({"valid": np.zeros((0, 4, 5), np.uint8)}, r"shape \(0, 4, 5\)"),
        ({"valid": np.zeros((2, 5, 5), np.uint8)}, "the images differ"),
        ({"valid": np.array([{}])}, "damaged or no .npz"),  # needs pickle
        ({"test_labels": np.zeros(4, np.uint8)}, r"store uint8 of shape \(5,\)"),
        ({"test_labels": np.zeros(5)}, "test_labels is float64"),
    ],
)
def test_npz_with_something_else_in_it(tmp_path, change, words):
    content = {name: a for name, a in {**arrays(), **change}.items() if a is not None}
    np.savez(tmp_path / "own.npz", **content)
    with pytest.raises(UserError, match=words):
        open_dataset(str(tmp_path / "own.npz"))


def test_npz_that_is_damaged_or_none(tmp_path):
    path = tmp_path / "own.npz"
    with pytest.raises(UserError, match="cannot read .*own.npz"):
        open_dataset(str(path))
    np.savez(path, **arrays())
    whole = path.read_bytes()
    np.save(tmp_path / "array.npy", np.zeros(3))
    damaged = bytearray(whole)
    damaged[200] ^= 1
    for content in (
        b"", b"no zip", whole[: len(whole) // 2], damaged, (tmp_path / "array.npy").read_bytes()
    ):  # fmt: skip
        path.write_bytes(content)
        with pytest.raises(UserError, match="own.npz is damaged or no .npz file"):
            open_dataset(str(path))


def test_npz_that_unpacks_to_more_than_the_memory(tmp_path, monkeypatch):
    path = tmp_path / "bomb.npz"
    np.savez_compressed(path, **{name: np.zeros((10_000, 28, 28), np.uint8) for name in SPLITS})
    assert path.stat().st_size < 100_000
    monkeypatch.setattr(device, "memory", lambda: 40_000_000)
    tracemalloc.start()
    with pytest.raises(UserError, match="bomb.npz needs more memory than there is"):
        open_dataset(str(path))
    assert tracemalloc.get_traced_memory()[1] < 1_000_000
    tracemalloc.stop()
    monkeypatch.setattr(device, "memory", lambda: 50_000_000)
    assert open_dataset(str(path)).size("test") == 10_000


def test_npz_that_is_no_file(tmp_path):
    os.mkfifo(tmp_path / "pipe.npz")
    (tmp_path / "folder.npz").mkdir()
    for name in ("pipe", "folder"):
        with pytest.raises(UserError, match=f"{name}.npz: it is not an ordinary file"):
            open_dataset(str(tmp_path / f"{name}.npz"))


# -- digits, auto, unknown names ---------------------------------------------------------------


def test_digits(folders):
    from sklearn.datasets import load_digits

    data = open_dataset("digits")
    assert (data.name, data.levels, data.image_shape) == ("digits", 2, (1, 28, 28))
    assert [data.size(split) for split in SPLITS] == [1397, 200, 200]
    images = np.concatenate([data.images(split) for split in SPLITS])
    labels = np.concatenate([data.labels(split) for split in SPLITS])
    source = load_digits()
    assert np.bincount(labels).tolist() == np.bincount(source.target).tolist()
    assert set(np.unique(images)) == {0, 1} and not images[:, :, [0, 1, 26, 27]].any()
    # Binarization keeps the expected grey value: the mean error of 1797·24² pixels is tiny.
    assert abs(images[:, 0, 2:26, 2:26].mean() - source.images.mean() / 16) < 2e-3
    # Labels belong to their images: the mean image of each class is nearest to the source's own.
    ours = np.stack([images[labels == c, 0].mean(0) for c in range(10)])
    theirs = digits.enlarge(
        np.stack([source.images[source.target == c].mean(0) * 16 for c in range(10)])
    )
    distances = ((ours[:, None] - theirs[None] / (16 * 144)) ** 2).sum((2, 3))
    assert distances.argmin(1).tolist() == list(range(10))
    # The same on every machine and with every version.
    assert data.checksum == "9751481cc50eb6e0f417903e9e591f934eae26a151bd20d260936c7049cb6708"


def test_enlarging_is_bilinear():
    from scipy.ndimage import map_coordinates

    grey = np.random.RandomState(0).randint(17, size=(2, 8, 8))
    place = np.clip((np.arange(24) - 1) / 3, 0, 7)  # pixel centres, in pixels of the small image
    grid = np.meshgrid(place, place, indexing="ij")
    expected = np.stack([map_coordinates(image.astype(float), grid, order=1) for image in grey])
    np.testing.assert_allclose(digits.enlarge(grey)[:, 2:26, 2:26] / 9, expected, atol=1e-12)


def test_auto_falls_back_to_digits_and_says_why(folders, monkeypatch, capsys):
    def offline(file, *places):
        raise datasets.Unavailable(f"{file.pattern} cannot be downloaded")

    monkeypatch.setattr("pixelvae.datasets.conversion.download", offline)
    assert open_dataset("auto").name == "digits"
    lines = capsys.readouterr().err.splitlines()
    assert "data: digits, because binarized_mnist cannot be had" in lines[0]
    assert "binarized_mnist_train.amat cannot be downloaded" in lines[0]


def test_auto_does_not_hide_a_broken_source(folders):
    source = folders / "sources" / "binarized_mnist"
    source.mkdir()
    for split in SPLITS:
        (source / f"binarized_mnist_{split}.amat").write_text("0 2 1\n")
    with pytest.raises(UserError, match="'2'"):
        open_dataset("auto")


@pytest.mark.parametrize("name", ["mnits", "../mnist", "", "a b", "/etc/passwd"])
def test_unknown_names(folders, name):
    with pytest.raises(
        UserError, match="unknown data set|is not a valid data set name|is not there|no zip file"
    ):
        open_dataset(name)


def test_pixelvae_data_that_is_no_folder(folders, monkeypatch):
    monkeypatch.setenv("PIXELVAE_DATA", str(folders / "nowhere"))
    with pytest.raises(UserError, match="PIXELVAE_DATA names .*nowhere, which is not a directory"):
        open_dataset("binarized_mnist")
