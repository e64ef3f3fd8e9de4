"""Weights whose header lies about the model: refused in a line, and before anything large is made."""

from __future__ import annotations

import contextlib
import copy
import math
import tracemalloc
from dataclasses import asdict

import numpy as np
import pytest
from experiments.weights import model_of, open_data
from small_models import SMALL, small

from experiments import hierarchical, mnist_pixelvae
from lib.backend import memory
from lib.errors import UserError
from lib.files.arrays import save_arrays
from lib.layers import initial, parameters
from lib.layers.parameters import Parameters, at_most
from models import MNIST_MODELS

HUGE = [10**4, 10**9, 10**30, math.inf]
ODD: list = [*HUGE, None, "x", "12", -1, 0, 2.5, math.nan, [], [[9, 9]], {}]
SETTINGS = {
    **{name: small(name).header() for name in MNIST_MODELS},
    "hierarchical": asdict(SMALL),
}


def load(name, path):
    return (hierarchical if name == "hierarchical" else mnist_pixelvae).load(str(path))


def save(path, name, header):
    trained = {"config": {"settings": {"seed": 0, "data": {"name": "digits"}}}, "iteration": 3}
    save_arrays(
        path, small(name).parameters.arrays(), {"kind": "weights", "model": header, **trained}
    )
    return path


def same(model, name):
    """Whether it is the small model in all that its parameters and images show."""
    truth = small(name)
    return (
        model.image_shape == truth.image_shape
        and model.parameters.shapes() == truth.parameters.shapes()
        and all(
            (value == truth.parameters.arrays()[key]).all()
            for key, value in model.parameters.arrays().items()
        )
    )


def variants(value):
    """Odd values in place of a setting, and of each number in one that is a list."""
    yield from ODD
    if isinstance(value, (list, tuple)):
        for place in range(len(value)):
            for odd in (10**9, None, "x", 0, math.nan, [2]):
                changed = list(copy.deepcopy(value))
                changed[place] = odd
                yield changed


@pytest.mark.parametrize("name", SETTINGS)
def test_every_setting_that_is_odd_is_refused_or_without_effect(tmp_path, name):
    assert same(load(name, save(tmp_path / "good.npz", name, SETTINGS[name]))[0], name)
    refused = 0
    for setting, value in SETTINGS[name].items():
        for odd in variants(value):
            path = save(tmp_path / "odd.npz", name, {**SETTINGS[name], setting: odd})
            try:
                model, _ = load(name, path)
            except UserError as problem:
                assert "\n" not in str(problem)
                refused += 1
            else:  # what this model does not use, such as the width of masked layers in one without
                assert model.parameters.shapes() == small(name).parameters.shapes()
                assert all(isinstance(n, int) and 0 < n <= 10_000 for n in model.image_shape)
    assert refused > 3 * len(ODD)


@pytest.mark.parametrize("name", ["gated-pixelvae", "hierarchical"])
def test_huge_settings_take_no_memory(tmp_path, name):
    path = save(tmp_path / "good.npz", name, SETTINGS[name])
    load(name, path)
    tracemalloc.start()
    for setting in SETTINGS[name]:
        for huge in HUGE:
            with contextlib.suppress(UserError):
                load(name, save(path, name, {**SETTINGS[name], setting: huge}))
    assert tracemalloc.get_traced_memory()[1] < 20_000_000
    tracemalloc.stop()


@pytest.mark.parametrize("header", [None, 3, "x", [], {}, {"unknown": 1}, {"model": {}}])
@pytest.mark.parametrize("name", ["pixelvae", "hierarchical"])
def test_headers_of_something_else(tmp_path, name, header):
    with pytest.raises(UserError, match="another kind of model"):
        load(name, save(tmp_path / "other.npz", name, header))


@pytest.mark.parametrize("config", [None, {}, {"settings": None}, {"settings": {"data": {}}}])
def test_weights_that_do_not_say_their_data(config):
    with pytest.raises(UserError, match="name --data"):
        open_data(None, {"config": config}, small("pixelvae"))


@pytest.mark.parametrize("iteration", [None, "x", [3], math.nan])
def test_larger_models_say_how_they_were_trained(tmp_path, iteration):
    header = {"kind": "weights", "model": asdict(SMALL), "iteration": iteration}
    header["config"] = {"settings": {"seed": 0, "data": {"name": "digits"}}}
    save_arrays(tmp_path / "w.npz", small("hierarchical").parameters.arrays(), header)
    with pytest.raises(UserError, match="does not say how its weights were trained"):
        load("hierarchical", tmp_path / "w.npz")


def test_a_model_is_no_larger_than_its_file():
    header = {"model": SETTINGS["pixelvae"]}
    arrays = small("pixelvae").parameters.arrays()
    model_of("w", arrays, header, mnist_pixelvae._model)
    name = max(arrays, key=lambda n: arrays[n].size)
    arrays[name] = arrays[name][:1]
    with pytest.raises(UserError, match="larger than its file"):
        model_of("w", arrays, header, mnist_pixelvae._model)


# -- what a command line can ask for --------------------------------------------------------------


def test_too_large_for_the_memory_is_said_before_it_is_taken(monkeypatch):
    monkeypatch.setattr(memory, "total", lambda: 1_000_000)
    p, rng = Parameters(0), np.random.RandomState(0)
    p.new("a", np.zeros(40_000))
    with pytest.raises(UserError, match="too large for the machine's memory"):
        p.new("b", np.zeros(40_000))
    drawn = rng.get_state()[2]
    for draw in (
        lambda: initial.convolution(rng, (1000, 1000, 9)),
        lambda: initial.transposed_convolution(rng, (1000, 1000, 9)),
        lambda: initial.linear(rng, 1000, 1000),
        lambda: initial.linear(rng, 1000, 2000, glorot=True),
        lambda: initial.table(rng, 1 << 40, 1 << 40),
    ):
        with pytest.raises(UserError, match="choose smaller sizes"):
            draw()
    assert rng.get_state()[2] == drawn


def test_more_arrays_than_theano_could_compile(monkeypatch):
    monkeypatch.setattr(parameters, "MOST_ARRAYS", 2)
    p = Parameters(0)
    for name in "ab":
        p.new(name, np.zeros(1))
    with pytest.raises(UserError, match="choose fewer layers"):
        p.new("c", np.zeros(1))


def test_the_bound_holds_in_the_body_alone():
    with at_most(8):
        Parameters(0).new("a", np.zeros(2))
        with pytest.raises(UserError, match="larger than its file"):
            Parameters(0).new("a", np.zeros(3))
    Parameters(0).new("a", np.zeros(3))
