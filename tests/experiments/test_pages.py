"""Pages to look at: what they hold, what they say of a run that lacks something, and damaged runs."""

from __future__ import annotations

import base64
import json
import shlex
import shutil
import sys
from html.parser import HTMLParser

import numpy as np
import pytest

from experiments import lsun_bedrooms, mnist_pixelvae, pictures
from experiments.command_line import main, parse
from experiments.commands.train import fitted
from experiments.invocations import training_command
from experiments.pages import curves
from lib.files.atomic import to_json
from lib.model import NATS

TINY = ["--model", "gated-pixelvae", "--data", "digits", "--layers", 1, "--dim-pix", 2]
TINY += ["--latent-dim", 2, "--filter-size", 3, "--batch-size", 100, "--eval-every", 2]


def call(*words):
    """The exit status of a command of mnist_pixelvae.py, as the shell would see it."""
    try:
        return main(mnist_pixelvae.EXPERIMENT, [str(word) for word in words])
    except SystemExit as stop:
        return stop.code


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished tiny training with two latent dimensions."""
    folder = tmp_path_factory.mktemp("runs") / "a run"
    assert call("train", *TINY, "--iterations", 3, "--out", folder) == 0
    return folder


@pytest.fixture
def copy(run, tmp_path):
    """The same, to be changed; times of files are kept."""
    return shutil.copytree(run, tmp_path / "copy")


class Page(HTMLParser):
    """The tags of a page with their attributes, and its text."""

    def __init__(self, path):
        super().__init__()
        self.tags, self.text = [], ""
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.text += data

    def images(self):
        sources = [attributes["src"] for tag, attributes in self.tags if tag == "img"]
        return [base64.b64decode(s[len("data:image/png;base64,") :]) for s in sources]


def error(capsys):
    """The one line on standard error that starts with ``error:``."""
    lines = [x for x in capsys.readouterr().err.splitlines() if x.startswith("error: ")]
    assert len(lines) == 1, lines
    return lines[0]


def test_a_finished_training_leaves_a_page_that_needs_nothing_else(run):
    page = Page(run / "report.html")
    assert page.images() == [
        (run / f"{n}.png").read_bytes() for n in ("samples", "reconstructions")
    ]
    tags = [tag for tag, _ in page.tags]
    assert "script" not in tags and tags.count("svg") == 3
    for _, attributes in page.tags:
        for name in ("src", "href", "xlink:href"):
            assert attributes.get(name, "data:").startswith(("data:", "#"))
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    known = {f"#{name}" for name in ids}
    assert {a["xlink:href"] for _, a in page.tags if "xlink:href" in a} <= known
    results = json.loads((run / "results.json").read_text())
    for split in ("valid", "test"):
        for quantity in ("bound", "reconstruction", "kl"):
            numbers = results[split][quantity]
            assert f"{numbers['mean']:.2f} ± {numbers['se']:.2f}" in page.text
    assert "not finished" not in page.text
    for line in page.text.splitlines():
        if line.startswith("python "):
            assert parse(mnist_pixelvae.EXPERIMENT, shlex.split(line)[2:])


def test_a_run_without_pictures_gets_a_few_samples_and_is_told_the_rest(copy, capsys):
    for name in ("samples.png", "reconstructions.png", "results.json", "report.html"):
        (copy / name).unlink()
    config = json.loads((copy / "config.json").read_text())
    config["settings"]["iterations"] = 1_000
    (copy / "config.json").write_text(json.dumps(config))
    assert call("report", copy) == 0
    assert capsys.readouterr().out == f"{copy / 'report.html'}\n"
    page = Page(copy / "report.html")
    assert len(page.images()) == 1
    assert "16 images drawn" in page.text and "reconstructions.png" in page.text
    assert "3 of 1,000 iterations" in page.text and "results.json" in page.text
    assert "--iterations 1000" in page.text


def test_pictures_and_numbers_of_older_weights_are_not_taken_for_theirs(copy, capsys):
    import os

    newer = (copy / "best.npz").stat().st_mtime + 60
    os.utime(copy / "best.npz", (newer, newer))
    results = json.loads((copy / "results.json").read_text())
    (copy / "results.json").write_text(json.dumps({**results, "iteration": 1}))
    assert call("report", copy) == 0
    page = Page(copy / "report.html")
    assert page.images()[0] != (copy / "samples.png").read_bytes()
    assert "weights of iteration 1;" in page.text and "no picture of these weights" in page.text


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("config.json", b"{", "config.json is damaged"),
        ("config.json", b"[]", "config.json, metrics.csv or results.json"),
        ("config.json", None, "is not a run's folder"),
        ("results.json", b'{"test": {"images": 3}}', "config.json, metrics.csv or results.json"),
        ("results.json", b"\xff", "results.json is damaged"),
        ("metrics.csv", b"iteration\nmany\nmore\n", "metrics.csv"),
        ("best.npz", b"PK", "best.npz"),
        ("best.npz", None, "holds no best.npz"),
    ],
)
def test_a_damaged_run_is_one_line_and_keeps_its_page(copy, capsys, name, content, says):
    before = (copy / "report.html").read_bytes()
    (copy / name).unlink()
    if content is not None:
        (copy / name).write_bytes(content)
    capsys.readouterr()
    assert call("report", copy) == 2
    assert says in error(capsys)
    assert (copy / "report.html").read_bytes() == before


def test_a_picture_that_is_damaged_is_named_as_missing(copy):
    (copy / "reconstructions.png").write_bytes(b"\x89PNG\r\n\x1a\n and then nothing")
    assert call("report", copy) == 0
    page = Page(copy / "report.html")
    assert len(page.images()) == 1 and "(reconstructions.png)" in page.text


def test_a_training_ends_well_without_the_packages_of_pages(copy, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "jinja2", None)
    monkeypatch.delitem(sys.modules, "experiments.pages.html")
    before = (copy / "report.html").read_bytes()
    assert call("train", *TINY, "--iterations", 4, "--out", copy) == 0
    assert "no page of it: this needs Jinja2, which is not installed" in capsys.readouterr().err
    assert (copy / "report.html").read_bytes() == before
    assert call("report", copy) == 2
    assert "this needs Jinja2" in error(capsys)


def rows(*bounds):
    kinds = [(n, b, split) for n, b in enumerate(bounds, 1) for split in ("train", "valid")]
    return [
        {"iteration": n, "split": split, "bound": b, "reconstruction": b, "kl": 0.0, "kl1": None}
        for n, b, split in kinds
    ]


def test_curves_cut_a_high_beginning_off_and_say_so():
    plain, cut = (list(curves.draw(rows(first, *range(90, 80, -1)), NATS)) for first in (91, 900))
    assert len(plain) == 1  # no KL
    assert "above the frame" not in plain[0].caption and "above the frame" in cut[0].caption
    assert (
        'aria-label="Negative log-likelihood: validation 81.00 at iteration 11"' in cut[0].drawing
    )


def test_curves_of_evaluations_that_were_not_finite():
    (curve,) = curves.draw(rows(90.0, float("nan")), NATS)
    assert "validation 90.00 at iteration 1" in curve.drawing
    (curve,) = curves.draw(rows(float("nan")), NATS)
    assert "no finite value" in curve.drawing


@pytest.mark.parametrize(
    ("experiment", "words"),
    [
        (mnist_pixelvae, "--model pixelvae --preset few-cores --layers 2 --decay-after 7 --seed 3"),
        (mnist_pixelvae, "--preset quick --kl-warmup 5"),
        (lsun_bedrooms, "--preset 64px_small --one-level --pixel-decoder gaussian --batch-size 5"),
        (lsun_bedrooms, "--preset 32px_small --top-decoder gaussian --learning-rate 0.1"),
        (pictures, "--preset tiny --image-size 48"),
    ],
)
def test_the_command_that_is_told_trains_with_the_same_settings(experiment, words):
    experiment = experiment.EXPERIMENT
    given = parse(
        experiment, ["train", *shlex.split(words), "--data", "my data", "--out", "my run"]
    )
    preset = given.chosen
    side = getattr(given, "image_size", None) or preset.settings.image_shape[1]

    class Images:
        name, levels = "my data", experiment.family.levels
        image_shape = (preset.settings.image_shape[0], side, side)

    def settings(options):
        return {
            "model": vars(fitted(experiment, options.chosen, Images)),
            **vars(options.chosen.training),
            "seed": options.seed,
            "data": {"name": options.data, "checksum": "0"},
        }

    saved = json.loads(to_json(settings(given)))
    told = shlex.split(training_command(experiment, saved, given.preset, given.out))[2:]
    again = parse(experiment, told)
    assert json.loads(to_json(settings(again))) == saved
    assert again.out == "my run" and getattr(again, "image_size", None) in (None, side)
    assert (
        np.prod(Images.image_shape) == np.prod(given.chosen.settings.image_shape)
        or again.image_size
    )
