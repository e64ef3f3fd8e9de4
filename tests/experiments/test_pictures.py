"""``experiments/pictures.py``: a folder of pictures, through the words, at the size asked for."""

from __future__ import annotations

import json

import numpy as np
import pytest
import theano
from PIL import Image

from experiments import pictures
from experiments.command_line import main
from lib.files.arrays import load_arrays


@pytest.fixture(autouse=True, scope="module")
def compile_fast():
    with theano.configparser.change_flags(mode="FAST_COMPILE"):
        yield


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


def test_a_folder_is_trained_on_and_evaluated(photographs, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("FUEL_DATA_PATH", str(tmp_path / "fuel"))
    run = tmp_path / "run"
    train = ["train", "--preset", "tiny", "--image-size", 16, "--batch-size", 3, "--iterations", 2,
             "--eval-every", 2, "--statistics-batches", 2, "--out", run]  # fmt: skip
    assert call(*train, "--data", photographs) == 2
    assert "torn.png" in capsys.readouterr().err
    assert call(*train, "--data", photographs, "--skip-damaged") == 0
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
