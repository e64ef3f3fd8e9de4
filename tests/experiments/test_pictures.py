"""A folder of pictures through the words of pictures.py, and from there through natural_images.py."""

from __future__ import annotations

import json
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
from command_lines import error
from PIL import Image

from pixelvae.experiments import pictures
from pixelvae.experiments.command_line import main, parse
from pixelvae.machine.console import command
from pixelvae.machine.files.arrays import load_arrays
from pixelvae.models import weights
from studies import natural_images
from studies.comparisons import equal_cost
from studies.publishing.pages import pages
from studies.publishing.records import ABLATIONS, PHOTOGRAPHS_RACES, ROOT

pytestmark = pytest.mark.usefixtures("fast_compile")


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    """Six pictures in each split, wider than high, and a damaged one among those for training."""
    folder, rng = tmp_path_factory.mktemp("photographs"), np.random.RandomState(0)
    for split in ("train", "valid", "test"):
        (folder / split).mkdir()
        for n in range(6):
            coarse = rng.randint(0, 256, (4, 6, 3)).astype("uint8")
            picture = Image.fromarray(coarse.repeat(8, axis=0).repeat(8, axis=1))
            picture.save(folder / split / f"{n}.png")
    (folder / "train" / "torn.png").write_bytes(b"\x89PNG\r\n\x1a\nno more")
    return folder


def call(*arguments):
    try:
        return main(pictures.EXPERIMENT, [str(a) for a in arguments])
    except SystemExit as stop:
        return stop.code


TINY = ["--preset", "tiny", "--image-size", 16, "--batch-size", 3, "--eval-every", 2]
TINY += ["--statistics-batches", 2, "--skip-damaged"]


@pytest.fixture(scope="module")
def run(photographs, tmp_path_factory):
    """A tiny training on them, whose data are found again wherever this is asked for."""
    folder = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FUEL_DATA_PATH", str(folder / "fuel"))
        words = [*TINY, "--iterations", 2, "--data", photographs, "--out", folder / "run"]
        assert call("train", *words) == 0
        yield folder / "run"


def test_a_folder_is_trained_on_and_evaluated(run, capsys):
    _, header = load_arrays(run / "best.npz")
    assert (header["model"]["height"], header["model"]["width"]) == (16, 16)
    results = json.loads((run / "results.json").read_text())
    assert results["test"]["images"] == 6
    assert any("damaged" in remark for remark in results["test"]["remarks"])
    capsys.readouterr()
    assert call("evaluate", run, "--skip-damaged", "--json") == 0
    again = json.loads(capsys.readouterr().out.splitlines()[-1])
    # In other batches, so equal but for rounding.
    assert again["bound"] == pytest.approx(results["test"]["bound"], rel=1e-5)


def test_damaged_pictures_are_named(photographs, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("FUEL_DATA_PATH", str(tmp_path / "fuel"))
    words = [word for word in TINY if word != "--skip-damaged"]
    assert call("train", *words, "--data", photographs, "--out", tmp_path / "run") == 2
    assert "torn.png" in capsys.readouterr().err


def section(*words):
    """The exit status of natural_images.py."""
    try:
        options = natural_images.parse([str(word) for word in words])
        return command.main(options.function, options)
    except SystemExit as stop:
        return stop.code


def page_of(root):
    """The page of photographs that is made from the records in a folder."""
    return pages(root)[Path("docs/natural-images.md")]


#: What is drawn of a shipped model.
PICTURES = ("samples", "reconstructions", "reconstructions-z1", "vary")


def test_a_model_of_photographs_is_shipped_and_works_by_name(run, tmp_path, monkeypatch, capsys):
    into = tmp_path / "repository"
    sizes = ["--few-samples", 2, "--importance-samples", 4, "--images", 2]
    assert section("ship", run, "--into", into, *sizes) == 0
    record = json.loads((into / "results/photographs/photos-16px.json").read_text())
    results = json.loads((run / "results.json").read_text())
    for split in ("valid", "test"):
        for part in ("bound", "kl1", "kl2"):
            assert record[split][part] == pytest.approx(results[split][part], rel=1e-4)
    assert record["training"]["batch_size"] == 3 and record["training"]["best_iteration"] == 2
    folder = into / "results/photographs"
    names = {f"photos-16px-{n}" for n in PICTURES}
    assert {p.stem for p in folder.glob("*.png")} == {"bounds", *names}
    page = (into / "docs/natural-images.md").read_text()
    assert page_of(into) == page
    assert all(f"photos-16px-{name}.png" in page for name in PICTURES)
    assert f"{results['test']['bound']['mean']:.4f} ± " in page and "Looked at" not in page
    # What was seen in pictures of other weights is said to be of those.
    seen = {"iteration": 1, "samples": "noise."}
    (folder / "photos-16px-seen.json").write_text(json.dumps(seen))
    assert "Looked at, at iteration 1: noise." in page_of(into)
    # By name, in another folder; its command is one that can be typed.
    monkeypatch.setattr(weights, "PRETRAINED", into / "pretrained")
    monkeypatch.chdir(tmp_path)
    capsys.readouterr()
    words = shlex.split(record["commands"]["weighted"])
    assert words[:2] == ["python", "experiments/pictures.py"]
    assert shlex.split(record["commands"]["bound"]) == words[: -2 * 3]
    assert call(*words[2:], "--skip-damaged", "--json") == 0
    printed = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert printed["bound"] == pytest.approx(record["test"]["bound"], rel=1e-6)
    for part, numbers in record["weighted"].items():
        assert numbers == pytest.approx(printed["two_stages"][part], rel=1e-4, abs=1e-6)
    assert f"{record['weighted']['importance_weighted']['mean']:.4f} ± " in page
    again = ["measure", "photos-16px", "--into", into]
    assert section(*again, "--few-samples", 3, *sizes[2:]) == 0
    measured = json.loads((into / "results/photographs/photos-16px.json").read_text())
    assert measured["weighted"]["few"]["samples"] == 3 and measured["test"] == record["test"]


@pytest.fixture
def trained(run, tmp_path, monkeypatch):
    """The trainings of the ablations, as they were asked for; each of them is the tiny one in a copy."""
    asked = []

    def run_all(commands, jobs):
        asked.extend(parse(pictures.EXPERIMENT, line[2:]) for line in commands)
        for options in asked:
            shutil.copytree(run, options.out, dirs_exist_ok=True)
        return 0

    costs = iter([0.5, 0.125, 0.25, 1.0])

    def measured(experiment, trainings):
        return {name: next(costs) for name in trainings}

    monkeypatch.setattr(equal_cost, "run_all", run_all)
    monkeypatch.setattr(equal_cost, "processor_seconds_a_step", measured)
    return asked


def test_ablations_are_trained_at_equal_cost(trained, photographs, tmp_path):
    words = ["ablations", "--out", tmp_path / "runs", "--minutes", 2, "--seeds", 0, 1]
    words += ["--preset", "tiny", "--data", photographs, "--into", tmp_path / "into"]
    assert section(*words, "--", "--batch-size", 5) == 0
    assert [o.iterations for o in trained[:4]] == [240, 960, 480, 120]
    assert [o.seed for o in trained] == [0] * 4 + [1] * 4
    assert {(o.preset, o.data, o.batch_size) for o in trained} == {("tiny", str(photographs), 5)}
    kinds = [(o.chosen.settings.pixel_decoder, o.chosen.settings.top_decoder,
              len(o.chosen.settings.latents)) for o in trained[:4]]  # fmt: skip
    assert kinds == [
        ("pixelcnn", "pixelcnn", 2),
        ("gaussian", "gaussian", 2),
        ("pixelcnn", "pixelcnn", 1),
        ("pixelcnn", "gaussian", 2),
    ]
    record = json.loads((tmp_path / "into" / ABLATIONS).read_text())
    assert [r["name"] for r in record["runs"]] == 2 * list(natural_images.MODELS)
    _, script, *words_told = shlex.split(record["command"])
    assert (ROOT / script).is_file()
    told = natural_images.parse(words_told)
    assert (told.minutes, told.seeds, told.options) == (2, [0, 1], ["--batch-size", "5"])
    # Costs are not measured again, or the trainings would have other ends.
    assert section(*words, "--", "--batch-size", 5) == 0
    assert [o.iterations for o in trained[8:12]] == [240, 960, 480, 120]


def test_a_race_tries_other_settings_and_is_judged_by_validation(trained, photographs, tmp_path):
    words = ["race", "--out", tmp_path / "runs", "--minutes", 1, "--try=--learning-rate 1e-3"]
    words += ["--preset", "tiny", "--data", photographs, "--into", tmp_path / "into"]
    assert section(*words, "--", "--learning-rate", 2e-3, "--free-bits", 4) == 0
    assert [o.iterations for o in trained] == [120, 480]
    assert [(o.learning_rate, o.free_bits) for o in trained] == [(2e-3, 4), (1e-3, 4)]
    assert [Path(o.out).name for o in trained] == ["as-it-is-0", "learning-rate-1e-3-0"]
    record = json.loads((tmp_path / "into" / PHOTOGRAPHS_RACES / "tiny.json").read_text())
    assert [r["name"] for r in record["runs"]] == ["as it is", "--learning-rate 1e-3"]
    _, script, *words_told = shlex.split(record["command"])
    assert (ROOT / script).is_file()
    told = natural_images.parse(words_told)
    assert (told.minutes, told.tries) == (1, ["--learning-rate 1e-3"])
    assert told.options == ["--learning-rate", "0.002", "--free-bits", "4"]
    page = (tmp_path / "into/docs/natural-images.md").read_text()
    part = page.partition("## A race of settings: `tiny`")[2]
    assert "`tiny`, with the options at the end of the command, as it is" in part
    assert "| `--learning-rate 1e-3` | 0 | 0.125 s |" in part
    test = record["runs"][0]["test"]["bound"]["mean"]
    assert f"{test:.3f}" not in part


def test_the_cost_of_a_step_is_that_of_real_ones(run, photographs, monkeypatch):
    monkeypatch.setattr(equal_cost, "WARM", 1)
    monkeypatch.setattr(equal_cost, "TIMED", 2)
    # Two trainings by turns, three steps each, of which the first does not count.
    clock = iter([0.0, 9.0, 9.0, 9.5, 10.0, 10.5, 11.0, 13.0, 20.0, 21.5, 22.0, 26.0])
    monkeypatch.setattr(equal_cost.time, "process_time", lambda: next(clock))
    words = [str(w) for w in ["train", *TINY, "--data", photographs]]
    trainings = {"one": words, "other": [*words, "--seed", "1"]}
    costs = equal_cost.processor_seconds_a_step(pictures.EXPERIMENT, trainings)
    assert costs == {"one": 1.0, "other": 3.0}


@pytest.mark.parametrize(
    ("mean", "says"),
    [(5.0, "+1.000 ± 0.141 | worse"), (3.9, "-0.100 ± 0.141 | no clear"), (3.0, "| better")],
)
def test_the_page_says_what_the_errors_allow(tmp_path, mean, says):
    def ablation(name, mean):
        bound = {"mean": mean, "se": 0.1}
        numbers = {"bound": bound, "nats/image": {"kl": bound}}
        return {"name": name, "seed": 0, "batch": 16, "iterations": 7, "command": "python x",
                "processor_seconds_a_step": 0.3, "valid": numbers, "test": numbers}  # fmt: skip

    runs = [ablation("two-level-pixelvae", 4.0), ablation("two-level-vae", mean)]
    record = {
        "minutes": 3,
        "timed_steps": 20,
        "command": "python y",
        "preset": "32px_few_cores",
        "runs": runs,
    }
    (tmp_path / ABLATIONS).parent.mkdir(parents=True)
    (tmp_path / ABLATIONS).write_text(json.dumps(record))
    assert says in page_of(tmp_path)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["ship", "RUNS"], "holds no best.npz"),
        (["ablations", "--out", "RUNS", "--minutes", 0], "--minutes"),
        (["ablations", "--minutes", 1], "--out"),
        (["ablations", "--out", "RUNS", "--minutes", 1, "--data", "nowhere.zip"], "nowhere.zip"),
        (["ablations", "--out", "RUNS", "--minutes", 1, "--preset", "unknown"], "unknown"),
    ],
)
def test_what_cannot_be_shipped_or_compared_is_one_line(tmp_path, capsys, words, says):
    given = [tmp_path if word == "RUNS" else word for word in words]
    assert section(*given, "--into", tmp_path) == 2
    assert says in error(capsys)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "--data"),
        (["--data", "FOLDER", "--image-size", 20], "multiple of 16"),
        (["--data", "FOLDER", "--image-size", 16, "--preset", "32px_small"], "32px_small"),
    ],
)
def test_what_cannot_be_trained_is_one_line(
    photographs, tmp_path, monkeypatch, capsys, arguments, words
):
    monkeypatch.setenv("FUEL_DATA_PATH", str(tmp_path / "fuel"))
    given = [photographs if a == "FOLDER" else a for a in arguments]
    assert call("train", "--out", tmp_path / "run", "--skip-damaged", *given) == 2
    (line,) = [x for x in capsys.readouterr().err.splitlines() if x.startswith("error: ")]
    assert words in line
