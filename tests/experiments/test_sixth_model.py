"""A sixth model of binary images, registered in one place, goes through everything the five others do."""

from __future__ import annotations

import json

import numpy as np
import pytest
import theano
from PIL import Image

from pixelvae.experiments.command_line import parse
from pixelvae.experiments.mnist_pixelvae import EXPERIMENT
from pixelvae.lib.layers.conv import Conv
from pixelvae.models import weights
from pixelvae.models.mnist.table1 import VARIANTS, Variant
from studies import mnist_table1
from studies.publishing import pages, records

NAME = "shifted-rows"


class RowsAbove:
    """Logits from the decoder's maps and the pixel two rows up: nothing that the others have."""

    def __init__(self, p, sizes, features: int, latent: int):
        self.above = Conv(p, "rows.above", 1, sizes.dim_pix, 1, reach=(5, 1))
        self.maps = Conv(p, "rows.maps", features, sizes.dim_pix, 1)
        self.logits = Conv(p, "rows.logits", sizes.dim_pix, 1, 1, he=False)

    def __call__(self, x, features=None, z=None):
        return self.logits(theano.tensor.tanh(self.maps(features) + self.above(x)))


@pytest.fixture(scope="module")
def sixth(fast_compile):
    """The one entry that a model needs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(VARIANTS, NAME, Variant(NAME, "Rows above", f"{__name__}.RowsAbove"))
        yield


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    white = np.random.RandomState(0).random_sample((12, 5, 6)) < 0.4
    file = tmp_path_factory.mktemp("data") / "images.npz"
    np.savez(file, **dict.fromkeys(("train", "valid", "test"), white.astype("uint8")))
    return file


def call(*arguments):
    options = parse(EXPERIMENT, [str(a) for a in arguments])
    return options.function(options)


@pytest.fixture(scope="module")
def run(sixth, images, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "sixth"
    sizes = ("--dim-pix", 3, "--latent-dim", 2, "--batch-size", 6)
    steps = ("--iterations", 2, "--eval-every", 2, "--preset", "quick", "--data", images)
    assert call("train", "--model", NAME, *sizes, *steps, "--out", folder) == 0
    return folder


@pytest.fixture(scope="module")
def shipped(run, tmp_path_factory):
    into = tmp_path_factory.mktemp("repository")
    (into / "README.md").write_text(f"{pages.BEGIN}\n{pages.END}\n")
    options = mnist_table1.parse(
        [
            "ship",
            str(run),
            "--into",
            str(into),
            "--few-samples",
            "2",
            "--importance-samples",
            "3",
            "--images",
            "4",
        ]
    )
    options.function(options)
    return into


def test_it_trains_evaluates_samples_and_reconstructs(run, tmp_path, capsys):
    assert json.loads((run / "results.json").read_text())["test"]["model"] == NAME
    call("evaluate", run, "--json", "--images", 5, "--importance-samples", 3)
    numbers = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert numbers["images"] == 5 and numbers["importance_weighted"]["samples"] == 3
    drawn = []
    for sampler in ("cached", "naive"):
        out = tmp_path / f"{sampler}.png"
        call("sample", run, "--count", 3, "--sampler", sampler, "--out", out)
        drawn.append(np.asarray(Image.open(out)))
    np.testing.assert_array_equal(*drawn)
    call("reconstruct", run, "--count", 2, "--out", tmp_path / "r.png")


def test_it_is_shipped_and_loads_by_name(shipped, monkeypatch, tmp_path, capsys):
    record = json.loads((shipped / "results" / "mnist" / f"{NAME}.json").read_text())
    assert (
        record["model"] == NAME
        and "paper" not in record
        and record["weighted"]["gain"]["images"] == 4
    )
    monkeypatch.setattr(weights, "PRETRAINED", shipped / "pretrained")
    monkeypatch.chdir(tmp_path)
    call("evaluate", NAME, "--json")
    numbers = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert numbers["bound"] == pytest.approx(record["test"]["bound"])
    for picture in ("samples", "reconstructions"):
        assert (shipped / "results" / "mnist" / f"{NAME}-{picture}.png").exists()


def test_it_stands_on_every_page(shipped):
    assert list(records.read_records(shipped)) == [NAME]
    for name in ("README.md", "docs/results.md", "pretrained/README.md"):
        assert f"`{NAME}`" in (shipped / name).read_text()
    page = (shipped / "docs/results.md").read_text()
    (row,) = [line for line in page.splitlines() if line.startswith("| Rows above")]
    # No number of the paper's, and so no distance from it.
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[1] == "" and cells[2].startswith("≤ ") and cells[4] == ""
    assert page.count("not trained yet") == 5
