"""The data set that is held in memory."""

from __future__ import annotations

import numpy as np
import pytest

from pixelvae.datasets.memory import InMemory
from pixelvae.machine.errors import UserError

IMAGES = np.arange(40, dtype=np.uint8).reshape(10, 1, 2, 2)


def test_arrays_by_split():
    data = InMemory({"train": IMAGES, "test": IMAGES[:3]}, {"test": np.arange(3, dtype=np.uint8)})
    assert (data.image_shape, data.levels, data.size("test")) == ((1, 2, 2), 256, 3)
    np.testing.assert_array_equal(data.images("train", 2, 4), IMAGES[2:4])
    assert [len(batch) for batch in data.batches("train", 4)] == [4, 4, 2]
    assert data.labels("test").tolist() == [0, 1, 2]
    with pytest.raises(UserError, match="has no images of valid"):
        data.size("valid")
    with pytest.raises(UserError, match="has no labels for train: store them as train_labels"):
        data.labels("train")
    order = np.random.RandomState([4, 0]).permutation(10)
    np.testing.assert_array_equal(next(data.training_stream(10, 4)), IMAGES[order])


def test_one_array_for_all_splits():
    data = InMemory(IMAGES % 2)
    assert data.levels == 2 and [data.size(s) for s in ("train", "valid", "test")] == [10] * 3
    assert data.checksum != InMemory(IMAGES).checksum
    assert InMemory(IMAGES.copy()).checksum == InMemory(IMAGES).checksum
