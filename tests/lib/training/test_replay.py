"""Steps that are not finite: stopped or skipped, taken back, named, reported and replayed."""

import numpy as np
import pytest
from tiny_training import SETTINGS, Images, compile_once, recipe, run_for  # noqa: F401

from pixelvae.experiments.command_line import parse
from pixelvae.experiments.mnist_pixelvae import EXPERIMENT
from pixelvae.lib.model import draw_noise
from pixelvae.lib.runs.folder import Run
from pixelvae.lib.training import loop
from pixelvae.lib.training.replay import replay
from pixelvae.lib.training.step import NotFinite, TrainingStep
from pixelvae.machine.console.command import main
from pixelvae.machine.errors import UserError
from pixelvae.machine.files.arrays import load_arrays, save_arrays
from pixelvae.models.mnist.model import MnistModel
from pixelvae.models.mnist.presets import MNIST

pytestmark = pytest.mark.usefixtures("compile_once")


def poisoned(*iterations):
    """A schedule whose α is NaN at some iterations, so that cost and gradients really become NaN."""
    schedule = recipe(1).schedule

    def bad(t):
        return {**schedule(t), **({"alpha": np.nan} if t in iterations else {})}

    return {"schedule": bad}


def test_stopping_names_what_it_was_and_keeps_the_last_checkpoint(tmp_path):
    with pytest.raises(UserError) as stop:
        run_for(tmp_path, 8, **poisoned(5))
    assert "iteration 5 is not finite: cost is nan, the gradient of encoder" in str(stop.value)
    assert 'on_nan "skip" leaves' in str(stop.value) and "replay" in str(stop.value)
    arrays, header = load_arrays(tmp_path / "checkpoint.npz", kind="checkpoint")
    assert header["iteration"] == 3
    assert all(np.isfinite(a).all() for a in arrays.values())


def test_a_stopped_run_goes_on_once_the_cause_is_gone(tmp_path):
    _, whole, _, rows = run_for(tmp_path / "whole", 8)
    with pytest.raises(UserError):
        run_for(tmp_path / "stopped", 8, **poisoned(5))
    _, arrays, _, again = run_for(tmp_path / "stopped", 8)
    for name in whole:
        np.testing.assert_array_equal(arrays[name], whole[name], err_msg=name)
    assert again == rows


def test_skips_are_counted_and_change_nothing(tmp_path, capsys):
    status, arrays, _, rows = run_for(tmp_path, 8, on_nan="skip", **poisoned(2, 3, 4, 7))
    assert status == 0
    counts = {r["iteration"]: r["skipped"] for r in rows if r["split"] == "train"}
    assert counts == {3: 2, 6: 1, 8: 1}
    assert all(np.isfinite(r["bound"]) for r in rows)
    assert arrays["adam.2"] == 4  # Adam's own count of its steps
    said = capsys.readouterr().err
    assert "iteration 2 is skipped: cost is nan" in said and "2 iterations skipped" in said
    assert load_arrays(tmp_path / "trouble.npz", kind="report")[1]["iteration"] == 7


def test_a_skipped_run_goes_on_to_the_same_bits(tmp_path):
    bad = dict(on_nan="skip", **poisoned(2, 5))
    _, whole, _, rows = run_for(tmp_path / "whole", 8, **bad)
    run_for(tmp_path / "parts", 3, **bad)
    _, parts, _, parts_rows = run_for(tmp_path / "parts", 8, **bad)
    np.testing.assert_array_equal(parts["packed"], whole["packed"])
    assert parts_rows == rows


def test_skipping_without_end_stops(tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "MAX_SKIPS", 3)
    with pytest.raises(UserError, match="the last 4 iterations are not finite") as stop:
        run_for(tmp_path, 12, on_nan="skip", **poisoned(*range(2, 13)))
    assert '"skip"' not in str(stop.value) and "lower learning rate" in str(stop.value)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e30])
def test_each_entry_of_the_gradient_is_looked_at(monkeypatch, bad):
    """Among finite terms; clipping would turn an infinite entry into a harmless 1."""
    model = MnistModel(SETTINGS, seed=7)
    step = TrainingStep(model, recipe(8, average_decay=0.7))
    images, noise = Images().images("train", 0, 5), draw_noise(model, 0, "test", 1, 5)
    before, original = step.state(), step._losses
    sizes = {v.name: v.get_value().size for v in model.parameters.trained}
    end = 0
    for name, size in sizes.items():
        end += size

        def spoilt(*arguments, last=end - 1):
            original(*arguments)
            step._message.get_value(borrow=True)[last] = bad

        monkeypatch.setattr(step, "_losses", spoilt)
        with pytest.raises(NotFinite) as trouble:
            step(images, noise, {"learning_rate": 0.01, "alpha": 1.0})
        expected = "too large" if bad == 1e30 else f"the gradient of {name} is not finite"
        assert expected in str(trouble.value)
    for name, value in step.state().items():
        np.testing.assert_array_equal(value, before[name], err_msg=name)


def test_an_update_that_overflows_is_taken_back():
    model = MnistModel(SETTINGS, seed=7)
    step = TrainingStep(model, recipe(8))
    images, noise = Images().images("train", 0, 5), draw_noise(model, 0, "test", 1, 5)
    before = step.state()["packed"]
    with pytest.raises(NotFinite, match="updated parameters are too large"):
        step(images, noise, {"learning_rate": 1e38, "alpha": 1.0})
    np.testing.assert_array_equal(step.state()["packed"], before)


def test_the_report_takes_the_step_again(tmp_path):
    with pytest.raises(UserError) as stop:
        run_for(tmp_path, 8, **poisoned(5))
    arrays, header = load_arrays(tmp_path / "trouble.npz", kind="report")
    assert header["trouble"] in str(stop.value)
    lines = list(replay(TrainingStep(MnistModel(SETTINGS), recipe(8)), arrays, header))
    assert lines[0] == f"iteration 5: {header['trouble']}"
    assert "cost: nan" in lines and any(line.startswith("reconstruction: ") for line in lines)
    assert any("gradient of encoder" in line and "not finite" in line for line in lines)
    header["scalars"]["alpha"] = 1.0
    (line,) = replay(TrainingStep(MnistModel(SETTINGS), recipe(8)), arrays, header)
    assert "all is finite here" in line
    del arrays["input.1"]
    with pytest.raises(UserError, match="does not fit"):
        list(replay(TrainingStep(MnistModel(SETTINGS), recipe(8)), arrays, header))


@pytest.fixture
def report(tmp_path):
    """The folder of a run whose first step was not finite."""
    training = {**vars(MNIST.presets["quick"].training), "seed": 3}
    config = {"settings": {"model": vars(SETTINGS), **training}, "environment": {}}
    model = MnistModel(SETTINGS, seed=7)
    following = recipe(8, average_decay=training["average_decay"], **poisoned(1))
    with Run.open(tmp_path, config) as run:
        with pytest.raises(UserError):
            loop.Trainer(model, Images(), following, run).run()
    return tmp_path


def call_replay(path):
    options = parse(EXPERIMENT, ["replay", str(path)])
    return main(options.function, options)


def test_the_command_replays_a_run(report, capsys):
    for path in (report, report / "trouble.npz"):
        assert call_replay(path) == 0
        assert "iteration 1: cost is nan" in capsys.readouterr().out
    for path in (report / "checkpoint.npz", report / "none"):
        assert call_replay(path) == 2


@pytest.mark.parametrize(
    ("changes", "status", "says"),
    [
        ({"iteration": None}, 0, "iteration unknown: cost is nan"),
        ({"scalars": None}, 2, "does not fit the model"),
        ({"scalars": {}}, 2, "does not fit the model"),
        ({"scalars": {"alpha": "x", "learning_rate": 1}}, 2, "does not fit the model"),
        ({"model": None}, 2, "another kind of model"),
        ({"model": {**vars(SETTINGS), "dim_pix": 10**6}}, 2, "larger than its file"),
        ({"model": {**vars(SETTINGS), "layers": 0}}, 2, "does not fit the model"),
        ({"config": {}}, 2, "another kind of model"),
        ({"config": {"settings": {"iterations": 3}}}, 2, "another kind of model"),
    ],
)
def test_a_report_with_another_header(report, capsys, changes, status, says):
    arrays, header = load_arrays(report / "trouble.npz")
    header = {key: value for key, value in {**header, **changes}.items() if value is not None}
    save_arrays(report / "trouble.npz", arrays, header)
    capsys.readouterr()
    assert call_replay(report) == status
    said = capsys.readouterr()
    assert says in (said.err if status else said.out) and "Traceback" not in said.err


@pytest.mark.parametrize("name", ["input.0", "input.1", "packed", "adam.0"])
def test_a_report_with_other_arrays(report, capsys, name):
    arrays, header = load_arrays(report / "trouble.npz")
    for wrong in (np.zeros(3), np.zeros((2, 2), "int8"), None):
        changed = {**arrays, name: wrong}
        if wrong is None:
            del changed[name]
        save_arrays(report / "trouble.npz", changed, header)
        assert call_replay(report) == 2
        assert "does not fit the model" in capsys.readouterr().err
