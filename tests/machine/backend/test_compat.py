"""Lasagne and Fuel, which no longer import by themselves, do what the project asks of them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[3]


def test_nothing_is_said_on_import():
    code = "import pixelvae.lib, theano, lasagne, fuel.streams, fuel.schemes, fuel.datasets, fuel.converters"
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    assert (result.returncode, result.stdout) == (0, b"")


def test_lasagne_pools():
    import lasagne
    import theano

    images = theano.tensor.ftensor4("images")
    layer = lasagne.layers.InputLayer((None, 1, 4, 6), images)
    layer = lasagne.layers.MaxPool2DLayer(layer, pool_size=2)
    values = np.random.RandomState(0).standard_normal((3, 1, 4, 6)).astype("float32")
    pooled = lasagne.layers.get_output(layer).eval({images: values})
    np.testing.assert_array_equal(pooled, values.reshape(3, 1, 2, 2, 3, 2).max(axis=(3, 5)))


def test_fuel_writes_and_streams_hdf5(tmp_path):
    import h5py
    from fuel.converters.base import fill_hdf5_file
    from fuel.datasets.hdf5 import H5PYDataset
    from fuel.schemes import ShuffledScheme
    from fuel.streams import DataStream

    images = np.random.RandomState(0).randint(0, 2, (25, 1, 2, 2)).astype("uint8")
    path = tmp_path / "small.hdf5"
    with h5py.File(path, "w") as file:
        splits = (("train", "features", images[:20]), ("test", "features", images[20:]))
        fill_hdf5_file(file, splits)

    dataset = H5PYDataset(str(path), ("train",), sources=("features",), load_in_memory=True)
    scheme = ShuffledScheme(dataset.num_examples, 8, rng=np.random.RandomState(1))
    stream = DataStream(dataset, iteration_scheme=scheme)
    batches = [batch for (batch,) in stream.get_epoch_iterator()]
    assert [len(batch) for batch in batches] == [8, 8, 4]
    order = np.arange(20)
    np.random.RandomState(1).shuffle(order)
    np.testing.assert_array_equal(np.concatenate(batches), images[:20][order])
