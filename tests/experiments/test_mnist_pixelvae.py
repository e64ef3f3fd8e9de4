"""The command line of the MNIST models: every command on the offline digits, and every kind of bad input."""

import json
import re
import shlex
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from command_lines import error
from PIL import Image
from safetensors import safe_open

import pixelvae
from pixelvae.experiments.command_line import parse
from pixelvae.experiments.invocations import training_command
from pixelvae.experiments.mnist_pixelvae import EXPERIMENT
from pixelvae.lib.runs.metrics import read_metrics
from pixelvae.lib.training.loop import Trainer
from pixelvae.machine.console.command import main
from pixelvae.machine.files.arrays import load_arrays, save_arrays
from pixelvae.models.mnist.presets import MNIST

ROOT = Path(__file__).parents[2]
TINY = ["--data", "digits", "--layers", "1", "--dim-pix", "2", "--latent-dim", "2"]
TINY += ["--filter-size", "3", "--batch-size", "100", "--eval-every", "2", "--iterations"]


def call(*arguments):
    """The exit status of a command, as the shell would see it."""
    try:
        options = parse(EXPERIMENT, [str(a) for a in arguments])
    except SystemExit as stop:
        return stop.code
    return main(options.function, options)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished tiny training, at whose end the model holds other weights than the best."""
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    train = Trainer.run

    def train_and_spoil(trainer):
        status = train(trainer)
        for parameter in trainer._model.parameters.values():
            parameter.set_value(parameter.get_value() + np.float32(0.3))
        return status

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "run", train_and_spoil)
        assert call("train", *TINY, 3, "--out", folder) == 0
    return folder


def test_a_run_leaves_what_others_read(run):
    names = {path.name for path in run.iterdir()}
    assert names >= {
        "config.json", "metrics.csv", "checkpoint.npz", "best.npz", "results.json", "samples.png",
        "reconstructions.png", "vary.png",
    }  # fmt: skip
    config = json.loads((run / "config.json").read_text())
    assert config["settings"]["data"]["name"] == "digits"
    assert config["settings"]["data"]["checksum"]
    assert (
        (run / "metrics.csv")
        .read_text()
        .splitlines()[0]
        .startswith("iteration,split,bound,reconstruction,kl,alpha,seconds")
    )
    results = json.loads((run / "results.json").read_text())
    for split in ("valid", "test"):
        numbers = results[split]
        assert numbers["unit"] == "nats/image" and numbers["split"] == split
        total = numbers["reconstruction"]["mean"] + numbers["kl"]["mean"]
        assert numbers["bound"]["mean"] == pytest.approx(total)
        assert numbers["bound"]["se"] > 0
    samples = np.asarray(Image.open(run / "samples.png"))
    assert set(np.unique(samples)) <= {0, 128, 255}  # binary pixels and the grid's lines


def evaluate(capsys, *arguments):
    assert call("evaluate", *arguments, "--json") == 0
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def test_evaluate_prints_the_bound_above_the_importance_weighted_estimate_twice_the_same(
    run, capsys
):
    arguments = (run, "--importance-samples", 20, "--images", 15, "--samples", 20)
    first, second = (evaluate(capsys, *arguments) for _ in range(2))
    assert first == second
    assert first["images"] == 15 and first["importance_weighted"]["samples"] == 20
    assert first["bound"]["mean"] >= first["importance_weighted"]["mean"]
    assert first["importance_weighted"]["se"] > 0


def test_python_says_what_evaluate_prints(run, capsys):
    """Of a whole split in its order: an image's noise goes by its number."""
    m, data = pixelvae.load(run), pixelvae.open_dataset("digits")
    x = data.images("test", 0, data.size("test"))
    said = evaluate(capsys, run, "--importance-samples", 3, "--seed", 1)
    assert m.bound(x, seed=1).mean() == pytest.approx(said["bound"]["mean"], rel=1e-6)
    weighted = -m.log_likelihood(x, importance_samples=3, seed=1)
    assert weighted.mean() == pytest.approx(said["importance_weighted"]["mean"], rel=1e-6)


def test_two_stages_take_the_gain_from_the_estimate_of_all_images(run, capsys):
    first = evaluate(capsys, run, "--importance-samples", 2)["importance_weighted"]
    arguments = (run, "--few-samples", 2, "--importance-samples", 20, "--images", 15)
    numbers = evaluate(capsys, *arguments)
    whole, gain = (numbers["two_stages"][name] for name in ("few", "gain"))
    assert (whole["mean"], whole["images"]) == (first["mean"], numbers["images"])
    assert (gain["samples"], gain["images"]) == (20, 15) and gain["mean"] > 0
    found = numbers["two_stages"]["importance_weighted"]
    assert found["mean"] == pytest.approx(whole["mean"] - gain["mean"])


@pytest.mark.parametrize(
    "arguments",
    [
        ("--few-samples", 2),
        ("--few-samples", 2, "--importance-samples", 20),
        ("--few-samples", 20, "--importance-samples", 20, "--images", 3),
    ],
)
def test_stages_that_make_no_sense_are_refused_before_anything_is_opened(capsys, arguments):
    assert call("evaluate", "/nowhere/at/all.npz", *arguments) == 2
    assert "(--few-samples)" in error(capsys)


def test_a_weights_file_needs_nothing_else(run, tmp_path, capsys):
    copy = tmp_path / "somewhere.npz"
    copy.write_bytes((run / "best.npz").read_bytes())
    expected = json.loads((run / "results.json").read_text())["test"]
    assert evaluate(capsys, copy)["bound"]["mean"] == pytest.approx(expected["bound"]["mean"])


def test_the_pictures_of_a_finished_run_are_of_its_best_weights(run, tmp_path):
    drawn = tmp_path / "samples.png"
    assert call("sample", run, "--out", drawn) == 0
    ours, its = (np.asarray(Image.open(path)) for path in (drawn, run / "samples.png"))
    assert (ours == its).all()


def test_numbers_on_other_data_than_the_weights_were_trained_on_say_so(run, tmp_path, capsys):
    images = pixelvae.open_dataset("digits").images("test", 0, 9)
    np.savez(tmp_path / "few.npz", train=images, valid=images, test=images)
    remarks = evaluate(capsys, run, "--data", tmp_path / "few.npz")["remarks"]
    assert remarks[-1] == f"measured on {tmp_path / 'few.npz'}, trained on digits"


def test_pictures(run, tmp_path):
    assert call("sample", run, "--count", 6, "--out", tmp_path / "a.png", "--seed", 3) == 0
    arguments = ("--count", 6, "--out", tmp_path / "b.png", "--seed", 3, "--sampler", "naive")
    assert call("sample", run, *arguments) == 0
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert call("reconstruct", run, "--count", 5, "--out", tmp_path / "c.png") == 0
    arguments = ("--count", 3, "--scenes", 2, "--out", tmp_path / "d.png")
    assert call("vary", run, *arguments) == 0
    with Image.open(
        tmp_path / "d.png"
    ) as picture:  # of 28x28 images, doubled, and lines of two pixels
        assert picture.size == (3 * 58 + 2, 4 * 58 + 2)
        assert json.loads(picture.info["rows"]) == ["top", "bottom"] * 2
    assert call("vary", run, "--level", "middle") == 2
    assert Image.open(tmp_path / "c.png").width > 28 * 5


def test_what_is_exported_is_what_was_trained(run, tmp_path, capsys):
    assert call("export", run, tmp_path / "a.safetensors") == 0
    assert capsys.readouterr().out.splitlines()[-1] == str(tmp_path / "a.safetensors")
    pixelvae.load(run).export(tmp_path / "b.safetensors")
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()
    arrays, header = load_arrays(run / "best.npz")
    with safe_open(tmp_path / "a.safetensors", framework="numpy") as file:
        assert sorted(file.keys()) == sorted(arrays)
        for name, array in arrays.items():
            exported = file.get_tensor(name)
            assert exported.dtype == array.dtype, name
            np.testing.assert_array_equal(exported, array)
        assert json.loads(file.metadata()["header"]) == header


def test_other_settings_are_refused_and_named(run, capsys):
    before = (run / "checkpoint.npz").read_bytes()
    assert call("train", *TINY, 3, "--out", run, "--seed", 1) == 2
    assert "seed: 0 → 1" in error(capsys)
    assert (run / "checkpoint.npz").read_bytes() == before


def test_a_finished_run_can_be_prolonged(run, tmp_path):
    folder = shutil.copytree(run, tmp_path / "longer")
    assert call("train", *TINY, 4, "--out", folder) == 0
    _, header = load_arrays(folder / "checkpoint.npz", kind="checkpoint")
    assert header["iteration"] == 4


def test_a_run_begins_with_the_weights_of_another_where_those_are(run, tmp_path, capsys):
    folder = tmp_path / "further"
    options = (
        *TINY,
        5,
        "--out",
        folder,
        "--learning-rate",
        1e-9,
    )  # what it begins with stays as it is
    assert call("train", *options, "--from", run) == 0
    weights, header = load_arrays(run / "best.npz")
    config = json.loads((folder / "config.json").read_text())
    assert config["settings"]["from"] == {"weights": str(run), "iteration": header["iteration"]}
    further, _ = load_arrays(folder / "best.npz")
    for name, array in weights.items():
        assert np.allclose(further[name], array, rtol=0, atol=1e-6), name
    first = header["iteration"] + 1
    assert [row["iteration"] for row in read_metrics(folder / "metrics.csv")] == [
        t for t in range(first, 6) if t in (2, 4, 5) for split in ("train", "valid")
    ]
    # It goes on without them, and remembers them.
    assert call("train", *TINY, 6, *options[len(TINY) + 1 :]) == 0
    assert (
        json.loads((folder / "config.json").read_text())["settings"]["from"]
        == config["settings"]["from"]
    )
    assert "--from" in shlex.split(
        training_command(EXPERIMENT, config["settings"], EXPERIMENT.default, folder)
    )


def test_a_run_begins_with_the_weights_of_a_smaller_model_alone(run, tmp_path, capsys):
    arguments = (*TINY, 4, "--out", tmp_path / "other", "--from", run, "--learning-rate", 1e-9)
    assert call("train", *arguments, "--dim-pix", 1) == 2
    assert "these settings cannot grow: dim_pix: 2 → 1" in error(capsys)
    assert not (tmp_path / "other" / "best.npz").exists()
    assert call("train", *arguments, "--dim-pix", 3) == 0
    assert f"growing {run} (dim_pix: 2 → 3)" in capsys.readouterr().err
    small, large = (
        json.loads((folder / "results.json").read_text()) for folder in (run, tmp_path / "other")
    )
    assert large["test"]["bound"]["mean"] == pytest.approx(small["test"]["bound"]["mean"], rel=1e-4)


def test_the_schedules_of_the_presets():
    paper, few = (MNIST.presets[name].training.schedule for name in ("paper", "few-cores"))
    assert paper(1_000) == {"learning_rate": 1e-3, "alpha": 0.1}
    assert paper(200_000) == {"learning_rate": 1e-3, "alpha": 1.0}
    assert few(5_000)["learning_rate"] == 2e-3
    cooled = replace(MNIST.presets["paper"].training, iterations=1_000, cool_down=4).schedule
    rates = [cooled(t)["learning_rate"] / 1e-3 for t in range(995, 1_001)]
    np.testing.assert_allclose(rates, [1, 1, 1, 0.75, 0.5, 0.25])
    assert few(20_000)["learning_rate"] == 1e-3  # half, at four times the iterations


@pytest.mark.parametrize(
    "arguments, says",
    [
        (["train", "--model", "vae"], "--model"),
        (["train", "--layers", "-1"], "--layers"),
        (["train", "--dim-pix", "0"], "--dim-pix"),
        (["train", "--latent-dim", "-3"], "--latent-dim"),
        (["train", "--filter-size", "4"], "--filter-size: must be an odd number"),
        (["train", "--batch-size", "0"], "--batch-size"),
        (["train", "--iterations", "many"], "--iterations"),
        (["train", "--learning-rate", "nan"], "--learning-rate"),
        (["train", "--average-decay", "1"], "--average-decay"),
        (["train", "--preset", "huge"], "--preset"),
        (["train", "--data", "imagenet1"], "imagenet1"),
        (["train", "--frobnicate"], "'--frobnicate' (mnist_pixelvae.py train --help"),
        (["train", "--layer", "3"], "--layers? (mnist_pixelvae.py train --help"),
        (["trian"], "did you mean train?"),
        (["train", "--model", "gated-pixelvae-nup"], "did you mean gated-pixelvae-noup?"),
        (["train", "--data", "digit"], "did you mean digits?"),
        (["evaluate"], "RUN|WEIGHTS.npz"),
        (["evaluate", "/nowhere/at/all.npz"], "all.npz"),
        (["evaluate", "RUN", "--images", "100000"], "(--images)"),
        (["evaluate", "RUN", "--importance-samples", "0"], "--importance-samples"),
        (["sample", "RUN", "--count", "0"], "--count"),
        (["sample", "RUN", "--count", "10001"], "from 1 to 10000"),
        (["train", "--dim-pix", "2147483647", "--data", "digits", "--out", "TMP"], "too large"),
        (["train", *TINY, "1", "--layers", "2147483647", "--out", "TMP"], "fewer layers"),
        (["sample", "RUN", "--count", "2", "--out", "/proc/nowhere/x.png"], "x.png"),
        (["reconstruct", "RUN", "--count", "9999"], "9999"),
        (["export", "RUN"], "OUT.safetensors"),
        (["export", "RUN", "RUN/best.npz"], "choose a name that ends in .safetensors"),
        (["export", "/nowhere/at/all.npz", "out.safetensors"], "all.npz"),
        (["export", "RUN", "/proc/nowhere/x.safetensors"], "x.safetensors"),
    ],
)
def test_bad_arguments_end_with_one_line_and_status_2(run, tmp_path, capsys, arguments, says):
    capsys.readouterr()
    before = (run / "best.npz").read_bytes()
    words = [a.replace("RUN", str(run)).replace("TMP", str(tmp_path)) for a in arguments]
    assert call(*words) == 2
    assert says in error(capsys)
    assert (run / "best.npz").read_bytes() == before


def broken(run, tmp_path, kind):
    data = (run / "best.npz").read_bytes()
    path = tmp_path / "weights.npz"
    if kind == "truncated":
        path.write_bytes(data[: len(data) // 2])
    elif kind == "no npz":
        path.write_text("P5 28 28")
    elif kind == "pickled":
        np.savez(path, header=np.array([{"a": 1}], dtype=object), x=np.array([None, 1]))
    elif kind == "another model":
        arrays, header = load_arrays(run / "best.npz")
        header["model"]["dim_pix"] += 1
        save_arrays(path, arrays, header)
    elif kind == "a checkpoint":
        path.write_bytes((run / "checkpoint.npz").read_bytes())
    elif kind == "an unknown model":
        arrays, header = load_arrays(run / "best.npz")
        header["model"]["model"] = "vae"
        save_arrays(path, arrays, header)
    return path


@pytest.mark.parametrize(
    "kind",
    ["truncated", "no npz", "pickled", "another model", "a checkpoint", "an unknown model"],
)
def test_weights_that_cannot_be_used(run, tmp_path, capsys, kind):
    capsys.readouterr()
    assert call("evaluate", broken(run, tmp_path, kind)) == 2
    assert error(capsys)


def test_an_output_folder_that_cannot_be_written(capsys):
    assert call("train", *TINY, 3, "--out", "/proc/runs") == 2
    assert "/proc/runs" in error(capsys)


def documented_commands():
    """The lines of shell in README.md and docs/commands.md."""
    text = (ROOT / "README.md").read_text() + (ROOT / "docs/commands.md").read_text()
    blocks = re.findall(r"```(?:sh|bash)\n(.*?)```", text, re.S)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    return [line.split("#")[0].strip() for line in lines if line.strip()]


def test_every_documented_command_of_the_experiment_is_accepted():
    commands = [c for c in documented_commands() if "experiments/mnist_pixelvae.py" in c]
    assert commands
    for command in commands:
        words = shlex.split(command)
        start = next(i for i, w in enumerate(words) if w.endswith("mnist_pixelvae.py"))
        assert parse(EXPERIMENT, words[start + 1 :])


def test_every_documented_make_target_exists():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    for command in documented_commands():
        for target in re.findall(r"\bmake ([a-z-]+)", command):
            assert target in targets
