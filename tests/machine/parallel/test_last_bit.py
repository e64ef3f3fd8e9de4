"""What is imported first, and how many ranks there are, changes not even the last bit of an evaluation."""

from __future__ import annotations

import subprocess

import numpy as np
import pytest
from ranks import ROOT, command, environment, needs_mpi

FIRST = "import numpy, runpy; runpy.run_path('experiments/mnist_pixelvae.py', run_name='__main__')"


@pytest.fixture(scope="module")
def evaluate(tmp_path_factory):
    """The output of an evaluation of shipped weights; ``start`` are the words that Python is started with."""
    data = tmp_path_factory.mktemp("data") / "images.npz"
    images = (np.random.RandomState(0).rand(60, 28, 28) < 0.2).astype("uint8")
    np.savez(data, train=images[:1], valid=images[:1], test=images)

    def run(ranks: int, *start: str) -> str:
        words = ("evaluate", "gated-pixelvae-noup", "--data", data, "--json")
        # Its products for AVX2 alone are rounded in another way with two threads than with one.
        variables = environment(OPENBLAS_CORETYPE="Haswell")
        variables.pop("OPENBLAS_NUM_THREADS", None)  # which this process has set for itself
        return subprocess.check_output(
            command(ranks, *start, *words), cwd=ROOT, env=variables, text=True
        )

    return run


@pytest.fixture(scope="module")
def expected(evaluate):
    """By one process that imports the project first."""
    return evaluate(1, "experiments/mnist_pixelvae.py")


def test_numpy_may_be_imported_first(evaluate, expected):
    assert evaluate(1, "-c", FIRST) == expected


@needs_mpi
def test_two_ranks(evaluate, expected):
    assert evaluate(2, "experiments/mnist_pixelvae.py") == expected
    assert evaluate(2, "-c", FIRST) == expected
