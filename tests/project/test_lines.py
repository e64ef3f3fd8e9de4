"""What both lines of pins (CPython 3.8 to 3.11, 3.12 to 3.14) must give alike: pytest -m lines, on each; a minute.

The numbers are of CPython 3.11, gcc 12 and a kernel that every OpenBLAS has: with its own choice, the lines differ
as two versions of it do (docs/machines.md). OTHER_PYTHON names the interpreter of an environment of the other line.
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pixelvae.machine.files.arrays import load_arrays

ROOT = Path(__file__).parents[2]
OTHER = os.environ.get("OTHER_PYTHON")
SMALL = (
    "--model gated-pixelvae-noup --data digits --layers 1 --dim-pix 4 --latent-dim 4 --filter-size 3"
    " --batch-size 20 --seed 1 --iterations 200 --eval-every 100"
)
TINY = "import sys; from tiny_training import run_for; run_for(sys.argv[1], int(sys.argv[2]))"

pytestmark = pytest.mark.lines


def run(*arguments, python=sys.executable):
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "tests"), "OPENBLAS_CORETYPE": "Nehalem"}
    command = [python, *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)
    assert done.returncode == 0
    return done.stdout


def mnist(*arguments):
    return run("experiments/mnist_pixelvae.py", *arguments)


def test_samples_are_the_same_in_every_pixel(tmp_path):
    """Of weights shipped anew the samples are others: then iteration and digest are to be recorded anew."""
    path = tmp_path / "samples.png"
    mnist("sample", "gated-pixelvae-noup", "--count", 9, "--out", path)
    iteration = load_arrays(ROOT / "pretrained/gated-pixelvae-noup.npz")[1]["iteration"]
    pixels = hashlib.sha256(np.asarray(Image.open(path)).tobytes()).hexdigest()
    recorded = "3561182c59ff495a8cf34192ec7eab518809e5ca4bba8e94234acad0c3d5a85b"
    assert (iteration, pixels) == (195_000, recorded)


def test_shipped_weights_have_the_same_bound():
    output = mnist("evaluate", "conv-vae", "--data", "digits", "--images", 100, "--json")
    bound = json.loads(output.splitlines()[-1])["bound"]["mean"]
    assert bound == pytest.approx(1036.549387, abs=1e-4)


def test_a_training_goes_the_same_way(tmp_path):
    """For longer, the longer another compiler rounds as this one does."""
    mnist("train", *SMALL.split(), "--out", tmp_path / "run")
    with open(tmp_path / "run/metrics.csv", encoding="utf-8") as file:
        bounds = [float(row["bound"]) for row in csv.DictReader(file)]
    for bound, recorded, share in zip(
        bounds, (559.0090, 358.7897, 334.978, 318.762), (1e-3, 0.01, 0.05, 0.1)
    ):
        assert bound == pytest.approx(recorded, rel=share)


@pytest.mark.skipif(not OTHER, reason="OTHER_PYTHON names no environment of the other line")
@pytest.mark.parametrize("first, then", [(sys.executable, OTHER), (OTHER, sys.executable)])
def test_a_run_resumes_on_the_other_line(tmp_path, first, then):
    run("-c", TINY, tmp_path / "whole", 12, python=first)
    run("-c", TINY, tmp_path / "parts", 6, python=first)
    run("-c", TINY, tmp_path / "parts", 12, python=then)
    whole, parts = (load_arrays(tmp_path / name / "checkpoint.npz") for name in ("whole", "parts"))
    for name, value in whole[0].items():
        np.testing.assert_array_equal(parts[0][name], value, err_msg=name)
