"""Weights whose header lies about the model: refused in a line, and before anything large is made."""

from __future__ import annotations

import contextlib
import copy
import json
import math
import tracemalloc
from dataclasses import asdict

import numpy as np
import pytest
from small_models import SMALL, small

from pixelvae.experiments.experiment import trained_on
from pixelvae.lib.layers import parameters
from pixelvae.lib.layers.parameters import Parameters
from pixelvae.machine.backend import device
from pixelvae.machine.errors import UserError
from pixelvae.machine.files.arrays import load_arrays, save_arrays
from pixelvae.models.family import named
from pixelvae.models.hierarchical.presets import HIERARCHICAL
from pixelvae.models.mnist.presets import MNIST
from pixelvae.models.mnist.table1 import VARIANTS
from pixelvae.models.registry import FAMILIES, parse_header
from pixelvae.models.weights import PRETRAINED, Weights, load
from studies.publishing.records import DYNAMIC

HUGE = [10**4, 10**9, 10**30, math.inf]
ODD: list = [*HUGE, None, "x", "12", -1, 0, 2.5, math.nan, [], [[9, 9]], {}]
SETTINGS = {
    **{name: asdict(small(name).settings) for name in VARIANTS},
    "hierarchical": asdict(SMALL),
}


def save(path, name, header):
    trained = {"config": {"settings": {"seed": 0, "data": {"name": "digits"}}}, "iteration": 3}
    save_arrays(
        path, small(name).parameters.arrays(), {"kind": "weights", "model": header, **trained}
    )
    return str(path)


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
    assert same(load(save(tmp_path / "good.npz", name, SETTINGS[name])).model, name)
    refused = 0
    for setting, value in SETTINGS[name].items():
        for odd in variants(value):
            path = save(tmp_path / "odd.npz", name, {**SETTINGS[name], setting: odd})
            try:
                model = load(path).model
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
    load(path)
    tracemalloc.start()
    for setting in SETTINGS[name]:
        for huge in HUGE:
            with contextlib.suppress(UserError):
                load(save(path, name, {**SETTINGS[name], setting: huge}))
    assert tracemalloc.get_traced_memory()[1] < 20_000_000
    tracemalloc.stop()


@pytest.mark.parametrize("name", SETTINGS)
def test_the_header_names_the_family_and_files_without_it_are_recognised(tmp_path, name):
    family = HIERARCHICAL if name == "hierarchical" else MNIST
    header = small(name).header()
    assert header == {"family": family.name, **SETTINGS[name]}
    for described in (header, SETTINGS[name]):
        weights = load(save(tmp_path / "w.npz", name, described))
        assert weights.family is family and same(weights.model, name)
        assert (weights.iteration, weights.seed, weights.data) == (3, 0, "digits")


@pytest.mark.parametrize("path", sorted(PRETRAINED.glob("*.npz")), ids=lambda path: path.stem)
def test_shipped_files_are_recognised_with_their_family_named_and_without(path):
    _, header = load_arrays(path)
    described = dict(header["model"])
    name = described.pop("family", "mnist")  # older ones name none
    assert name == ("hierarchical" if path.stem.startswith("photos-") else "mnist")
    for model in (described, {**described, "family": name}):
        family, settings = parse_header(model)
        assert family.name == name
        # As JSON has them: tuples are lists there.
        assert json.loads(json.dumps(vars(settings))) == described
        names = [settings.name, settings.name + DYNAMIC]
        assert name == "hierarchical" or path.stem in names


def test_another_family_than_the_one_asked_for(tmp_path):
    path = save(tmp_path / "w.npz", "pixelvae", SETTINGS["pixelvae"])
    assert load(path, MNIST).model.name == "pixelvae"
    with pytest.raises(UserError, match="of another kind of model .*mnist, not hierarchical"):
        load(path, HIERARCHICAL)


def test_the_modes_are_those_of_the_family(tmp_path):
    path = save(tmp_path / "w.npz", "hierarchical", SETTINGS["hierarchical"])
    load(path, batch_norm="moving")
    for modes in ({"batch_norm": "none"}, {"norm": "blend"}):
        with pytest.raises(UserError, match="of the family hierarchical has no"):
            load(path, **modes)


@pytest.mark.parametrize("family", ["vae", None, 3, [], {"mnist": 1}, "hierarchical"])
def test_a_family_that_is_not_its_own(tmp_path, family):
    path = save(tmp_path / "w.npz", "pixelvae", {**SETTINGS["pixelvae"], "family": family})
    with pytest.raises(UserError, match="another kind of model"):
        load(path)


@pytest.mark.parametrize("header", [None, 3, "x", [], {}, {"unknown": 1}, {"model": {}}])
@pytest.mark.parametrize("name", ["pixelvae", "hierarchical"])
def test_headers_of_something_else(tmp_path, name, header):
    with pytest.raises(UserError, match="another kind of model"):
        load(save(tmp_path / "other.npz", name, header))


ALL = {name: named(path) for name, path in FAMILIES.items()}


def test_families_are_registered_by_their_names():
    assert {name: family.name for name, family in ALL.items()} == {name: name for name in FAMILIES}


@pytest.mark.parametrize("family", ALL.values(), ids=list(ALL))
def test_no_two_families_have_the_settings_of_one(family):
    others = [f for f in ALL.values() if f is not family]
    assert not any(set(family.settings.names()) <= set(f.settings.names()) for f in others)


@pytest.mark.parametrize("config", [None, {}, {"settings": None}, {"settings": {"data": {}}}])
def test_weights_that_do_not_say_their_data(config):
    with pytest.raises(UserError, match="name the data") as refusal:
        trained_on(Weights(small("pixelvae"), MNIST, {"config": config}))
    assert refusal.value.setting == "data"


@pytest.mark.parametrize("iteration", [None, "x", [3], math.nan, -1, True])
@pytest.mark.parametrize("name", ["pixelvae", "hierarchical"])
def test_an_iteration_that_is_none(tmp_path, name, iteration):
    header = {"kind": "weights", "model": SETTINGS[name], "iteration": iteration}
    save_arrays(tmp_path / "w.npz", small(name).parameters.arrays(), header)
    with pytest.raises(UserError, match="iteration must be a whole number"):
        load(str(tmp_path / "w.npz"))


def test_a_model_is_no_larger_than_its_file(tmp_path):
    header = {"kind": "weights", "model": SETTINGS["pixelvae"]}
    arrays = small("pixelvae").parameters.arrays()
    path = str(tmp_path / "w.npz")
    save_arrays(path, arrays, header)
    load(path)
    name = max(arrays, key=lambda n: arrays[n].size)
    save_arrays(path, {**arrays, name: arrays[name][:1]}, header)
    with pytest.raises(UserError, match="larger than its file"):
        load(path)


# -- what a command line can ask for --------------------------------------------------------------


def never(rng):
    raise AssertionError("drawn, though there is no room for it")


def test_too_large_for_the_memory_is_said_before_anything_is_drawn(monkeypatch):
    monkeypatch.setattr(device, "memory", lambda: 1_000_000)
    p = Parameters(0)
    p.new("a", (40_000,), 0)
    for declare in (p.new, p.new_normed):
        for shape in ((200, 200), (1 << 40, 1 << 40)):
            with pytest.raises(UserError, match="too large for the machine's memory"):
                declare("b", shape, never)
    assert list(p) == ["a"]


def test_more_arrays_than_theano_could_compile(monkeypatch):
    monkeypatch.setattr(parameters, "MOST_ARRAYS", 2)
    p = Parameters(0)
    for name in "ab":
        p.new(name, (1,), 0)
    with pytest.raises(UserError, match="choose fewer layers"):
        p.new("c", (1,), 0)


def test_the_limit_is_of_all_parameters_together():
    p = Parameters(0, limit=12)
    p.new("a", (2,), 1.5)
    with pytest.raises(UserError, match="larger than its file"):
        p.new("b", (2,), never)
    p.new("b", (1,), lambda rng: np.ones(1))
    assert p.arrays()["a"].tolist() == [1.5, 1.5]
    Parameters(0).new("a", (4,), 0)
