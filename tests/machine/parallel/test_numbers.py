"""How many ranks there are changes what training computes by rounding alone, and what evaluation does not at all."""

from __future__ import annotations

import subprocess

import numpy as np
import pytest
from ranks import FLOAT64, ROOT, command, environment, needs_mpi

pytestmark = needs_mpi


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """What tests/on_ranks.py computes, by the number of ranks."""
    found = {}
    for ranks in (1, 2, 3):
        folder = tmp_path_factory.mktemp("ranks")
        done = subprocess.run(
            command(ranks, "tests/on_ranks.py", folder),
            cwd=ROOT, env=environment(**FLOAT64),
            capture_output=True, text=True, timeout=1200,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-3000:]
        found[ranks] = dict(np.load(folder / "results.npz"))
    return found


def pick(results, part):
    return {name: value for name, value in results.items() if part in name}


@pytest.mark.parametrize("ranks", [2, 3])
def test_evaluation_sampling_and_moving_statistics_are_the_same_bits(results, ranks):
    for part in (".bound.", ".importance_weighted", ".images", ".moving.", ".refused"):
        expected, found = pick(results[1], part), pick(results[ranks], part)
        assert expected
        for name, value in expected.items():
            np.testing.assert_array_equal(found[name], value, err_msg=name)


@pytest.mark.parametrize("model", ["gated", "hierarchical"])
@pytest.mark.parametrize("ranks", [2, 3])
def test_fifty_steps_differ_by_rounding_alone(results, model, ranks):
    for part in (f"{model}.costs", f"{model}.state."):
        expected, found = pick(results[1], part), pick(results[ranks], part)
        assert expected
        for name, value in expected.items():
            np.testing.assert_allclose(found[name], value, rtol=0, atol=1e-10, err_msg=name)
