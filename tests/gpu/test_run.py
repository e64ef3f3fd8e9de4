"""The GPU path executed, on a card that computes on the CPU (tests/gpu/emulator): the same numbers as on the CPU.

A part of it runs with the other tests where ``scripts/fetch-gpu-tools pygpu`` has brought Debian's pygpu (1 MB); all of
it is ``make gpu-run-test``.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import emulated_gpu
import numpy as np
import pytest

from benchmarks import agreement

ROOT = Path(__file__).parents[2]
# Of the distances, norm of the difference over the norm: float32 rounds to 6e-8, and sums are in another order.
TOLERANCE = 1e-5
QUICK = tuple(agreement.operations())


def run(*arguments, **variables):
    """This Python on the emulated card."""
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=ROOT, env=emulated_gpu.environment(**variables), capture_output=True, text=True,
    )  # fmt: skip


def compute(folder: Path, cases, **variables) -> Path:
    """The arrays of :mod:`benchmarks.agreement` as files in a folder."""
    folder.mkdir()
    # Without a cache of its own all of libgpuarray's memory is the driver's, which is full of NaN when it is new.
    variables.setdefault("THEANO_FLAGS", "gpuarray.preallocate=-1")
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
            # In its own home lies what other tests have compiled for the CPU.
            folders[cases] = compute(made, cases, PIXELVAE_DEVICE="cpu", HOME=os.environ["HOME"])
        return folders[cases]

    return computed


def test_operations_agree_with_the_cpu(tmp_path, of_cpu):
    device = compute(tmp_path / "device", QUICK, PIXELVAE_DEVICE="cuda")
    agree(device, of_cpu(QUICK), QUICK)


@pytest.mark.gpu_run
@pytest.mark.parametrize("model", agreement.MODELS)
def test_models_agree_with_the_cpu(tmp_path, of_cpu, model):
    device = compute(tmp_path / "device", (model,), PIXELVAE_DEVICE="cuda")
    agree(device, of_cpu((model,)), (model,))


@pytest.mark.gpu_run
@pytest.mark.parametrize("order", ["reverse", "random"])
def test_any_order_of_threads_gives_the_same_numbers(tmp_path, of_cpu, order):
    device = compute(tmp_path / "device", QUICK, PIXELVAE_DEVICE="cuda", EMULATED_ORDER=order)
    agree(device, of_cpu(QUICK), QUICK)


@pytest.mark.gpu_run
def test_training_evaluation_and_sampling(tmp_path):
    found = {}
    for device in ("cpu", "cuda"):
        (tmp_path / device).mkdir()
        script = ROOT / "tests/gpu/train_and_use.py"
        paths = os.pathsep.join(map(str, (ROOT, ROOT / "tests", emulated_gpu.TOOLS / "pygpu")))
        done = run(script, tmp_path / device, PIXELVAE_DEVICE=device, PYTHONPATH=paths)
        assert done.returncode == 0, done.stderr[-3000:]
        with np.load(tmp_path / device / "results.npz") as results:
            found[device] = dict(results)
    cpu, cuda = found["cpu"], found["cuda"]
    assert cpu.keys() == cuda.keys()
    for name, ours in cuda.items():
        training, _, key = name.partition(" ")
        if training in ("twice", "resumed"):  # the same bits
            np.testing.assert_array_equal(ours, cuda[f"once {key}"], err_msg=name)
        elif training == "picture":
            np.testing.assert_array_equal(ours, cpu[name], err_msg=name)
        else:
            # Adam divides a gradient by its own size, and so makes much of what rounding leaves of those near 0. Its
            # moments after the first step are the gradient and its square.
            moments = key in ("adam.0", "adam.1")
            trained = training in ("once", "skipped") or (training == "first" and not moments)
            tolerance = 1e-4 if trained else TOLERANCE
            difference = np.linalg.norm(np.subtract(ours, cpu[name], dtype="float64"))
            assert difference <= tolerance * max(1e-6, np.linalg.norm(cpu[name])), name


@pytest.mark.gpu_run
def test_first_contact_from_a_fresh_home(tmp_path):
    """It compares the device with the CPU, not one of them with itself."""
    home = tmp_path / "home"
    home.mkdir()
    done = run(
        "-m", "benchmarks.first_contact", "--tiny", "--parts", "agreement", "speed", "--minutes", 30,
        "--out", tmp_path / "out", HOME=home,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads((tmp_path / "out/report.json").read_text())
    for row in report["agreement"]["cases"]:
        assert row["agrees"] and row["error"] < TOLERANCE and row["nodes"] > 0
    assert all(row["ours"] for row in report["speed"]["steps"])


# ---- the device is what was asked for, whatever happened before ----

WHERE = """
import json, os, subprocess, sys
from pixelvae.machine.backend import device
said = device.use(sys.argv[1] if len(sys.argv) > 1 else None)
import theano
where = {"on": device.describe(), "said": said, "compiledir": theano.config.compiledir}
where["gpus"] = "cuda" in os.environ["THEANO_FLAGS"]
child = None
if len(sys.argv) > 2:
    variables = dict(pair.split("=") for pair in sys.argv[3:])
    command = [sys.executable, "-c", os.environ["WHERE"], *sys.argv[2].split()]
    done = subprocess.run(command, env={**os.environ, **variables}, capture_output=True, text=True, check=True)
    child = json.loads(done.stdout.splitlines()[-1])
print(json.dumps({**where, "child": child}))
"""


def where(*arguments, **variables):
    """Which device a process ends on, and one that it starts: the device, the child's, variables for the child."""
    done = run("-c", WHERE, *arguments, WHERE=WHERE, **variables)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_a_card_that_is_busy_leaves_nothing_of_its_settings_behind():
    on = where("auto", EMULATED_BUSY=1)
    assert "no GPU can be used: it cannot be started" in on["said"] and on["on"] == "cpu"
    assert not on["gpus"] and on["compiledir"] == where("cpu")["compiledir"]


def test_a_card_that_is_busy_is_refused_in_one_line():
    done = run(
        "experiments/mnist_pixelvae.py",
        "replay",
        "nowhere.npz",
        "--device",
        "cuda",
        EMULATED_BUSY=1,
    )
    (line,) = done.stderr.splitlines()
    assert done.returncode == 2 and line.startswith(
        "error: no GPU can be used: it cannot be started"
    )


@pytest.mark.parametrize("how", ["by its option", "by the environment"])
@pytest.mark.parametrize("parent, child", [("cpu", "cuda"), ("cuda", "cpu")])
def test_a_child_runs_where_it_is_told_to(parent, child, how):
    if how == "by its option":
        on = where(parent, child)
    else:
        on = where(parent, "", f"PIXELVAE_DEVICE={child}")
    names = {"cpu": "cpu", "cuda": "emulated GPU (compute"}
    assert on["on"].startswith(names[parent]) and on["child"]["on"].startswith(names[child])
    assert on["compiledir"] != on["child"]["compiledir"]


def test_the_users_flags_reach_a_child():
    on = where("cuda", "cpu", THEANO_FLAGS="gpuarray.preallocate=-1")
    assert on["child"]["on"] == "cpu"


@pytest.mark.gpu_run
def test_the_users_compiler_flags_count_for_glue_but_for_optimisation():
    """The image names a processor, and is none the slower to start."""
    done = run(
        "-m",
        "pixelvae.machine",
        PIXELVAE_DEVICE="cuda",
        THEANO_FLAGS="gcc.cxxflags=-march=x86-64-v3 -O2",
    )
    said = dict(line.split(maxsplit=1) for line in done.stdout.splitlines() if line[0] == "c")
    flags = said["compiler's"]
    assert "-march=x86-64-v3 -include " in flags and "-march=x86-64 " not in flags
    assert "-O2" not in flags and "without optimisation" in flags
    assert "_x86-64-v3_cuda" in said["compiledir"]


def test_of_several_cards_the_one_that_was_named(tmp_path, of_cpu):
    """Theano's batch norm and reductions would work on the first."""
    two = {"EMULATED_DEVICES": 2}
    assert where("cuda1", **two)["on"].startswith("emulated GPU 1 (")
    assert where("cuda1", "cuda", **two)["child"]["on"].startswith("emulated GPU (")
    cases = ("batch norm",)
    agree(compute(tmp_path / "device", cases, PIXELVAE_DEVICE="cuda1", **two), of_cpu(cases), cases)
    done = run("experiments/mnist_pixelvae.py", "replay", "nowhere.npz", "--device", "cuda2", **two)
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1


NORMALIZED = """
import numpy as np
from pixelvae.machine.backend import device
device.use("cuda")
import theano, theano.tensor as T
from pixelvae.lib.ops.batch_norm import BatchNorm
values = 0.01 * np.random.RandomState(0).standard_normal((4, 3, 5, 5))  # a variance far below epsilon
x, one, zero = T.dtensor4(), np.ones(3), np.zeros(3)
ours = theano.function([x], BatchNorm()(x, T.constant(one), T.constant(zero))[0])(values)
mean, variance = values.mean((0, 2, 3), keepdims=True), values.var((0, 2, 3), keepdims=True)
print(abs(ours - (values - mean) / np.sqrt(variance + 0.01)).max())
"""


def test_batch_norms_epsilon_reaches_cudnn_whole():
    """Rounded to float32 it would be wrong by 2e-8 of itself."""
    done = run("-c", NORMALIZED)
    assert done.returncode == 0, done.stderr[-3000:]
    assert float(done.stdout) < 1e-14


POISON = """
import pixelvae.lib, theano, theano.tensor as T
from pixelvae.lib.ops.elu import elu
x = T.tensor4()
theano.function([x], elu(x))
"""


def test_an_operation_in_the_cache_of_the_gpu_does_not_lose_the_lowering(tmp_path, of_cpu):
    """Theano imports it while it starts the device."""
    folder = where("cuda")["compiledir"]
    done = run("-c", POISON, THEANO_FLAGS=f"compiledir={folder}")
    assert done.returncode == 0, done.stderr
    cases = ("exponential linear unit",)
    agree(compute(tmp_path / "device", cases, PIXELVAE_DEVICE="cuda"), of_cpu(cases), cases)


LOST = """
from pixelvae.machine.backend import device
device.use("cuda")
import pixelvae.lib.ops.lowering, theano, theano.tensor as T
from pixelvae.lib.ops.elu import Elu, elu
from pixelvae.machine.console.command import main
def compiled(options):
    {what}
    x = T.tensor4()
    theano.function([x], elu(x), mode={mode!r})
raise SystemExit(main(compiled, None))
"""


@pytest.mark.parametrize("mode", ["FAST_RUN", "FAST_COMPILE"])
@pytest.mark.parametrize(
    "what",
    [
        "pixelvae.lib.ops.lowering._lower.__code__ = (lambda wanted, fgraph: None).__code__",
        "Elu.meaning = None",
    ],
)
def test_a_lowering_that_fails_ends_the_run(what, mode):
    done = run("-c", LOST.format(what=what, mode=mode))
    (line,) = done.stderr.splitlines()
    assert done.returncode == 2 and "Elu" in line


# ---- the tests themselves: what is broken on purpose is seen ----

BROKEN_GRADIENT = """
import sys
from benchmarks.agreement import main
from pixelvae.machine.backend import device
device.use("cuda")
from pixelvae.lib.ops import _gpu
class Dnn:  # of this module alone: Theano makes the operation again, of the node's inputs
    def __getattr__(self, name, real=_gpu.dnn):
        return getattr(real, name)
    def GpuDnnConvGradW(self, real=_gpu.dnn):
        return lambda x, gy, *rest: real.GpuDnnConvGradW()(gy, x, *rest)
_gpu.dnn = Dnn()
main(*sys.argv[1:])
"""


@pytest.mark.parametrize(
    "case, arguments, variables",
    [
        ("conditional gate", ("-m", "benchmarks.agreement"), {"EMULATED_REPLACE": "tanh=sinh"}),
        ("convolution of the row above", ("-c", BROKEN_GRADIENT), {}),
        ("matrix product", ("-m", "benchmarks.agreement"), {"EMULATED_BREAK": "transfer"}),
    ],
    ids=["a kernel", "a gradient's arguments", "a transfer"],
)
def test_what_is_broken_is_seen(tmp_path, of_cpu, case, arguments, variables):
    flags = f"gpuarray.cache_path={tmp_path}"  # not that of the others, for what is broken
    done = run(*arguments, tmp_path, case, PIXELVAE_DEVICE="cuda", THEANO_FLAGS=flags, **variables)
    (row,) = agreement.compare(tmp_path, of_cpu((case,)), (case,), on_gpu=True)
    if done.returncode:
        assert "GpuDnnConvGradW" in done.stderr  # refused, by Theano or by the card
    else:
        assert row["nodes"] and row["error"] > 100 * TOLERANCE
