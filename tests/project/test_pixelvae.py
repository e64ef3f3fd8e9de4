"""The door in Python: its examples, what `evaluate` and `sample` say of the same, and wrong input."""

from __future__ import annotations

import doctest

import numpy as np
import pytest
from small_models import SMALL

import pixelvae
import pixelvae.api
from pixelvae.datasets.memory import InMemory
from pixelvae.lib.evaluation import Bound, ImportanceWeighted
from pixelvae.machine.errors import UserError
from pixelvae.models.hierarchical.model import HierarchicalModel
from pixelvae.models.hierarchical.presets import HIERARCHICAL
from pixelvae.models.mnist.model import MnistModel, Settings
from pixelvae.models.mnist.presets import MNIST
from pixelvae.models.weights import Weights

pytestmark = pytest.mark.usefixtures("fast_compile")


@pytest.fixture(scope="module")
def m():
    model = MnistModel(Settings("gated-pixelvae-noup", 1, 2, 2, 3), seed=1)
    return pixelvae.PixelVAE(Weights(model, MNIST, {}))


@pytest.fixture(scope="module")
def layered():
    return pixelvae.PixelVAE(Weights(HierarchicalModel(SMALL, seed=1), HIERARCHICAL, {}))


X = np.random.RandomState(0).randint(0, 2, (3, 1, 28, 28)).astype("uint8")
COLOURS = np.random.RandomState(0).randint(0, 4, (2, 3, 4, 4)).astype("uint8")


def test_examples(m, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    names = {"m": m, "x": X, "pixelvae": pixelvae}
    tests = doctest.DocTestFinder().find(pixelvae.api, "pixelvae.api", globs=names)
    runner = doctest.DocTestRunner()
    for test in tests:
        runner.run(test)
    assert runner.tries >= 12 and not runner.failures


def test_numbers_are_those_of_an_evaluation(layered):
    model, data = layered._model, InMemory(COLOURS, levels=4)
    bound = Bound(model, seed=3, batch_size=1)(data, "test", samples=2).values["bound"]
    np.testing.assert_allclose(layered.bound(COLOURS, seed=3, samples=2), bound, rtol=1e-5)
    weighted = ImportanceWeighted(model, seed=3, batch_size=4)(data, "test", samples=6)
    np.testing.assert_allclose(
        layered.log_likelihood(COLOURS, 6, seed=3),
        -weighted.values["importance_weighted"],
        rtol=1e-5,
    )


def test_levels(layered):
    (maps, _), (top, _) = layered.encode(COLOURS)
    assert maps.shape == (2, 2, 4, 4) and top.shape == (2, 3)
    noise = layered._sampler.noise(5, "sample", "z2", range(2))
    drawn = layered.sample(2, seed=5)
    np.testing.assert_array_equal(layered.decode(noise, seed=5), drawn)
    for images in (drawn, layered.decode(maps), layered.reconstruct(COLOURS)):
        assert images.dtype == np.uint8 and images.shape == COLOURS.shape
    ends = layered.interpolate(COLOURS[0], top[1], steps=2)
    np.testing.assert_array_equal(ends[0], layered.decode(top[:1])[0])


def test_one_latent_is_one_pair_whatever_the_family():
    m = pixelvae.PixelVAE(Weights(HierarchicalModel(SMALL.one_level(), seed=1), HIERARCHICAL, {}))
    mean, log_sigma = m.encode(COLOURS)
    assert mean.shape == log_sigma.shape == (2, 3)
    ends = m.interpolate(COLOURS[0], mean[1], steps=2)
    np.testing.assert_array_equal(ends[0], m.decode(mean[:1])[0])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: m.bound(X[0]), "takes images"),
        (lambda m: m.bound(X[:0]), "at least one"),
        (lambda m: m.encode(X[:, :, :5]), "takes images"),
        (lambda m: m.encode(X * np.nan), "whole numbers"),
        (lambda m: m.bound("text"), "takes images"),
        (lambda m: m.bound(X + 1), "0 to 1"),
        (lambda m: m.bound(X.astype(int) - 1), "0 to 1"),
        (lambda m: m.decode(np.zeros((2, 3))), r"takes z \(N, 2\)"),
        (lambda m: m.decode(0.0), r"takes z"),
        (lambda m: m.decode([[0, np.nan]]), "finite"),
        (lambda m: m.decode([[0, 1e300]]), "finite"),
        (lambda m: m.decode([["a", "b"]]), "real numbers"),
        (lambda m: m.sample(0), "n must be"),
        (lambda m: m.sample(2, seed=-1), "the seed must be"),
        (lambda m: m.sample(1.5), "n must be"),
        (lambda m: m.interpolate(X[0], X[1], steps=1), "steps must be"),
        (lambda m: m.interpolate(X[0], X), "takes"),
        (lambda m: m.log_likelihood(X, importance_samples=0), "importance_samples must be"),
        (lambda m: pixelvae.load("no such model"), "not the name of trained"),
        (lambda m: pixelvae.load("conv-vae", batch_norm="moving"), "has no batch_norm"),
    ],
)
def test_wrong_input_is_one_clear_error(m, call, message):
    with pytest.raises(UserError, match=message) as error:
        call(m)
    assert "\n" not in str(error.value)


def test_a_model_without_latent():
    model = MnistModel(Settings("gated-pixelcnn", 1, 2, 2, 3, height=4, width=4), seed=1)
    m = pixelvae.PixelVAE(Weights(model, MNIST, {}))
    images = X[:, :, :4, :4]
    np.testing.assert_array_equal(m.log_likelihood(images), -m.bound(images))
    for call in (m.encode, m.reconstruct, m.decode):
        with pytest.raises(UserError, match="no latent"):
            call(images)
