"""The family of models that docs/extending.md adds, taken from there, goes through every subcommand."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from command_lines import call
from PIL import Image

import pixelvae
from pixelvae.experiments.experiment import Experiment
from pixelvae.models.family import named
from pixelvae.models.registry import FAMILIES

DOCUMENT = Path(__file__).parents[2] / "docs" / "extending.md"
pytestmark = pytest.mark.usefixtures("fast_compile")


def listings() -> list[str]:
    section = DOCUMENT.read_text("utf-8").split("## A family")[1].split("\n## ")[0]
    return re.findall(r"```python\n(.*?)```", section, re.S)


@pytest.fixture(scope="module")
def linear():
    """The listings as modules, in their order; the script's."""
    presets, model, entry, script = listings()
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(FAMILIES, "linear", "")
        for name, code in (("presets", presets), ("model", model)):
            module = ModuleType(f"pixelvae.models.linear.{name}")
            patch.setitem(sys.modules, module.__name__, module)
            exec(code, vars(module))
        exec(entry, {"FAMILIES": FAMILIES})
        module = ModuleType("linear")
        module.__doc__ = "A linear VAE."
        vars(module).update(Experiment=Experiment, LINEAR=named(FAMILIES["linear"]))
        exec(script, vars(module))
        yield module


@pytest.fixture(scope="module")
def run(linear, tmp_path_factory):
    white = np.random.RandomState(0).random_sample((12, 1, 6, 5)) < 0.4
    folder = tmp_path_factory.mktemp("linear")
    np.savez(folder / "i.npz", **dict.fromkeys(("train", "valid", "test"), white.astype("uint8")))
    options = ("--latent-dim", 2, "--batch-size", 6, "--iterations", 4, "--eval-every", 2)
    assert call(linear, "train", *options, "--data", folder / "i.npz", "--out", folder / "run") == 0
    return folder / "run"


def test_every_subcommand_knows_it(linear, run, tmp_path, capsys):
    results = json.loads((run / "results.json").read_text())["test"]
    assert results["model"] == "linear" and results["kl"]["mean"] > 0
    assert call(linear, "evaluate", run, "--importance-samples", 3, "--json") == 0
    numbers = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert numbers["bound"]["mean"] == pytest.approx(results["bound"]["mean"])
    for word in ("sample", "reconstruct", "vary"):
        assert call(linear, word, run, "--count", 3, "--out", tmp_path / f"{word}.png") == 0
        assert Image.open(tmp_path / f"{word}.png").size[0] > 2
    assert call(linear, "report", run) == 0


def test_its_weights_load_in_python(linear, run):
    m = pixelvae.load(run)
    mean, log_sigma = m.encode(np.ones((3, 1, 6, 5), "uint8"))
    assert mean.shape == log_sigma.shape == (3, 2) and m.decode(mean).shape == (3, 1, 6, 5)
