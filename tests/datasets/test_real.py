"""The published data sets themselves, where `PIXELVAE_DATA` has them."""

from __future__ import annotations

import gzip
import itertools
import os
import struct

import numpy as np
import pytest

from pixelvae.datasets import SPLITS, open_dataset
from pixelvae.datasets.places import source_folder
from pixelvae.machine.errors import UserError

CHECKSUMS = {  # of the converted content: the same on every machine
    "binarized_mnist": "ef2c5306acdbab54e62b08cd9b211064267bff38d962aa1ab8eecd9abd0921e5",
    "mnist": "a39aecd747fea210e9f84183db1a2a9399047e5912638d7b936e9e2a8dc0b050",
}


@pytest.fixture(scope="module")
def fuel_folder(tmp_path_factory):
    """Converted files of this module's own, made once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FUEL_DATA_PATH", str(tmp_path_factory.mktemp("fuel")))
        yield


def opened(name):
    folder = source_folder(name)
    if not folder.is_dir():
        pytest.skip(f"no {folder}: PIXELVAE_DATA names no folder with {name}")
    return open_dataset(name)


@pytest.fixture(scope="module")
def binarized(fuel_folder):
    return opened("binarized_mnist")


@pytest.fixture(scope="module")
def grey(fuel_folder):
    return opened("mnist")


def source_bytes(name, file):
    folder = source_folder(name)
    plain = folder / file
    return plain.read_bytes() if plain.exists() else gzip.open(f"{plain}.gz").read()


@pytest.mark.parametrize("name", ["binarized_mnist", "mnist"])
def test_what_it_is(name, request):
    data = request.getfixturevalue({"binarized_mnist": "binarized", "mnist": "grey"}[name])
    assert (data.name, data.checksum) == (name, CHECKSUMS[name])
    assert data.levels == {"binarized_mnist": 2, "mnist": 256}[name]
    assert [data.size(split) for split in SPLITS] == [50000, 10000, 10000]
    for split in SPLITS:
        images = data.images(split)
        assert images.dtype == np.uint8 and images.shape[1:] == data.image_shape == (1, 28, 28)
        assert (images.min(), images.max()) == (0, data.levels - 1)


def test_binarized_means(binarized):
    means = [binarized.images(split).mean() for split in SPLITS]
    np.testing.assert_allclose(means, [0.130562, 0.131127, 0.132512], atol=5e-7)


@pytest.mark.parametrize("split", SPLITS)
def test_binarized_images_are_the_source_s_lines_in_order(binarized, split):
    content = source_bytes("binarized_mnist", f"binarized_mnist_{split}.amat")
    values = np.frombuffer(content, dtype=np.uint8).reshape(-1, 1568)[:, ::2] - ord("0")
    np.testing.assert_array_equal(binarized.images(split).reshape(-1, 784), values)


def test_grey_images_and_labels_are_the_source_s_in_order(grey):
    pixels = np.frombuffer(source_bytes("mnist", "train-images-idx3-ubyte")[16:], dtype=np.uint8)
    pixels = pixels.reshape(60000, 1, 28, 28)
    labels = np.frombuffer(source_bytes("mnist", "train-labels-idx1-ubyte")[8:], dtype=np.uint8)
    np.testing.assert_array_equal(grey.images("train"), pixels[:50000])
    np.testing.assert_array_equal(grey.images("valid"), pixels[50000:])
    np.testing.assert_array_equal(grey.labels("train"), labels[:50000])
    np.testing.assert_array_equal(grey.labels("valid"), labels[50000:])
    header = struct.unpack(">2i", source_bytes("mnist", "t10k-labels-idx1-ubyte")[:8])
    assert header == (2049, 10000) and grey.labels("test")[:5].tolist() == [7, 2, 1, 0, 4]


def test_binarized_test_labels_fit_the_images(binarized, grey):
    labels = binarized.labels("test")
    assert labels.dtype == np.uint8 and labels.shape == (10000,)
    order = np.argsort(grey.labels("test"), kind="stable")
    np.testing.assert_array_equal(labels, grey.labels("test")[order])
    probability = grey.images("test")[order] / 255
    images = binarized.images("test")
    # A pixel drawn from its grey value p agrees with the rounded one with probability max(p, 1-p).
    expected = np.maximum(probability, 1 - probability).mean()
    assert abs(((probability > 0.5) == images).mean() - expected) < 1e-3
    assert not images[probability == 0].any() and images[probability == 1].all()
    with pytest.raises(UserError, match="no labels for train: take the test split"):
        binarized.labels("train")


def test_an_epoch_has_every_image_once(binarized):
    stream = binarized.training_stream(128, seed=5)
    batches = list(itertools.islice(stream, 391))
    assert [len(batch) for batch in batches] == [128] * 390 + [80]
    order = np.random.RandomState([5, 0]).permutation(50000)
    np.testing.assert_array_equal(np.concatenate(batches), binarized.images("train")[order])
    resumed = binarized.training_stream(128, seed=5, start=390)
    np.testing.assert_array_equal(next(resumed), batches[390])
    np.testing.assert_array_equal(next(resumed), next(stream))  # the next epoch


def damaged_copy(name, tmp_path, monkeypatch, file, edit):
    """A PIXELVAE_DATA whose copy of one plain file is edited; the other files are the real ones."""
    folder = tmp_path / name
    folder.mkdir()
    for path in source_folder(name).iterdir():
        os.symlink(path, folder / path.name)
    content = bytearray(source_bytes(name, file))
    for path in folder.glob(file + "*"):
        path.unlink()
    (folder / file).write_bytes(edit(content))
    monkeypatch.setenv("PIXELVAE_DATA", str(tmp_path))


def flip(content):
    content[len(content) // 2 & ~1] ^= 1  # one pixel of one image
    return content


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (flip, "has another content than the published file"),
        (lambda c: c[:-700], "is truncated: line 10000 ends after 434 of 784 values"),
        (lambda c: c[: 1568 * 9999], "has too few lines: 9999, not 10000"),
    ],
)
def test_damaged_binarized_mnist(binarized, tmp_path, monkeypatch, edit, words):
    damaged_copy("binarized_mnist", tmp_path, monkeypatch, "binarized_mnist_test.amat", edit)
    with pytest.raises(UserError, match=f"binarized_mnist_test.amat {words}"):
        open_dataset("binarized_mnist")


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (flip, "has another content than the published file"),
        (lambda c: c[:-700], "has 7839316 bytes, not 7840016: it is truncated"),
        (lambda c: c[4:], "is not an IDX file of images"),
    ],
)
def test_damaged_mnist(grey, tmp_path, monkeypatch, edit, words):
    damaged_copy("mnist", tmp_path, monkeypatch, "t10k-images-idx3-ubyte", edit)
    with pytest.raises(UserError, match=f"t10k-images-idx3-ubyte {words}"):
        open_dataset("mnist")


def test_fuels_own_classes_read_the_files(binarized, grey):
    from fuel import config
    from fuel.datasets import MNIST, BinarizedMNIST

    config.data_path = os.environ["FUEL_DATA_PATH"]
    assert MNIST(("train",)).num_examples == 60000
    assert BinarizedMNIST(("train",)).num_examples == 50000


def test_mnist_256_is_the_grey_values(grey):
    named = open_dataset("mnist_256")
    assert (named.name, named.levels, named.checksum) == ("mnist_256", 256, grey.checksum)
    v = np.arange(256)
    np.testing.assert_array_equal(np.minimum(255, v * 256 // 255), v)  # floor(v/255 · 256)
    np.testing.assert_array_equal(named.images("valid"), grey.images("valid"))


@pytest.fixture(scope="module")
def dynamic(grey):
    return open_dataset("mnist_dynamic")


def drawn(data, epoch, seed=3):
    """The first 5,000 training images as they are in an epoch."""
    (images,) = itertools.islice(data.training_stream(50000, seed, epoch), 1)
    order = np.random.RandomState([seed, epoch]).permutation(50000)
    return images[np.argsort(order)[:5000]]


def test_dynamic_training_images_are_drawn_from_the_grey_values_in_each_epoch(dynamic, grey):
    v = grey.images("train", 0, 5000)
    epochs = np.array([drawn(dynamic, epoch) for epoch in range(4)])
    assert epochs[:, v == 255].all() and not epochs[:, v == 0].any()
    epochs, p = epochs[:, (v > 0) & (v < 255)], v[(v > 0) & (v < 255)] / 255
    variance = p * (1 - p)
    for images in epochs[1:]:
        assert abs((images != epochs[0]).mean() - 2 * variance.mean()) < 2e-3
    error = epochs.mean(axis=0) - p
    assert abs(error.mean()) < 1e-3
    np.testing.assert_allclose(4 * np.square(error).mean(), variance.mean(), rtol=0.02)


def test_dynamic_training_is_a_function_of_seed_and_epoch(dynamic):
    batches = list(itertools.islice(dynamic.training_stream(10000, seed=3), 8))
    for start in (1, 4, 6):
        again = dynamic.training_stream(10000, seed=3, start=start)
        np.testing.assert_array_equal(next(again), batches[start])
    assert (drawn(dynamic, 1, seed=3) != drawn(dynamic, 1, seed=4)).any()


def test_dynamic_validation_and_test_are_drawn_once(dynamic, grey):
    assert (dynamic.levels, dynamic.remarks[0][:19]) == (2, "drawn from MNIST's ")
    counts = [int(dynamic.images(split).sum(dtype=int)) for split in SPLITS]
    assert counts == [5133672, 1012533, 1038545]  # every number on these images depends on them
    ones = [grey.images(split).sum() / 255 for split in SPLITS]
    np.testing.assert_allclose(counts, ones, rtol=2e-3)
    np.testing.assert_array_equal(dynamic.labels("test"), grey.labels("test"))
    np.testing.assert_array_equal(next(dynamic.batches("test", 9)), dynamic.images("test", 0, 9))
