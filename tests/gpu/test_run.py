"""The GPU path executed, on a card that computes on the CPU (tests/gpu/emulator): the same numbers as on the CPU.

A part of it runs with the other tests where ``scripts/fetch-gpu-tools pygpu`` has brought Debian's pygpu (1 MB); all of
it is ``make gpu-run-test``.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import emulated_gpu
import pytest

from benchmarks import agreement
from models import MNIST_MODELS

ROOT = Path(__file__).parents[2]
# Of the distances, norm of the difference over the norm: float32 rounds to 6e-8, and sums are in another order.
TOLERANCE = 1e-5
QUICK = tuple(agreement.OPERATIONS)
#: Two that have all there is: convolutions, batch norm, embedding, and what the MNIST models have.
PRESETS = ("tiny",)


def run(*arguments, **variables):
    """This Python on the emulated card."""
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=ROOT, env=emulated_gpu.environment(**variables), capture_output=True, text=True,
    )  # fmt: skip


def compute(folder: Path, cases, **variables) -> Path:
    """The arrays of :mod:`benchmarks.agreement` as files in a folder."""
    folder.mkdir()
    done = run("-m", "benchmarks.agreement", folder, *cases, **variables)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "emulated CUDA:" not in done.stderr, done.stderr
    return folder


def agree(device: Path, cpu: Path, cases) -> None:
    for row in agreement.compare(device, cpu, cases, on_gpu=True):
        assert row["agrees"] and row["error"] < TOLERANCE, row


@pytest.fixture(scope="module")
def of_cpu(tmp_path_factory):
    """What the CPU computes, each case once."""
    folders: dict = {}

    def computed(cases) -> Path:
        if cases not in folders:
            made = tmp_path_factory.mktemp("cpu") / "cases"
            folders[cases] = compute(made, cases, PIXELVAE_DEVICE="cpu")
        return folders[cases]

    return computed


def test_operations_agree_with_the_cpu(tmp_path, of_cpu):
    device = compute(tmp_path / "device", QUICK, PIXELVAE_DEVICE="cuda")
    agree(device, of_cpu(QUICK), QUICK)


@pytest.mark.gpu_run
@pytest.mark.parametrize("model", [*MNIST_MODELS, "tiny", "64px_small"])
def test_models_agree_with_the_cpu(tmp_path, of_cpu, model):
    device = compute(tmp_path / "device", (model,), PIXELVAE_DEVICE="cuda")
    agree(device, of_cpu((model,)), (model,))


@pytest.mark.gpu_run
@pytest.mark.parametrize("order", ["reverse", "random"])
def test_any_order_of_threads_gives_the_same_numbers(tmp_path, of_cpu, order):
    device = compute(tmp_path / "device", QUICK, PIXELVAE_DEVICE="cuda", EMULATED_ORDER=order)
    agree(device, of_cpu(QUICK), QUICK)
