"""Trained weights by name, their shipping and records, and the pages that are made from the records."""

import hashlib
import json
import shlex
import shutil
import signal
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from pixelvae.experiments import command_line
from pixelvae.experiments.commands.arguments import picture_path
from pixelvae.experiments.mnist_pixelvae import EXPERIMENT
from pixelvae.experiments.summaries import SampleSizes
from pixelvae.lib.runs.metrics import read_metrics
from pixelvae.machine.errors import UserError
from pixelvae.machine.files.arrays import load_arrays
from pixelvae.machine.files.atomic import write_json
from pixelvae.models import weights
from pixelvae.models.mnist.table1 import VARIANTS
from studies import mnist_race, mnist_table1
from studies.comparisons import equal_cost
from studies.comparisons.jobs import run_all
from studies.mnist_table1 import parse
from studies.publishing import shipping
from studies.publishing.curves import curves
from studies.publishing.pages import BEGIN, END, pages
from studies.publishing.records import (
    PAPER,
    ROOT,
    images_of_each,
    read_records,
    training_commands,
    trainings_told_once,
)
from studies.publishing.shipping import joined


def run_command(*arguments):
    """What the experiment's command line does, errors as they are raised."""
    options = command_line.parse(EXPERIMENT, [str(a) for a in arguments])
    return options.function(options)


def run_table(*arguments):
    """What the command line of table 1 does."""
    options = parse([str(a) for a in arguments])
    return options.function(options)


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Images of 4x4, sorted: image n has n // 4 white pixels."""
    white = np.arange(16) < (np.arange(40) // 4)[:, None]
    file = tmp_path_factory.mktemp("data") / "sorted.npz"
    np.savez(
        file, **dict.fromkeys(("train", "valid", "test"), white.reshape(40, 4, 4).astype("uint8"))
    )
    return file


@pytest.fixture(scope="module")
def command(images):
    """A tiny training's words; the number of iterations comes behind."""
    return ["train", "--model", "gated-pixelcnn", "--preset", "quick", "--data", images, "--layers", 0,
            "--dim-pix", 2, "--batch-size", 20, "--eval-every", 1, "--iterations"]  # fmt: skip


@pytest.fixture(scope="module")
def run(command, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    assert run_command(*command, 2, "--out", folder) == 0
    return folder


@pytest.fixture(scope="module")
def shipped(run, tmp_path_factory):
    """A folder with the pretrained/, results/ and docs/ of the tiny training."""
    into = tmp_path_factory.mktemp("repository")
    (into / "README.md").write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    run_table("ship", run, "--into", into)
    return into


def test_a_shipped_model_has_weights_pictures_and_a_record_that_agree(run, shipped, images):
    record = json.loads((shipped / "results/mnist/gated-pixelcnn.json").read_text())
    file = shipped / record["weights"]["file"]
    assert hashlib.sha256(file.read_bytes()).hexdigest() == record["weights"]["sha256"]
    best, _ = load_arrays(run / "best.npz")
    arrays, header = load_arrays(file, kind="weights")
    assert {n: a.dtype for n, a in arrays.items()} == dict.fromkeys(best, np.dtype("float32"))
    assert all(np.array_equal(arrays[n], best[n]) for n in best)
    results = json.loads((run / "results.json").read_text())
    for split in ("valid", "test"):
        assert record[split]["bound"] == pytest.approx(results[split]["bound"])
    assert record["subset"]["images"] == record["train"]["images"] == 40
    assert "weighted" not in record
    assert record["training"]["iterations"] == 2 and record["training"]["seconds"] >= 0
    assert record["training"]["best_iteration"] == header["iteration"]
    assert (shipped / "results/mnist/gated-pixelcnn-samples.png").exists()


def test_shipping_writes_the_pages_and_leaves_the_rest_of_the_readme(shipped):
    readme = (shipped / "README.md").read_text()
    assert readme.startswith(f"before\n{BEGIN}\n| name") and readme.endswith(f"{END}\nafter\n")
    assert {str(p): t for p, t in pages(shipped).items()} == {
        name: (shipped / name).read_text()
        for name in (
            "README.md",
            "docs/gallery.md",
            "docs/natural-images.md",
            "docs/results.md",
            "pretrained/README.md",
        )
    }
    for name in ("docs/results.md", "pretrained/README.md"):
        assert "gated-pixelcnn" in (shipped / name).read_text()
    for name in ("docs/results.md", "docs/gallery.md"):
        assert "(../results/mnist/curves.png)" in (shipped / name).read_text()
    assert (shipped / "results/mnist/curves.png").exists()


def test_shipped_weights_are_measured_again(shipped, tmp_path):
    copy = Path(shutil.copytree(shipped, tmp_path / "copy"))
    path = copy / "results/mnist/gated-pixelcnn.json"
    record = json.loads(path.read_text())
    spoilt = {**record, "test": {**record["test"], "bound": {"mean": 0.0, "se": 0.0}}}
    path.write_text(json.dumps(spoilt))
    run_table("measure", "gated-pixelcnn", "--into", copy)
    again = json.loads(path.read_text())
    assert again.pop("evaluation_seconds") >= 0 and record.pop("evaluation_seconds") >= 0
    assert again == record
    (copy / record["weights"]["file"]).write_bytes(
        (shipped / record["weights"]["file"]).read_bytes()[:-1]
    )
    with pytest.raises(UserError):
        run_table("measure", "gated-pixelcnn", "--into", copy)


def test_a_training_that_began_with_shipped_weights_is_recorded_as_one_with_theirs(
    run, shipped, command, tmp_path
):
    copy = Path(shutil.copytree(shipped, tmp_path / "copy"))
    path = copy / "results/mnist/gated-pixelcnn.json"
    before = json.loads(path.read_text())["training"]
    further = tmp_path / "further"
    assert run_command(*command, 4, "--from", run, "--out", further) == 0
    for _ in range(2):  # the second time, the record is the run's own
        run_table("ship", further, "--into", copy)
        training = json.loads(path.read_text())["training"]
        assert training["before"] == before
        assert training["iterations"] == 4 and f"--from {run}" in training["command"]
        assert list(training["valid_bounds"])[0] == list(before["valid_bounds"])[0]
        assert list(training["valid_bounds"])[-1] == "4"
        own = read_metrics(further / "metrics.csv")[-1]["seconds"]
        assert training["seconds"] == before["seconds"] + round(own)
    with pytest.raises(UserError, match="no record of their training"):
        run_table("ship", further, "--into", tmp_path / "empty")


def test_weights_trained_on_other_data_have_a_name_and_a_table_of_their_own(
    run, shipped, command, images, tmp_path, monkeypatch
):
    copy = Path(shutil.copytree(shipped, tmp_path / "copy"))
    other = tmp_path / "other.npz"
    shifted = {name: np.roll(array, 1, axis=2) for name, array in np.load(images).items()}
    np.savez(other, **shifted)
    monkeypatch.setattr(mnist_table1, "DYNAMIC_DATA", str(other))
    monkeypatch.setattr(mnist_table1, "FIXED_DATA", str(images))
    monkeypatch.setattr(weights, "PRETRAINED", copy / "pretrained")
    monkeypatch.chdir(tmp_path)
    words = [other if word == images else word for word in command]
    assert run_command(*words, 4, "--from", "gated-pixelcnn", "--out", tmp_path / "further") == 0
    row = pages(copy)[Path("docs/results.md")].partition("## Table 1")[2].partition("\n\n#")[0]
    run_table("ship", tmp_path / "further", "--into", copy)
    assert (copy / "pretrained/gated-pixelcnn-dynamic.npz").exists()
    record = json.loads((copy / "results/mnist/gated-pixelcnn-dynamic.json").read_text())
    assert record["model"] == "gated-pixelcnn" and "paper" not in record
    assert record["commands"]["bound"].endswith("evaluate gated-pixelcnn-dynamic")
    told = record["fixed"]["test"]["remarks"][-1]
    assert told == f"measured on {images}, trained on {other}"
    assert record["fixed"]["test"]["bound"]["mean"] != record["test"]["bound"]["mean"]
    begun = record["training"]["before"]["best_iteration"]
    assert (
        int(min(record["training"]["valid_bounds"], key=int)) > begun
    )  # no curve across data sets
    made = {str(path): page for path, page in pages(copy).items()}
    assert row in made["docs/results.md"] and "-dynamic" not in row
    assert "| `gated-pixelcnn-dynamic` | = " in made["docs/results.md"].partition("## Dynamic")[2]
    for name in ("README.md", "pretrained/README.md", "docs/gallery.md"):
        assert "gated-pixelcnn-dynamic" in made[name]


_SHIPPED = {
    "training": {
        "command": "python train --preset p --iterations 400 --from a --out runs/a",
        "iterations": 300, "iterations_asked": 400, "best_iteration": 290, "batch_size": 16,
        "seconds": 70, "valid_bounds": {"150": 3.0, "200": 2.0, "290": 1.0},
        "before": {
            "command": "python train --preset p --out runs/a",
            "iterations": 120, "iterations_asked": 500, "best_iteration": 100, "batch_size": 4,
            "seconds": 30, "valid_bounds": {"100": 5.0},
        },
    }
}  # fmt: skip


@pytest.mark.parametrize(
    ("iteration", "seconds", "command"),
    [
        (290, 70, "python train --preset p --iterations 400 --from a --out runs/a"),
        (
            200,
            50,
            "python train --preset p --from a --iterations 200 --out runs/a",
        ),  # went on since
        (100, 30, "python train --preset p --out runs/a"),
        (60, 15, "python train --preset p --iterations 60 --out runs/a"),
    ],
)
def test_a_training_that_began_with_another_model_has_a_curve_and_images_of_its_own(
    iteration, seconds, command
):
    own = {
        "training": {
            "command": "own", "iterations": 310, "best_iteration": 305, "batch_size": 8,
            "seconds": 5, "valid_bounds": {"305": 0.5},
        }
    }  # fmt: skip
    begun = {"weights": "runs/a", "iteration": iteration}
    training = joined(begun, _SHIPPED, own, "a")
    assert training["before"]["weights"] == "a" and training["valid_bounds"] == {"305": 0.5}
    assert training["seconds"] == seconds + 5
    commands = training_commands({"training": training})
    assert commands[-2:] == [command, "own"] and len(commands) == 2 + (iteration > 100)
    seen = images_of_each({"training": training})
    assert seen[-1] == 8 * (305 - iteration)
    assert seen[0] == 4 * min(iteration, 100) and sum(seen[1:-1]) == 16 * max(0, iteration - 100)
    # The second time it is shipped, the record is its own.
    again = joined(begun, {"training": training}, own)
    assert again == training
    line = curves({"a": {"training": training}}, "bits/dim", 1.0).axes[0].lines[0]
    np.testing.assert_allclose(line.get_xydata(), [[8 * (305 - iteration) / 1e6, 0.5]])


def test_a_training_that_weights_have_in_common_is_listed_once():
    def record(*commands):
        before = {"before": record(*commands[:-1])["training"]} if commands[1:] else {}
        return {"training": {"command": commands[-1], **before}}

    listed = trainings_told_once(
        {"a": record("1", "2"), "b": record("1", "2", "3"), "c": record("4")}
    )
    assert list(listed) == [("a", None, ["1", "2"]), ("b", (2, "a"), ["3"]), ("c", None, ["4"])]
    # What was itself told in part elsewhere has all of the first ones, too.
    listed = trainings_told_once(
        {"a": record("1"), "b": record("1", "2"), "c": record("1", "2", "3")}
    )
    assert list(listed)[-1] == ("c", (2, "b"), ["3"])


def test_a_training_that_began_elsewhere_is_not_joined():
    with pytest.raises(UserError, match="no record of their training"):
        joined({"weights": "a", "iteration": 300}, _SHIPPED, _SHIPPED)


def test_the_recorded_command_trains_the_same_again(run, shipped):
    record = json.loads((shipped / "results/mnist/gated-pixelcnn.json").read_text())
    words = shlex.split(record["training"]["command"])
    assert words[:2] == ["python", "experiments/mnist_pixelvae.py"]
    options = vars(command_line.parse(EXPERIMENT, words[2:]))
    settings = json.loads((run / "config.json").read_text())["settings"]
    flat = {**settings, **settings["model"], "data": settings["data"]["name"]}
    same = set(flat) & set(options)
    assert len(same) >= 14 and {n: options[n] for n in same} == {n: flat[n] for n in same}


@pytest.mark.parametrize("name", read_records(ROOT))
def test_the_recorded_command_is_that_of_the_shipped_weights(name):
    record = read_records(ROOT)[name]
    options = vars(command_line.parse(EXPERIMENT, shlex.split(record["training"]["command"])[2:]))
    _, header = load_arrays(ROOT / record["weights"]["file"], kind="weights")
    settings = header["config"]["settings"]
    flat = {**settings, **settings["model"], "data": settings["data"]["name"]}
    same = set(flat) & set(options)
    assert len(same) >= 14 and {n: options[n] for n in same} == {n: flat[n] for n in same}


def test_weights_load_by_name_and_print_the_recorded_numbers(
    shipped, monkeypatch, tmp_path, capsys
):
    monkeypatch.setattr(weights, "PRETRAINED", shipped / "pretrained")
    monkeypatch.chdir(tmp_path)
    record = json.loads((shipped / "results/mnist/gated-pixelcnn.json").read_text())
    for name, split in (("bound", "test"), ("valid", "valid"), ("train", "train")):
        run_command(*shlex.split(record["commands"][name])[2:], "--json")
        printed = json.loads(capsys.readouterr().out.splitlines()[-1])
        assert printed["split"] == split and printed["images"] == 40
        assert printed["bound"] == pytest.approx(record[split]["bound"])
    named = SimpleNamespace(out=None, weights="gated-pixelcnn")
    assert picture_path(named, "samples.png") == Path("gated-pixelcnn-samples.png")
    with pytest.raises(
        UserError, match=r"^pixelcnn is not a run.*\(gated-pixelcnn\): did you mean"
    ):
        weights.load("pixelcnn")
    (tmp_path / "gated-pixelcnn").mkdir()  # a folder that is not a run hides no name
    assert weights.load("gated-pixelcnn").model.name == "gated-pixelcnn"
    (tmp_path / "gated-pixelcnn" / "config.json").write_text("{}")  # a run comes before a name
    with pytest.raises(UserError, match="holds no best.npz"):
        weights.load("gated-pixelcnn")


def test_what_is_no_run_is_not_shipped(tmp_path):
    with pytest.raises(UserError, match="holds no best.npz"):
        run_table("ship", tmp_path, "--into", tmp_path)
    with pytest.raises(UserError, match="no evaluation"):
        shipping.describe_run(mnist_table1.shipped_rows(SampleSizes()), "", {}, [])


@pytest.mark.parametrize("bound, gap, band", [(81.0, 0.36, 0.8), (80.0, -0.64, -0.2)])
def test_the_band_is_the_gap_and_two_standard_errors(bound, gap, band):
    numbers = shipping.paper_gap(PAPER["pixelvae"], {"mean": bound, "se": 0.2})
    assert numbers == {"bound": 80.64, "gap": gap, "band": band}


def test_trainings_run_some_at_a_time(tmp_path):
    code = (
        "import pathlib, sys, time; f = pathlib.Path(sys.argv[1]); f.with_suffix('.on').touch();"
        "assert len(list(f.parent.glob('*.on'))) <= 2; time.sleep(0.5); f.with_suffix('.on').unlink(); f.touch()"
    )
    commands = [[sys.executable, "-c", code, str(tmp_path / name)] for name in "abc"]
    assert run_all(commands, jobs=2) == 0
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "b", "c"]


def test_no_training_starts_after_one_failed(tmp_path):
    fails = [sys.executable, "-c", "raise SystemExit(3)"]
    later = [sys.executable, "-c", f"open({str(tmp_path / 'x')!r}, 'w')"]
    assert run_all([fails, later], jobs=1) == 3
    assert not list(tmp_path.iterdir())


def test_a_stop_is_passed_on():
    sleeps = [sys.executable, "-c", "import time; time.sleep(60)"]
    timer = threading.Timer(1, signal.raise_signal, [signal.SIGTERM])
    start = time.monotonic()
    timer.start()
    assert run_all([sleeps, sleeps], jobs=1) == 143
    assert time.monotonic() - start < 20


def test_the_whole_table_is_trained_by_the_command_for_one_model(monkeypatch):
    commands = []
    monkeypatch.setattr(mnist_table1, "run_all", lambda c, jobs: commands.extend(c) or 130)
    options = parse(
        ["train", "--preset", "few-cores", "--jobs", "2", "--device", "cuda", "--tf32",
         "--", "--iterations", "7"]
    )  # fmt: skip
    assert options.function(options) == 130  # stopped: nothing is shipped
    trained = [command_line.parse(EXPERIMENT, c[2:]) for c in commands]
    assert [o.model for o in trained] == list(VARIANTS)
    assert {(o.preset, o.iterations, o.data) for o in trained} == {
        ("few-cores", 7, "binarized_mnist")
    }
    assert len({o.out for o in trained}) == 5
    assert {(o.device, o.tf32) for o in trained} == {("cuda", True)}


def test_a_race_of_sizes_is_recorded_and_judged_by_validation(run, images, monkeypatch, tmp_path):
    asked, costs = [], {"as it is": 0.5, "--dim-pix 3": 2.0}
    begun = json.loads((run / "results.json").read_text())["iteration"]

    def run_all(commands, jobs):
        asked.extend(command_line.parse(EXPERIMENT, line[2:]) for line in commands)
        for options in asked:
            shutil.copytree(run, options.out)
        return 0

    monkeypatch.setattr(equal_cost, "run_all", run_all)
    monkeypatch.setattr(equal_cost, "processor_seconds_a_step", lambda *_: costs)
    words = ["--model", "gated-pixelcnn", "--minutes", 2, "--out", tmp_path / "runs", "--data", images,
             "--name", "width", "--try=--dim-pix 3", "--into", tmp_path,
             "--", "--kl-warmup", 9, "--from", run]  # fmt: skip
    assert mnist_race.race(mnist_race.parse([*map(str, words)])) == 0
    assert [(o.model, o.preset, o.iterations, o.kl_warmup) for o in asked] == [
        ("gated-pixelcnn", "few-cores", steps, 9) for steps in (begun + 240, begun + 60)
    ]
    assert [o.chosen.settings.dim_pix for o in asked] == [16, 3]
    record = json.loads((tmp_path / "results/race/width.json").read_text())
    told = mnist_race.parse(shlex.split(record["command"])[2:])
    assert (told.model, told.name, told.minutes) == ("gated-pixelcnn", "width", 2)
    assert told.tries == ["--dim-pix 3"]
    part = (tmp_path / "docs/results.md").read_text().partition("## A race of settings: `width`")[2]
    assert "| `--dim-pix 3` | 0 | 2.000 s | 2 |" in part


def test_pages_say_what_has_no_record(tmp_path):
    made = {str(path): page for path, page in pages(tmp_path).items()}
    assert set(made) == {
        "docs/gallery.md", "docs/natural-images.md", "docs/results.md", "pretrained/README.md",
    }  # fmt: skip
    assert "![" not in made["docs/gallery.md"]
    assert made["docs/results.md"].count("not trained yet") == len(VARIANTS)
    for name in ("figure4", "figure5"):
        assert f"no record of it yet (`results/{name}/{name}.json`)" in made["docs/results.md"]
    for name in ("docs/natural-images.md", "pretrained/README.md"):
        assert "No weights" in made[name]
    assert (
        "no record of it yet (`results/photographs/ablations.json`)"
        in made["docs/natural-images.md"]
    )


def test_curves_are_the_recorded_bounds_by_images_seen():
    training = {"batch_size": 50, "valid_bounds": {"20000": 90.5, "40000": 85.25}}
    axes = curves({"pixelvae": {"training": training}}).axes[0]
    bounds, paper = axes.lines
    np.testing.assert_allclose(bounds.get_xydata(), [[1, 90.5], [2, 85.25]])
    assert bounds.get_label() == "pixelvae" and list(paper.get_ydata()) == [80.64, 80.64]
    assert axes.get_ylim()[0] < 80.64 and axes.get_ylim()[1] > 90.5


def test_figures_are_made_from_their_records(tmp_path):
    def number(mean):
        return {"mean": mean, "se": 0.1}

    numbers = {"bound": number(90), "kl": number(7.25), "reconstruction": number(82.75)}
    runs = [
        {
            "model": "gated-pixelvae",
            "autoregressive_layers": layers,
            "iterations": 1000,
            "command": f"python y{seed}",
            "test": {**numbers, "bound": number(bound)},
        }
        for layers, seed, bound in ((1, 0, 90), (1, 1, 91.5), (2, 0, 80))
    ]
    latents = [
        {"model": "conv-vae", "iterations": 9, "seed": seed, "k": 15, "valid_error": 0.2, "test_error": error,
         "bound": number(120), "command": f"python x{seed}"}
        for seed, error in ((0, 0.209), (1, 0.229))
    ]  # fmt: skip
    for name, record in ("figure4", runs), ("figure5", latents):
        (tmp_path / "results" / name).mkdir(parents=True)
        write_json(tmp_path / "results" / name / f"{name}.json", record)
        (tmp_path / "results" / name / f"{name}.png").touch()
    page = pages(tmp_path)[Path("docs/results.md")]
    assert (
        "| `gated-pixelvae` | 1 | 1,000 | 2 | 90.75 ± 0.10 | 1.50 | 82.75 ± 0.10 | 7.25 ± 0.10 |"
        in page
    )
    assert (
        "| `gated-pixelvae` | 2 | 1,000 | 1 | 80.00 ± 0.10 |  | 82.75 ± 0.10 | 7.25 ± 0.10 |"
        in page
    )
    assert "| `conv-vae` | 9 | 1 | 15 | 20.0 % | 22.9 % |" in page
    assert "over 2 seeds: 21.9 % on average, standard deviation 1.4 %." in page
    assert "../results/figure5/figure5.png" in page and "python y1" in page and "python x1" in page


def test_the_committed_pages_are_those_of_the_committed_records():
    for path, page in pages(ROOT).items():
        assert (ROOT / path).read_text(encoding="utf-8") == page, f"run: make results ({path})"
