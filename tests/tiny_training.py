"""A tiny model's training, compiled once for all tests of a process."""

import numpy as np
import pytest

from pixelvae.datasets.memory import InMemory
from pixelvae.lib.runs.folder import Run
from pixelvae.lib.training.loop import Trainer
from pixelvae.lib.training.recipe import Recipe
from pixelvae.lib.training.step import TrainingStep
from pixelvae.models.mnist.model import MnistModel, Settings

SETTINGS = Settings("gated-pixelvae-noup", 1, 2, 2, 3, height=6, width=5)


class Images(InMemory):
    """A data set of 23 binary images: 5 batches of 5 an epoch, the last one of 3."""

    def __init__(self, hook=None):
        images = np.random.RandomState(1).randint(0, 2, (23, 1, 6, 5)).astype("uint8")
        super().__init__(images, name="images", checksum="0")
        self._hook = hook

    def training_stream(self, batch_size, seed, start=0):
        for number, batch in enumerate(super().training_stream(batch_size, seed, start), start):
            if self._hook:
                self._hook(number)
            yield batch


def recipe(iterations, **changes):
    def schedule(t):
        return {"learning_rate": 0.01, "alpha": min(1.0, t / 4)}

    settings = dict(batch_size=5, eval_every=3, seed=3, schedule=schedule, clip_entry=1.0)
    return Recipe(iterations, **{**settings, **changes})


STEPS: dict = {}


@pytest.fixture(scope="module")
def compile_once():
    """One compiled step for all tests: it is a function of the model's structure and these settings alone."""
    original = TrainingStep.__init__

    def make(self, model, recipe):
        key = (
            recipe.clip_entry,
            recipe.clip_norm,
            recipe.average_decay,
            recipe.dropout,
            recipe.rate_warmup,
            recipe.weight_decay,
        )
        if key not in STEPS:
            original(self, model, recipe)
            STEPS[key] = self
            self.first = self.state()
            return
        self.__dict__.update(STEPS[key].__dict__)
        self._model, self._variables = model, list(model.parameters.values())
        packed = np.concatenate([v.get_value().ravel() for v in self._variables])
        fresh = {name: np.zeros_like(v) for name, v in self.first.items()}
        self.restore({**fresh, "packed": packed, "averaged": packed})

    patch = pytest.MonkeyPatch()
    patch.setattr(TrainingStep, "__init__", make)
    yield
    patch.undo()


def run_for(folder, iterations, data=None, **changes):
    """Trains a fresh model in a folder; returns exit status, the checkpoint's arrays and the metrics."""
    config = {"settings": {"iterations": iterations}, "environment": {}}
    model = MnistModel(SETTINGS, seed=7)
    with Run.open(folder, config) as run:
        status = Trainer(model, data or Images(), recipe(iterations, **changes), run).run()
        arrays, header = run.load_checkpoint()
        rows = [{k: v for k, v in row.items() if k != "seconds"} for row in run.read_metrics()]
    return status, arrays, header, rows
