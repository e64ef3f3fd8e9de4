"""The command that meets a GPU first, on the CPU with small models; and that it sees a difference."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

from benchmarks import harness
from benchmarks.agreement import NODES, compare
from benchmarks.first_contact import FirstContact
from benchmarks.harness import ROOT, torch_python
from pixelvae.machine.errors import UserError


def test_on_the_cpu(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.first_contact", "--device", "cpu", "--tiny",
         "--parts", "agreement", "training", "--out", str(tmp_path)],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads((tmp_path / "report.json").read_text())
    assert [row["agrees"] for row in report["agreement"]["cases"]] == [True] * 3
    assert all(row["error"] < 1e-6 for row in report["agreement"]["cases"])
    assert len(report["training"]["metrics"]) == 5  # a head, and two evaluations of two splits
    assert "| weight norm |" in (tmp_path / "report.md").read_text()


def test_without_a_gpu_it_is_refused_in_one_line(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.first_contact", "--out", str(tmp_path / "out")],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    if done.returncode == 0:
        pytest.skip("there is a GPU here")
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1 and not (tmp_path / "out").exists()


def test_a_part_that_fails_leaves_the_others_alone(tmp_path, monkeypatch):
    def fails(self):
        raise UserError("no such luck")

    monkeypatch.setattr(FirstContact, "profile", fails)
    monkeypatch.setattr(FirstContact, "speed", lambda self: {"steps": [{"ours": 1.0}]})
    contact = FirstContact("cpu", 1, tmp_path, tiny=True)
    assert not contact.run(["profile", "speed"])
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["profile"] == {"failed": "no such luck"} and report["speed"]["steps"]
    assert contact.run(["speed"]) is False  # what failed before is not forgotten
    assert FirstContact("cpu", 1, tmp_path, tiny=True).run(["speed"])


TORCH = "class cuda:\n    is_available = staticmethod(lambda: {cuda})\n"
#: What the two places have: no PyTorch (None), or one that can use a GPU or not.
PLACES = [
    (False, True), (False, False), (False, None), (None, True), (None, None), (True, False), (True, None),
]  # fmt: skip


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Makes .venv-bench and the machine's own Python, the only ones that are looked at."""
    monkeypatch.delenv("PIXELVAE_BENCH_PYTHON", raising=False)
    monkeypatch.setattr(harness, "ROOT", tmp_path)
    monkeypatch.setattr(harness, "which", lambda name: str(tmp_path / "own/bin/python"))

    def make(name: str, cuda: bool | None) -> str:
        python = tmp_path / name / "bin/python"
        python.parent.mkdir(parents=True)
        if cuda is not None:
            (python.parent / "torch.py").write_text(TORCH.format(cuda=cuda))
            python.write_text(f'#!/bin/sh\nPYTHONPATH={python.parent} exec {sys.executable} "$@"\n')
            python.chmod(0o755)
        return str(python)

    return make


@pytest.mark.parametrize(("bench", "own"), PLACES)
def test_a_pytorch_without_cuda_is_passed_over(place, bench, own):
    paths = {place(".venv-bench", bench): bench, place("own", own): own}
    for cuda in (False, True):
        able = [path for path, can in paths.items() if can is not None and (can or not cuda)]
        if able:
            assert torch_python(cuda) == able[0]
        else:
            with pytest.raises(
                UserError, match=r"no PyTorch .*PIXELVAE_BENCH_PYTHON names another"
            ):
                torch_python(cuda)


@pytest.mark.parametrize("bench", [None, False], ids=["no PyTorch", "for the CPU alone"])
def test_speed_is_measured_without_a_pytorch_for_the_gpu(place, tmp_path, monkeypatch, bench):
    place(".venv-bench", bench)
    contact = FirstContact("cuda", 1, tmp_path, tiny=True)
    workers = []

    def alternate(commands, *arguments):
        workers.append(commands)
        return [[0.25]] * len(commands), 0.0

    monkeypatch.setattr("benchmarks.first_contact.alternate", alternate)
    assert contact.run(["speed"])
    report = json.loads((tmp_path / "report.json").read_text())
    assert [row["ours"] for row in report["speed"]["steps"]] == [0.25] * len(workers) == [0.25] * 6
    assert all(commands == [harness.ours()] for commands in workers)
    assert "Without PyTorch: no PyTorch that can use a GPU" in (tmp_path / "report.md").read_text()


@pytest.mark.parametrize(
    ("name", "value", "agrees"),
    [("output 0", 1.00005, True), ("output 0", 1.0002, False), ("gradient 0", 1.0002, False),
     ("gradient 0", np.nan, False), ("output 0", np.inf, False)],
)  # fmt: skip
def test_a_difference_is_seen(tmp_path, name, value, agrees):
    arrays = {
        "output 0": np.ones(3), "gradient 0": np.ones((2, 2)), "gradient 1": np.ones(1), NODES: np.zeros(2, int),
    }  # fmt: skip
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        np.savez(tmp_path / folder / "case.npz", **arrays)
        arrays = {**arrays, name: value * arrays[name]}
    row, missing = compare(tmp_path / "b", tmp_path / "a", ["case", "another"])
    assert row["agrees"] is agrees and row["worst"] == name
    assert missing["error"] is None and not missing["agrees"]


@pytest.mark.parametrize(
    ("ours", "truth", "agrees"),
    [((9, 0), (0, 0), True), ((0, 0), (0, 0), False), ((9, 1), (0, 0), False), ((9, 0), (9, 0), False)],
)  # fmt: skip
def test_an_agreement_of_the_cpu_with_itself_is_none(tmp_path, ours, truth, agrees):
    """Nodes on the device and native ones on the host, of the one and of what it is held against."""
    for folder, nodes in (("a", truth), ("b", ours)):
        (tmp_path / folder).mkdir()
        arrays = {"output 0": np.ones(3), "gradient 0": np.ones(2), NODES: np.array(nodes)}
        np.savez(tmp_path / folder / "case.npz", **arrays)
    (row,) = compare(tmp_path / "b", tmp_path / "a", ["case"], on_gpu=True)
    assert row["agrees"] is agrees and row["nodes"] == ours[0]
