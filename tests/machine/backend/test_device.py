"""The choice of the device, seen from fresh processes, with stand-ins for NVIDIA's libraries."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import emulated_gpu
import pytest

ROOT = Path(__file__).parents[3]
OURS = ("THEANO_FLAGS", "PIXELVAE_DEVICE", "PIXELVAE_CUDA", "PIXELVAE_TF32", "NVIDIA_TF32_OVERRIDE")
# The stand-ins alone, whatever this machine has.
CUDA = "from pixelvae.machine.backend import cuda; cuda._places = lambda: iter(())\n"


@pytest.fixture(scope="module")
def libraries(tmp_path_factory):
    return emulated_gpu.toolkit(tmp_path_factory.mktemp("cuda"))


@pytest.fixture(scope="module")
def toolkit(libraries):
    if sys.version_info >= (3, 12):
        pytest.skip("a GPU takes CPython 3.8 to 3.11")
    return libraries


def run(*arguments, **variables):
    """This Python in a fresh process, in which nothing is said about GPUs but by ``variables``."""
    environment = {name: value for name, value in os.environ.items() if name not in OURS}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env={**environment, **{name: str(value) for name, value in variables.items()}},
        capture_output=True,
        text=True,
    )


def find(toolkit, change="", **variables):
    """What :func:`pixelvae.machine.backend.cuda.find` finds, or the one line that it refuses with."""
    code = (
        f"{CUDA}{change}\nfrom pixelvae.machine.errors import UserError\n"
        "try:\n    print(cuda.find())\nexcept UserError as e:\n    print(e)"
    )
    done = run("-c", code, PIXELVAE_CUDA=toolkit, PYTHONPATH=toolkit / "packages", **variables)
    assert done.returncode == 0 and done.stdout.count("\n") == 1, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("driver", [True, False], ids=["a driver", "no driver"])
def test_a_python_that_is_too_new_is_told_how_to_get_another(libraries, tmp_path, driver):
    refusal = find(libraries if driver else tmp_path, "cuda._TOO_NEW = True")
    assert refusal.startswith("a GPU takes CPython 3.8 to 3.11, not 3.")
    assert refusal.endswith(": make -B setup PYTHON=python3.11")


def test_all_parts_are_found_and_named(toolkit):
    assert find(toolkit) == (
        "emulated GPU (compute capability 9.0), CUDA 12.0, cuDNN 9.10.2, driver for CUDA 13.0"
    )
    assert "cuDNN 8.9.6," in find(toolkit, EMULATED_CUDNN=8906)


@pytest.mark.parametrize(
    ("variables", "what", "remedy"),
    [
        ({"EMULATED_DEVICES": "0"}, "offers no GPU (status 100)", "--gpus all"),
        ({"EMULATED_DRIVER": "11040"}, "is for CUDA 11.4 and older, not for nvrtc 12.0", "-cuda11.txt"),
        ({"EMULATED_NVRTC": "11.8", "EMULATED_DRIVER": "11080"}, "and cuDNN for CUDA 12", "-cuda11.txt"),
        ({"EMULATED_CAPABILITY": "3.5"}, "capability 3.5, and nvrtc 12.0 compiles for 5.0 to 9.0", "-cuda11.txt"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_with_a_remedy(toolkit, variables, what, remedy):
    line = find(toolkit, **variables)
    assert what in line and remedy in line


@pytest.mark.parametrize(
    ("file", "what"),
    [
        ("lib/libnvrtc.so.12", "nvrtc cannot be found: pip install -r requirements-cuda12.txt"),
        ("lib/libcudnn.so.9", "cudnn cannot be found: pip install"),
        ("lib/libgpuarray.so.3", "pygpu is missing: apt-get install python3-pygpu"),
        ("usr", "pygpu is missing: apt-get install python3-pygpu"),
        ("packages/mako", "no package mako"),
        ("include/crt/host_config.h", "the header crt/host_config.h cannot be found: pip install"),
        ("include/gpuarray/config.h", "config.h cannot be found: apt-get install libgpuarray-dev"),
    ],
)
def test_what_is_missing_is_named_with_a_remedy(toolkit, tmp_path, file, what):
    if file == "packages/mako" and find_spec("mako"):
        pytest.skip("mako is installed, as in the image for GPUs")
    less = tmp_path / "less"
    shutil.copytree(toolkit, less)
    gone = less / file
    shutil.rmtree(gone) if gone.is_dir() else gone.unlink()
    assert what in find(less)


def test_a_folder_that_is_none_is_refused(tmp_path):
    assert (
        find(tmp_path / "none")
        == f"PIXELVAE_CUDA names {tmp_path / 'none'}, which is not a directory"
    )


NAMES = """
import ctypes, os
from pixelvae.machine.backend import linking
folder = linking.link(cuda.find().libraries, os.environ["BASE"])
assert "LD_LIBRARY_PATH" not in os.environ
library = ctypes.CDLL("libcuda.so")  # as libgpuarray opens it: by the bare name
numbers = []
for attribute in (75, 76, 10):
    value = ctypes.c_int()
    library.cuDeviceGetAttribute(ctypes.byref(value), attribute, 0)
    numbers.append(value.value)
for name in ("libnvrtc.so", "libcublas.so"):
    ctypes.CDLL(name)
assert ctypes.CDLL("libnvrtc.so").nvrtcGetNumSupportedArchs
print(*numbers, *sorted(os.listdir(folder)))
"""


@pytest.mark.parametrize(
    ("capability", "told"), [("8.6", "8 6"), ("9.0", "9 0"), ("10.3", "9 0"), ("12.0", "9 0")]
)
def test_libraries_are_found_by_bare_name_and_new_cards_count_as_9_0(
    toolkit, tmp_path, capability, told
):
    for _ in range(2):  # the second time from the folder that was made
        done = run(
            "-c", CUDA + NAMES, PIXELVAE_CUDA=toolkit, PYTHONPATH=toolkit / "packages", BASE=tmp_path,
            EMULATED_CAPABILITY=capability, EMULATED_NVRTC="12.0",
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert done.stdout.split() == [*told.split(), "32", "libcudnn.so", "libgpuarray.so"]


EXPERIMENT = "experiments/mnist_pixelvae.py"
REPORT = ("replay", "nowhere.npz")  # a command that ends at once, with a line of its own


def command(*options, **variables):
    done = run(EXPERIMENT, *REPORT, *options, **variables)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    return done.stderr.splitlines()


# What stands in the way here: Pythons that no GPU takes are refused before drivers are looked for.
NO_GPU = (
    "there is no NVIDIA driver" if sys.version_info < (3, 12) else "a GPU takes CPython 3.8 to 3.11"
)


def test_without_a_driver_nothing_is_said():
    assert len(command()) == 1
    assert len(command("--device", "cpu")) == 1
    assert "nowhere.npz" in command("--device", "auto")[0]


def test_without_a_driver_the_image_which_sets_the_variable_says_so():
    said, error = command(PIXELVAE_DEVICE="auto")
    assert said.startswith(f"on the CPU; no GPU can be used: {NO_GPU}")
    assert ("--gpus all" in said) == ("driver" in NO_GPU) and "nowhere.npz" in error


def test_a_gpu_that_was_asked_for_must_work():
    (line,) = command("--device", "cuda")
    assert line.startswith(f"error: no GPU can be used: {NO_GPU}")


@pytest.mark.parametrize("how", ["option", "variable"])
def test_a_gpu_that_does_not_work_is_said_once_and_the_cpu_taken(toolkit, how):
    variables = {
        "PIXELVAE_CUDA": toolkit, "PYTHONPATH": toolkit / "packages", "EMULATED_DRIVER": "11040",
    }  # fmt: skip
    said, error = command(**variables)
    assert said.startswith("on the CPU; no GPU can be used: the NVIDIA driver is for CUDA 11.4")
    assert "nowhere.npz" in error
    if how == "option":
        (line,) = command("--device", "cuda", **variables)
    else:
        (line,) = command(PIXELVAE_DEVICE="cuda", **variables)
    assert line.startswith("error: no GPU can be used: the NVIDIA driver is for CUDA 11.4")


def test_the_command_line_comes_before_the_variable_and_theanos_flags_stand():
    assert "nowhere.npz" in command("--device", "cpu", PIXELVAE_DEVICE="cuda")[0]
    assert "must be one of auto, cuda, cpu" in command(PIXELVAE_DEVICE="gpu")[0]
    assert "nowhere.npz" in command(PIXELVAE_DEVICE="cuda", THEANO_FLAGS="device=cpu")[0]
    assert (
        "cuda contradicts device=cpu in THEANO_FLAGS: leave one of them out (--device)"
        in command("--device", "cuda", THEANO_FLAGS="device=cpu")[0]
    )
    assert (
        "TF32 is for a GPU, and the CPU was asked for: leave one of them out (--tf32)"
        in command("--device", "cpu", "--tf32")[0]
    )


def test_theanos_flags_can_ask_for_a_gpu_too():
    done = run("-c", "import pixelvae.lib", THEANO_FLAGS="device=cuda0")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert NO_GPU in done.stderr


def test_on_the_cpu_it_is_recorded():
    code = (
        "from pixelvae.machine.backend import device; device.use('cpu'); import json\n"
        "from pixelvae.lib.runs.environment import environment_record\n"
        "record = environment_record(); print(json.dumps([record['device'], record['tf32']]))"
    )
    assert json.loads(run("-c", code).stdout) == ["cpu", False]


def test_no_command_line_imports_theano_before_the_device_is_chosen():
    paths = sorted((ROOT / "experiments").rglob("*.py"))
    paths += [ROOT / "benchmarks" / f"{name}.py" for name in ("worker", "agreement")]
    names = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in paths]
    code = "import sys, importlib; [importlib.import_module(n) for n in sys.argv[1:]]; "
    done = run("-c", code + "print('theano' in sys.modules)", *names)
    assert done.stdout.strip() == "False", done.stderr
