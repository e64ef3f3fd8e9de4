"""Pictures while training: never more than a small share of the time, and of the weights as they are."""

from __future__ import annotations

import numpy as np
import tiny_training
from small_models import small
from tiny_training import compile_once  # noqa: F401

from pixelvae.datasets.memory import InMemory
from pixelvae.experiments import figures
from pixelvae.lib.runs.folder import Run
from pixelvae.lib.training.loop import Trainer
from pixelvae.lib.training.pictures import SHARE, Pictures
from pixelvae.machine.files.pictures import grid_png
from pixelvae.models.mnist.model import MnistModel
from pixelvae.models.mnist.presets import MNIST


def test_drawing_takes_a_small_share_of_the_time():
    now = 0.0

    def draw():
        nonlocal now
        now += 10.0
        return {"samples": b""}

    pictures, drawn = Pictures(draw, clock=lambda: now), 0
    for _ in range(400):
        now += 20.0  # a training with its evaluation takes twice as long as drawing
        drawn += bool(pictures())
        assert 10 * drawn <= SHARE * now + 10
    assert 10 * drawn > 0.8 * SHARE * now


def test_what_costs_little_is_drawn_at_each_evaluation(tmp_path, compile_once):  # noqa: F811
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
    draw = figures.while_training(MNIST, model, data)
    first = draw()
    assert first.keys() == {"samples", "reconstructions"}
    for parameter in model.parameters.values():
        parameter.set_value(parameter.get_value() + np.float32(0.3))
    second, fresh = draw(), figures.while_training(MNIST, model, data)()
    assert second == fresh and second["samples"] != first["samples"]
