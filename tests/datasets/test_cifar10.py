"""CIFAR-10 from the archive of its binary version."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import tarfile

import numpy as np
import pytest

from pixelvae.datasets import named_recipe, open_dataset
from pixelvae.machine.errors import UserError

COUNT = 1200  # images a batch


def records(seed):
    random = np.random.RandomState(seed)
    found = random.randint(256, size=(COUNT, 3073)).astype(np.uint8)
    found[:, 0] %= 10
    return found


@pytest.fixture
def archive(tmp_path, monkeypatch):
    """An archive of smaller batches, in the place of the published one."""
    monkeypatch.setenv("PIXELVAE_DATA", str(tmp_path))
    monkeypatch.setenv("FUEL_DATA_PATH", str(tmp_path / "fuel"))
    (tmp_path / "cifar10").mkdir()
    path = tmp_path / "cifar10" / "cifar-10-binary.tar.gz"
    write(path)
    accept(path, monkeypatch)
    return path


def write(path, left_out=None):
    with tarfile.open(path, "w:gz", compresslevel=1) as tar:
        for number, name in enumerate([*(f"data_batch_{n}" for n in range(1, 6)), "test_batch"]):
            if name != left_out:
                content = records(number).tobytes()
                member = tarfile.TarInfo(f"cifar-10-batches-bin/{name}.bin")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))


def accept(path, monkeypatch):
    recipe = named_recipe("cifar10")
    md5 = hashlib.md5(path.read_bytes()).hexdigest()
    files = [dataclasses.replace(recipe.files[0], md5=md5)]
    changed = dataclasses.replace(recipe, files=files)
    monkeypatch.setattr("pixelvae.datasets.cifar10.RECIPE", changed)


def test_images_and_labels(archive):
    data = open_dataset("cifar10")
    assert (data.levels, data.image_shape) == (256, (3, 32, 32))
    assert [data.size(split) for split in ("train", "valid", "test")] == [1000, 5000, 1200]
    expected = np.concatenate([records(n) for n in range(5)])
    images = np.concatenate([data.images("train"), data.images("valid")])
    np.testing.assert_array_equal(images.reshape(6000, -1), expected[:, 1:])
    np.testing.assert_array_equal(images[0, 1, 0], expected[0, 1 + 1024 : 1 + 1056])  # green
    np.testing.assert_array_equal(data.labels("test"), records(5)[:, 0])
    assert data.labels("valid").tolist() == expected[1000:, 0].tolist()


def test_what_is_not_the_published_archive(archive, monkeypatch, tmp_path):
    archive.write_bytes(archive.read_bytes()[:-100])
    with pytest.raises(UserError, match="has another content than the published file"):
        open_dataset("cifar10")
    accept(archive, monkeypatch)
    with pytest.raises(UserError, match="cifar-10-binary.tar.gz is damaged .*get it again"):
        open_dataset("cifar10")
    write(archive, left_out="data_batch_3")
    accept(archive, monkeypatch)
    with pytest.raises(UserError, match="has no whole cifar-10-batches-bin/data_batch_3.bin"):
        open_dataset("cifar10")
    archive.rename(archive.with_name("cifar-10-binary.tgz"))
    monkeypatch.setattr(
        "pixelvae.datasets.conversion.download", lambda f, a, b, hint: pytest.fail(hint)
    )
    with pytest.raises(pytest.fail.Exception, match="it has 'cifar-10-binary.tgz': rename"):
        open_dataset("cifar10")


def test_the_published_checksum():
    (file,) = named_recipe("cifar10").files
    assert file.md5 == "c32a1d4ab5d03f1284b67883e8d87530"
