"""Figures 4 and 5: the classifier on a case that is known, and pictures drawn from records alone."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from pixelvae.experiments import command_line
from pixelvae.experiments.mnist_pixelvae import EXPERIMENT
from pixelvae.machine.errors import UserError
from studies import mnist_latents, mnist_layers
from studies.comparisons import mnist_trainings


def test_neighbours_find_separate_groups_and_guess_where_nothing_is_to_be_seen():
    rng = np.random.RandomState(0)
    labels = {s: np.arange(n) % 4 for s, n in (("train", 400), ("valid", 200), ("test", 200))}
    centres = np.array([[0, 0], [9, 0], [0, 9], [9, 9]])
    apart = {s: centres[v] + rng.standard_normal((len(v), 2)) for s, v in labels.items()}
    assert mnist_latents.neighbour_errors(apart, labels)["test_error"] < 0.01
    mixed = {s: rng.standard_normal((len(v), 2)) for s, v in labels.items()}
    assert 0.65 < mnist_latents.neighbour_errors(mixed, labels)["test_error"] < 0.85


def test_the_number_of_neighbours_is_chosen_on_validation():
    # One label in five is wrong in training alone: many neighbours are better than one.
    rng = np.random.RandomState(1)
    truth = {s: np.arange(n) % 2 for s, n in (("train", 1000), ("valid", 500), ("test", 500))}
    latents = {s: 9.0 * v[:, None] + rng.standard_normal((len(v), 2)) for s, v in truth.items()}
    labels = {
        **truth,
        "train": np.where(rng.random_sample(1000) < 0.2, 1 - truth["train"], truth["train"]),
    }
    chosen = mnist_latents.neighbour_errors(latents, labels)
    assert chosen["k"] > 3 and chosen["test_error"] < 0.02


def run(model: str, layers: int, autoregressive: int) -> dict:
    value = {"mean": 90.0 - layers, "se": 0.2}
    test = {"bound": value, "reconstruction": value}
    if model != "gated-pixelcnn":
        test["kl"] = value
    return {"model": model, "layers": layers, "autoregressive_layers": autoregressive, "test": test}


def test_figure_4_is_drawn_from_the_record_alone(tmp_path):
    runs = [run("conv-vae", 4, 0), *[run("gated-pixelvae", 0, 1)] * 2, run("gated-pixelcnn", 0, 1)]
    (tmp_path / "figure4.json").write_text(json.dumps(runs))
    mnist_layers.FIGURE.plot(mnist_layers.parse(["plot", "--into", str(tmp_path)]))
    assert Image.open(tmp_path / "figure4.png").size[0] > 500


def test_figure_5_is_drawn_from_the_record_alone(tmp_path):
    runs = [{"model": name, "test_error": 0.1} for name in mnist_latents.MODELS for _ in range(2)]
    (tmp_path / "figure5.json").write_text(json.dumps(runs))
    for name in mnist_latents.MODELS:
        np.savez(
            tmp_path / f"{name}.npz", latents=np.eye(2, dtype="float32"), labels=np.uint8([0, 9])
        )
    mnist_latents.FIGURE.plot(mnist_latents.parse(["plot", "--into", str(tmp_path)]))
    assert Image.open(tmp_path / "figure5.png").size[0] > 500


@pytest.mark.parametrize("module, models", [(mnist_layers, 3), (mnist_latents, 2)])
def test_each_seed_is_a_training_of_its_own(module, models, monkeypatch):
    commands = []
    monkeypatch.setattr(
        mnist_trainings, "run_all", lambda asked, jobs: commands.extend(asked) or 130
    )
    layers = ["--layers", "2"] if module is mnist_layers else []
    options = module.parse(["train", *layers, "--seeds", "0", "4", "--", "--iterations", "7"])
    assert options.function(options) == 130
    trained = [command_line.parse(EXPERIMENT, c[2:]) for c in commands]
    assert [o.seed for o in trained] == [0] * models + [4] * models
    assert all(o.out.name.endswith(f"-seed{o.seed}") and o.iterations == 7 for o in trained)
    assert len({o.out for o in trained}) == 2 * models


def test_latents_are_drawn_of_the_first_seed_and_classified_of_each(tmp_path, monkeypatch):
    digits = {split: np.arange(40, dtype="uint8") % 2 for split in ("train", "valid", "test")}
    for name in ("gated-pixelvae-seed10", "gated-pixelvae-seed2", "conv-vae-seed0"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "results.json").touch()

    def finished(folder, *_):
        model, seed = folder.name.split("-seed")
        bound = {"mean": 90.0, "se": 0.1}
        return {"model": model, "layers": 1, "seed": int(seed), "test": {"bound": bound}}

    def means(folder, images):  # seed 10 tells nothing of the digit
        apart = {"10": 0.0, "d1": 3.0}.get(folder.name[-2:], 1.0)
        return np.stack([apart * images, np.zeros(len(images))], axis=1)

    def scales(folder):
        names = mnist_latents.MODELS
        return {name: np.load(folder / f"{name}.npz")["latents"].max() for name in names}

    monkeypatch.setattr(mnist_latents, "finished_run", finished)
    monkeypatch.setattr(
        mnist_latents, "labelled_images", lambda split: (digits[split], digits[split])
    )
    monkeypatch.setattr(mnist_latents, "load_plane", lambda folder: folder)
    monkeypatch.setattr(mnist_latents, "latent_means", means)
    mnist_latents.FIGURE.record(
        mnist_latents.parse(["record", str(tmp_path), "--into", str(tmp_path)])
    )
    runs = json.loads((tmp_path / "figure5.json").read_text())
    assert [(run["model"], run["seed"]) for run in runs] == [
        ("conv-vae", 0), ("gated-pixelvae", 2), ("gated-pixelvae", 10)
    ]  # fmt: skip
    assert [run["test_error"] for run in runs] == [0, 0, 0.5]
    latents = np.load(tmp_path / "gated-pixelvae.npz")["latents"]
    assert np.array_equal(latents[:, 0], digits["test"])
    assert scales(tmp_path) == {"conv-vae": 1, "gated-pixelvae": 1}

    for name in ("conv-vae-seed1", "gated-pixelvae-seed1", "gated-pixelvae-seed10"):
        (tmp_path / "more" / name).mkdir(parents=True)
        (tmp_path / "more" / name / "results.json").touch()
    mnist_latents.FIGURE.record(
        mnist_latents.parse(["record", str(tmp_path / "more"), "--add", "--into", str(tmp_path)])
    )
    both = json.loads((tmp_path / "figure5.json").read_text())
    assert [run for run in both if run["seed"] != 1] == runs
    assert [(run["model"], run["seed"]) for run in both if run["seed"] == 1] == [
        ("conv-vae", 1), ("gated-pixelvae", 1)
    ]  # fmt: skip
    assert scales(tmp_path) == {"conv-vae": 1, "gated-pixelvae": 3}


@pytest.mark.parametrize("module", [mnist_layers, mnist_latents])
def test_nothing_to_record_or_draw_is_one_line(module, tmp_path):
    with pytest.raises(UserError, match="cannot read"):
        module.FIGURE.plot(module.parse(["plot", "--into", str(tmp_path)]))


def test_no_finished_run_is_one_line(tmp_path):
    for module in mnist_layers, mnist_latents:
        arguments = module.parse(["record", str(tmp_path), "--into", str(tmp_path)])
        with pytest.raises(UserError, match="no finished run"):
            module.FIGURE.record(arguments)
    (tmp_path / "conv-vae").mkdir()
    (tmp_path / "conv-vae" / "results.json").touch()
    with pytest.raises(UserError, match="not a finished run"):
        module.FIGURE.record(arguments)
