"""Training steps compiled for a GPU, on a machine without one: code generation, nvrtc, cuDNN's and libgpuarray's
headers, linking; and nothing of a step is left on the host but what is named here.

``make gpu-compile-test`` brings what it needs (1.5 GB). The driver is the emulated one, which does not run real PTX.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import emulated_gpu
import pytest

from pixelvae.models.mnist.table1 import VARIANTS

pytestmark = pytest.mark.gpu_compile
ROOT = Path(__file__).parents[2]
TOOLS = ROOT / ".gpu"
LINE = os.environ.get("PIXELVAE_CUDA_LINE", "12")

# What the host does in every step. Shapes are whole numbers that it computes with, and hands to allocations and
# reshapes; a convolution's description is cuDNN's own struct; the last two are scalars that it was given or gives
# back: the step size, once in a step, and a term that is the cost as well.
HOST = {
    "Shape_i TensorType(int64, scalar)",
    "Shape TensorType(int64, vector)",
    "Elemwise TensorType(int64, scalar)",
    "MakeVector TensorType(int64, vector)",
    "Subtensor TensorType(int64, scalar)",
    "IncSubtensor TensorType(int64, vector)",
    "ScalarFromTensor int64",
    "GpuDnnConvDesc CDataType{cudnnConvolutionDescriptor_t}",
    "Elemwise TensorType(float32, scalar)",
    "DeepCopyOp TensorType(float32, scalar)",
}


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """The stand-in driver, the fetched libraries, and a compile cache of their own."""
    cuda = TOOLS / f"cuda{LINE}"
    if not (cuda / "ready").exists() or not (TOOLS / "debian/ready").exists():
        pytest.skip(f"scripts/fetch-gpu-tools {LINE} has not been run")
    if sys.version_info[:2] != (3, 11):
        pytest.skip("Debian's pygpu is for CPython 3.11")
    folder = tmp_path_factory.mktemp("driver")
    (cublas,) = cuda.glob("nvidia/cublas/lib/libcublas.so.*")
    emulated_gpu.start_only(folder, cublas)
    cache = TOOLS / "theano"
    cache.mkdir(exist_ok=True)
    return {
        **os.environ,
        "PIXELVAE_CUDA": f"{folder}{os.pathsep}{TOOLS / 'debian'}",
        "PYTHONPATH": f"{ROOT}{os.pathsep}{cuda}",
        "THEANO_FLAGS": f"base_compiledir={cache}",
    }


def compiled(model, environment):
    """The lines that compile_step.py prints."""
    done = subprocess.run(
        [sys.executable, ROOT / "tests/gpu/compile_step.py", model],
        cwd=ROOT, env=environment, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.splitlines()


@pytest.mark.parametrize("model", [*VARIANTS, "64px_small"])
def test_a_training_step_compiles_and_stays_on_the_device(environment, model):
    said, *_, last = compiled(model, environment)
    assert said.startswith("on emulated GPU (compute capability 9.0), CUDA 1")
    places = json.loads(last)
    host = sum(places["host"].values())
    print(f"{model}: {places['device']} nodes on the device, {host} on the host")
    assert set(places["host"]) <= HOST
    assert places["host"]["Elemwise TensorType(float32, scalar)"] == 1
    # Back come the cost, its terms and two sums that tell whether all is finite; scalars all.
    assert places["to_host"]
    for kind, clients in places["to_host"]:
        assert kind == "TensorType(float32, scalar)" and set(clients) <= {"output", "DeepCopyOp"}
    # In go the batch, the noise, and scalars: those of the schedule, and the batch's size that means are taken with.
    inputs = [kind for kind in places["to_device"] if "scalar" not in kind]
    noises = {"gated-pixelcnn": 0, "64px_small": 2}.get(model, 1)
    assert sum("uint8, 4D" in kind for kind in inputs) == 1 and len(inputs) == 1 + noises
    assert places["device"] > 10 * host


def test_another_card_with_another_driver_finds_what_was_compiled(environment, tmp_path):
    """As in the image, whose cache is filled where there is no card."""
    driver, debian = environment["PIXELVAE_CUDA"].split(os.pathsep)
    shutil.copytree(driver, tmp_path / "driver")
    other = {
        "PIXELVAE_CUDA": f"{tmp_path / 'driver'}{os.pathsep}{debian}",
        "EMULATED_CAPABILITY": "8.6",
    }

    def modules():
        return set(TOOLS.glob("theano/compiledir_*/*/key.pkl"))

    compiled("conv-vae", environment)
    before = modules()
    said, *_ = compiled("conv-vae", {**environment, **other})
    assert "compute capability 8.6" in said and before and modules() == before
