"""The training loop: Adam's arithmetic, going on bit for bit, stopping."""

import os
import signal

import numpy as np
import pytest
import theano
from compiled import threads
from tiny_training import SETTINGS, Images, compile_once, recipe, run_for  # noqa: F401

from pixelvae.lib.evaluation import Bound
from pixelvae.lib.model import draw_noise
from pixelvae.lib.runs.folder import Run, best_weights
from pixelvae.lib.runs.metrics import read_metrics
from pixelvae.lib.training import loop
from pixelvae.lib.training.step import TrainingStep
from pixelvae.machine.errors import NotFiniteError, UserError
from pixelvae.machine.files.arrays import load_arrays, save_arrays
from pixelvae.models.mnist.model import MnistModel, Settings

pytestmark = pytest.mark.usefixtures("compile_once")


def test_going_on_gives_the_bits_of_an_undisturbed_run(tmp_path):
    _, whole, whole_header, whole_rows = run_for(tmp_path / "whole", 8)
    run_for(tmp_path / "parts", 3)
    _, parts, parts_header, parts_rows = run_for(tmp_path / "parts", 8)
    assert sorted(parts) == sorted(whole)
    for name in whole:
        np.testing.assert_array_equal(parts[name], whole[name], err_msg=name)
    assert parts_rows == whole_rows
    assert [row["iteration"] for row in whole_rows] == [3, 3, 6, 6, 8, 8]
    assert parts_header["state"]["best"] == whole_header["state"]["best"]


def test_a_signal_between_evaluations_saves_and_goes_on_to_the_same_bits(tmp_path):
    def interrupt(batch):
        if batch == 4:
            os.kill(os.getpid(), signal.SIGTERM)

    _, whole, _, whole_rows = run_for(tmp_path / "whole", 8)
    status, _, header, _ = run_for(tmp_path / "stopped", 8, Images(interrupt))
    assert status == 143
    assert header["iteration"] == 5
    status, arrays, _, rows = run_for(tmp_path / "stopped", 8)
    assert status == 0
    for name in whole:
        np.testing.assert_array_equal(arrays[name], whole[name], err_msg=name)
    assert rows == whole_rows


def test_the_best_weights_are_those_of_the_best_validation_bound(tmp_path):
    _, _, header, rows = run_for(tmp_path, 8)
    valid = {row["iteration"]: row["bound"] for row in rows if row["split"] == "valid"}
    arrays, best = load_arrays(tmp_path / "best.npz", kind="weights")
    assert best["iteration"] == min(valid, key=valid.get)
    assert best["valid_bound"] == pytest.approx(min(valid.values()))
    model = MnistModel(SETTINGS)
    model.parameters.assign(arrays)
    again = Bound(model, seed=3)(Images(), "valid").mean("bound")
    assert again == pytest.approx(best["valid_bound"], abs=1e-4)


def gradients(model, images, noise, alpha):
    x, z = theano.tensor.tensor4(dtype="uint8"), theano.tensor.matrix()
    cost, _ = model.objective(
        theano.tensor.cast(x, "float32"), {"z": z}, {"alpha": np.float32(alpha)}
    )
    slopes = theano.grad(cost, list(model.parameters.values()))
    return theano.function([x, z], slopes, mode="FAST_COMPILE")(images, noise)


def test_three_steps_are_those_of_adam_written_in_numpy():
    model = MnistModel(SETTINGS, seed=7)
    reference = MnistModel(SETTINGS, seed=7)
    # A bound on the gradient's entries that is in force for some and not for others.
    step = TrainingStep(model, recipe(3))
    data = Images().training_stream(5, 0)
    m = v = [0.0] * len(reference.parameters)
    clipped = 0
    for t in (1, 2, 3):
        images, noise = next(data), draw_noise(model, 0, "test", t, 5)
        step(images, noise, {"learning_rate": 0.01, "alpha": 0.5})
        g = gradients(reference, images, noise[0], 0.5)
        clipped += sum(int((abs(a) > 1).sum()) for a in g)
        g = [np.clip(a, -1, 1).astype("float64") for a in g]
        m = [0.9 * a + 0.1 * b for a, b in zip(m, g)]
        v = [0.999 * a + 0.001 * b**2 for a, b in zip(v, g)]
        rate = 0.01 * np.sqrt(1 - 0.999**t) / (1 - 0.9**t)
        for p, a, b in zip(reference.parameters.values(), m, v):
            p.set_value((p.get_value() - rate * a / (np.sqrt(b) + 1e-8)).astype("float32"))
    assert clipped
    step.sync()
    for name, value in reference.parameters.arrays().items():
        np.testing.assert_allclose(
            model.parameters.arrays()[name], value, rtol=0, atol=2e-4, err_msg=name
        )


def test_going_on_gives_the_same_bits_with_all_that_keeps_a_model_general(tmp_path):
    changes = dict(dropout=0.2, weight_decay=0.5, shifted=0.3, rate_warmup=5)
    _, whole, _, _ = run_for(tmp_path / "whole", 8, **changes)
    run_for(tmp_path / "parts", 3, **changes)
    _, parts, _, _ = run_for(tmp_path / "parts", 8, **changes)
    for name in whole:
        np.testing.assert_array_equal(parts[name], whole[name], err_msg=name)


def test_weight_decay_shrinks_weights_alone_and_apart_from_the_gradient():
    """The step of test_going_on…'s recipe: its dropout is not felt where all maps are kept."""
    model = MnistModel(SETTINGS, seed=7)
    both = [TrainingStep(MnistModel(SETTINGS, seed=7), recipe(3, **how))
            for how in ({}, dict(dropout=0.2, weight_decay=0.5, rate_warmup=5))]  # fmt: skip
    images, noise = next(Images().training_stream(5, 0)), draw_noise(model, 0, "test", 1, 5)
    kept = np.ones((5, model.droppable), "float32")
    both[0](images, noise, {"learning_rate": 0.01, "alpha": 0.5})
    plain = both[0].parameters()
    both[1](images, [*noise, kept], {"learning_rate": 0.05, "alpha": 0.5})  # a fifth at first
    for name, value in both[1].parameters().items():
        first = model.parameters[name].get_value()
        lost = 0.005 * first if name.endswith((".g", ".w")) else 0
        np.testing.assert_allclose(value, plain[name] - lost, rtol=0, atol=2e-6, err_msg=name)


def test_the_learning_rate_rises_over_the_first_steps_of_a_run():
    """As if the schedule said so, from the run's beginning on, whatever its iteration is."""
    model = MnistModel(SETTINGS, seed=7)
    risen, told = [TrainingStep(MnistModel(SETTINGS, seed=7), recipe(3, **how))
                   for how in (dict(rate_warmup=5), {})]  # fmt: skip
    images = next(Images().training_stream(5, 0))
    for step in range(1, 8):
        noise = draw_noise(model, 0, "test", step, 5)
        risen(images, noise, {"learning_rate": 0.01, "alpha": 0.5})
        told(images, noise, {"learning_rate": 0.01 * min(1, step / 5), "alpha": 0.5})
    for name, value in told.parameters().items():
        np.testing.assert_allclose(risen.parameters()[name], value, rtol=0, atol=1e-5, err_msg=name)


def test_a_model_without_maps_to_drop_is_refused():
    with pytest.raises(UserError, match="conv-vae has no maps to drop"):
        TrainingStep(MnistModel(Settings("conv-vae", height=6, width=5)), recipe(3, dropout=0.1))


def test_the_averaged_weights_are_what_is_evaluated(tmp_path):
    model = MnistModel(SETTINGS, seed=7)
    step = TrainingStep(model, recipe(20, average_decay=0.7))
    data = Images().training_stream(5, 0)
    average = step.state()["packed"].astype("float64")
    for t in range(1, 21):
        images = next(data)
        step(images, draw_noise(model, 0, "test", t, len(images)), recipe(1).schedule(t))
        decay = min(0.7, (1 + t) / (10 + t))  # 0.7 from iteration 20 on
        average = decay * average + (1 - decay) * step.state()["packed"]
    state = step.state()
    np.testing.assert_allclose(state["averaged"], average, rtol=0, atol=1e-6)
    assert abs(state["averaged"] - state["packed"]).max() > 1e-3
    step.sync()
    values = [v.ravel() for v in model.parameters.arrays().values()]
    np.testing.assert_array_equal(np.concatenate(values), state["averaged"])


def test_averaged_weights_go_on_bit_for_bit(tmp_path):
    _, whole, _, rows = run_for(tmp_path / "whole", 8, average_decay=0.7)
    run_for(tmp_path / "parts", 3, average_decay=0.7)
    _, parts, _, parts_rows = run_for(tmp_path / "parts", 8, average_decay=0.7)
    np.testing.assert_array_equal(parts["averaged"], whole["averaged"])
    assert parts_rows == rows


def test_the_number_of_threads_does_not_change_a_bit():
    results = []
    for count in (1, 2, 3):
        step = TrainingStep(MnistModel(SETTINGS, seed=7), recipe(3))
        data = Images().training_stream(5, 0)
        with threads(count):
            for t in (1, 2, 3):
                images = next(data)
                noise = draw_noise(step._model, 0, "test", t, len(images))
                step(images, noise, {"learning_rate": 0.01, "alpha": 0.5})
        results.append(step.state()["packed"].tobytes())
    assert len(set(results)) == 1


def test_a_checkpoint_of_another_model_is_refused():
    step = TrainingStep(MnistModel(SETTINGS), recipe(1))
    arrays = step.state()
    arrays["packed"] = arrays["packed"][:-1]
    with pytest.raises(UserError, match="does not fit"):
        step.restore(arrays)


def test_a_checkpoint_that_is_not_finite_is_refused():
    step = TrainingStep(MnistModel(SETTINGS), recipe(1))
    for name in ("packed", "adam.1"):
        arrays = step.state()
        arrays[name][3] = np.nan
        with pytest.raises(UserError, match=f"NaN or infinity in {name}"):
            step.restore(arrays)


@pytest.fixture
def validation(monkeypatch):
    """Values that the validation bound takes, one an evaluation; the real ones when none are left."""
    values: list = []
    original = Bound._evaluate

    def evaluate(self, dataset, split, numbers, samples, seed):
        if values:
            value = np.full(len(numbers), values.pop(0))
            self._function = lambda images, *noise: [value, 0 * np.isfinite(value)]
        return original(self, dataset, split, numbers, samples, seed)

    monkeypatch.setattr(Bound, "_evaluate", evaluate)
    return values


def test_no_evaluation_was_finite(tmp_path, validation, capsys):
    validation += [np.nan, np.inf, np.nan]
    with pytest.raises(NotFiniteError, match="no evaluation .* was finite.*lower learning rate"):
        run_for(tmp_path, 8)
    assert "reconstruction of image 0 of the valid split is nan" in capsys.readouterr().err
    with pytest.raises(UserError, match="holds no best.npz, since no evaluation was finite"):
        best_weights(tmp_path)
    rows = read_metrics(tmp_path / "metrics.csv")
    assert [np.isfinite(row["bound"]) for row in rows] == [True, False] * 3
    validation += [5.0]
    status, _, header, _ = run_for(tmp_path, 9)  # it goes on, and is finite
    assert status == 0 and header["state"]["best"] == 5.0
    assert best_weights(tmp_path) == tmp_path / "best.npz"


def test_an_evaluation_that_is_not_finite_is_no_best_one(tmp_path, validation):
    validation += [7.0, np.nan, 8.0]
    status, _, header, rows = run_for(tmp_path, 8)
    assert status == 0 and header["state"]["best"] == 7.0
    assert load_arrays(tmp_path / "best.npz")[1]["iteration"] == 3
    assert [row["bound"] for row in rows if row["split"] == "valid"][::2] == [7.0, 8.0]


def test_why_there_are_no_best_weights(tmp_path):
    with pytest.raises(UserError, match="no best.npz yet: train first"):
        best_weights(tmp_path)
    run_for(tmp_path, 3)
    (tmp_path / "best.npz").unlink()
    with pytest.raises(UserError, match="no best.npz any more"):
        best_weights(tmp_path)


@pytest.mark.parametrize(
    ("entry", "value"),
    [
        ("iteration", 2),  # not the header's
        ("iteration", -1),
        ("seconds", "long"),
        ("best", [1]),
        ("count", 1.5),
        ("sums", [0.0]),
        ("sums", "ab"),
        ("skipped", None),
        ("unknown", 1),
        (None, [1, 2]),
        (None, None),
    ],
)
def test_a_checkpoint_whose_state_is_no_training_is_refused(tmp_path, entry, value):
    _, arrays, header, _ = run_for(tmp_path, 3)
    state = value if entry is None else {**header["state"], entry: value}
    iteration = value if value == -1 else header["iteration"]
    save_arrays(
        tmp_path / "checkpoint.npz", arrays, {**header, "state": state, "iteration": iteration}
    )
    with pytest.raises(UserError, match="its state is not a training's"):
        run_for(tmp_path, 8)


def test_long_stretches_between_evaluations_are_checkpointed_too(tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", -1)
    saved, original = [], Run.save_checkpoint
    monkeypatch.setattr(
        Run,
        "save_checkpoint",
        lambda self, arrays, header: (
            saved.append(header["iteration"]),
            original(self, arrays, header),
        ),
    )
    run_for(tmp_path, 3, eval_every=3)
    assert sorted(set(saved)) == [0, 1, 2, 3]
