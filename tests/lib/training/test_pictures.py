"""Pictures while training: never more than a small share of the time, and of the weights as they are."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import tiny_training
from small_models import small
from tiny_training import compile_once  # noqa: F401

from pixelvae.datasets.memory import InMemory
from pixelvae.experiments import figures
from pixelvae.lib.runs.folder import Run
from pixelvae.lib.training import loop
from pixelvae.lib.training.loop import SHOWING, Trainer
from pixelvae.lib.training.state import State
from pixelvae.machine.files.pictures import grid_png
from pixelvae.models.mnist.model import MnistModel
from pixelvae.models.mnist.presets import MNIST


def test_pictures_take_a_small_share_of_the_time(monkeypatch):
    clock = SimpleNamespace(now=0.0, monotonic=lambda: clock.now)
    monkeypatch.setattr(loop, "time", clock)
    trainer = object.__new__(Trainer)
    trainer._state, drawn = State.first(2), []

    def show():
        clock.now += (
            10.0 if drawn else 1000.0
        )  # the first time is for compiling, and is not counted
        drawn.append(trainer._state.seconds)
        return {"samples": b""}

    trainer._show, trainer._showing = show, -1.0
    trainer._saver = SimpleNamespace(pictures=lambda iteration, pictures: None)
    for _ in range(400):
        trainer._state.seconds += 20.0
        trainer._show_pictures()
    seconds = 10.0 * (len(drawn) - 1)
    assert (
        drawn[0] == 20.0
        and 0.8 * SHOWING <= seconds / trainer._state.seconds <= SHOWING + 10 / 8000
    )


def test_what_costs_little_is_drawn_at_each_evaluation(tmp_path, compile_once, monkeypatch):  # noqa: F811
    monkeypatch.setattr(loop, "SHOWING", 1e9)  # whatever it costs here
    seen = []

    def draw():
        seen.append(None)
        return {"samples": grid_png(np.zeros((1, 1, 2, 2), np.uint8), 2)}

    model = MnistModel(tiny_training.SETTINGS, seed=7)
    recipe = tiny_training.recipe(7)
    with Run.open(tmp_path, {"settings": {}}, tensorboard=True) as run:
        told = {}
        run.pictures = told.__setitem__
        assert Trainer(model, tiny_training.Images(), recipe, run, draw).run() == 0
    assert list(told) == [3, 6, 7] and len(seen) == 3 and told[7].keys() == {"samples"}


def test_pictures_are_of_the_weights_as_they_are(monkeypatch):
    model = small("gated-pixelvae-noup")
    data = InMemory(np.random.RandomState(0).randint(0, 2, (9, 1, 4, 4)).astype("uint8"))
    drawer = figures.Figures(model, MNIST.pictured)
    first = drawer.few(data)
    assert first.keys() == {"samples", "reconstructions"}
    for parameter in model.parameters.values():
        parameter.set_value(parameter.get_value() + np.float32(0.3))
    second, fresh = drawer.few(data), figures.Figures(model, MNIST.pictured).few(data)
    assert second == fresh and second["samples"] != first["samples"]
