"""An experiment's command line on several ranks: resuming, stopping, dying."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
from ranks import FLOAT64, ROOT, command, environment, needs_mpi

from pixelvae.lib.runs.metrics import read_metrics
from pixelvae.machine.files.arrays import load_arrays

pytestmark = needs_mpi

SMALL = ("--model", "gated-pixelvae-noup", "--preset", "few-cores", "--layers", "1", "--dim-pix", "2",
         "--latent-dim", "2", "--filter-size", "3", "--batch-size", "7", "--eval-every", "10")  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "images.npz"
    rng = np.random.RandomState(0)
    np.savez(path, **{s: rng.randint(0, 2, (n, 6, 5)).astype("uint8") for s, n in SIZES.items()})
    return path


SIZES = {"train": 23, "valid": 250, "test": 120}


def train(ranks, data, out, iterations, **options):
    """Starts a training in float64."""
    words = ("train", "--data", data, "--out", out, "--iterations", iterations, *SMALL)
    return subprocess.Popen(
        command(ranks, "experiments/mnist_pixelvae.py", *words),
        cwd=ROOT, env=environment(**FLOAT64), text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options,
    )  # fmt: skip


def finished(process, status=0) -> str:
    """What a training wrote to standard error until it ended with a status."""
    _, errors = process.communicate(timeout=600)
    assert process.returncode == status, errors[-3000:]
    return errors


def pid_of(rank: int, out: Path) -> int:
    """The process of a rank that trains in a folder, when it has begun to train."""
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        time.sleep(0.1)
        if not (out / "checkpoint.npz").exists():
            continue
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                words = (folder / "cmdline").read_bytes().split(b"\0")
                variables = (folder / "environ").read_bytes().split(b"\0")
            except OSError:
                continue
            if str(out).encode() in words and f"PMI_RANK={rank}".encode() in variables:
                return int(folder.name)
    raise AssertionError("the training has not begun")


def checkpoint(out):
    arrays, header = load_arrays(out / "checkpoint.npz", kind="checkpoint")
    return arrays, header["iteration"]


def wait_for(out, iteration):
    """Until the checkpoint is of an iteration or a later one."""
    deadline = time.monotonic() + 300
    while checkpoint(out)[1] < iteration:
        assert time.monotonic() < deadline
        time.sleep(0.1)


def same(a, b):
    (ours, iteration), (theirs, other) = checkpoint(a), checkpoint(b)
    assert iteration == other
    for name, value in theirs.items():
        np.testing.assert_allclose(ours[name], value, rtol=0, atol=1e-10, err_msg=name)


def test_a_run_goes_on_with_any_number_of_ranks(tmp_path, data):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    finished(train(1, data, whole, 60))
    for ranks, iterations in ((2, 20), (3, 40), (1, 60)):
        errors = finished(train(ranks, data, parts, iterations))
        assert errors.count(f"iteration {iterations}: bound") == 1  # one rank speaks
    same(parts, whole)
    # Best weights differ by rounding, and what is evaluated and drawn with them.
    ours, theirs = (read_metrics(folder / "metrics.csv") for folder in (parts, whole))
    assert [row["iteration"] for row in ours] == [row["iteration"] for row in theirs]
    for mine, other in zip(ours, theirs):
        assert mine["bound"] == pytest.approx(other["bound"], abs=1e-9)
    results = [json.loads((f / "results.json").read_text())["test"] for f in (parts, whole)]
    assert results[0]["bound"]["mean"] == pytest.approx(results[1]["bound"]["mean"], abs=1e-9)
    pictures = [(folder / "samples.png").read_bytes() for folder in (parts, whole)]
    assert pictures[0] == pictures[1]


def test_evaluate_and_sample_print_the_same_on_any_number_of_ranks(tmp_path, data):
    out = tmp_path / "run"
    finished(train(1, data, out, 10))
    texts, pictures = [], []
    for ranks in (1, 2, 3):
        words = ("evaluate", out, "--importance-samples", "30", "--images", "50", "--json")
        texts.append(_output(ranks, *words))
        picture = tmp_path / f"{ranks}.png"
        assert _output(ranks, "sample", out, "--count", "120", "--out", picture) == f"{picture}\n"
        pictures.append(picture.read_bytes())
    assert "importance_weighted" in texts[0]
    assert len(set(texts)) == len(set(pictures)) == 1
    error = subprocess.run(
        command(2, "experiments/mnist_pixelvae.py", "sample", tmp_path / "none"),
        cwd=ROOT, env=environment(), capture_output=True, text=True,
    )  # fmt: skip
    assert error.returncode == 2 and error.stderr.count("\n") == 1, error.stderr


def _output(ranks, *words) -> str:
    return subprocess.run(
        command(ranks, "experiments/mnist_pixelvae.py", *words),
        cwd=ROOT, env=environment(PIXELVAE_THREADS="2" if ranks == 1 else "1"), check=True,
        stdout=subprocess.PIPE, text=True,
    ).stdout  # fmt: skip


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_to_one_rank_stops_all_at_the_same_step(tmp_path, data, number, status):
    out = tmp_path / "stopped"
    process = train(3, data, out, 100_000)
    pid = pid_of(1, out)
    wait_for(out, 10)
    os.kill(pid, number)
    errors = finished(process, status)
    assert errors.count("stopping after this step") == 1
    _, iteration = checkpoint(out)
    assert 0 < iteration < 100_000
    finished(train(1, data, tmp_path / "whole", iteration))
    same(out, tmp_path / "whole")


def test_a_rank_that_is_killed_ends_the_others_and_the_last_checkpoint_is_whole(tmp_path, data):
    out = tmp_path / "killed"
    process = train(3, data, out, 100_000)
    pid = pid_of(1, out)
    wait_for(out, 20)
    os.kill(pid, signal.SIGKILL)
    before = time.monotonic()
    said, errors = process.communicate(timeout=60)
    assert process.returncode and time.monotonic() - before < 60
    assert "Killed (signal 9)" in said  # mpiexec's word
    assert "Traceback" not in errors
    _, iteration = checkpoint(out)
    assert iteration % 10 == 0
    finished(train(1, data, tmp_path / "whole", iteration))
    same(out, tmp_path / "whole")
    process = train(2, data, out, 100_000)
    wait_for(out, iteration + 10)
    process.send_signal(signal.SIGTERM)  # which mpiexec passes on to all
    assert f"resuming from iteration {iteration}\n" in finished(process, 143)
