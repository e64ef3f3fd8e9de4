"""What Theano runs on, seen from fresh processes: settings count only before Theano's import."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from fresh_process import output, refusal, run

from pixelvae.machine.backend import blas, flags
from pixelvae.machine.backend.preparation import _quota

SUMMARY = "from pixelvae.machine.backend.device import summary; print(summary())"


def test_summary_is_one_line_with_blas_threads_and_device():
    line = output(SUMMARY, PIXELVAE_THREADS="2")
    assert re.fullmatch(
        r"BLAS: .*OpenBLAS \d+\.\d+\.\d+(\.dev)? \(threads in a call: 1\); OpenMP threads: 2; "
        r"device: cpu, float32",
        line,
    )


SCIPY_FALLBACK = """
import ctypes, os, sys

class WithoutTheSystems(ctypes.CDLL):
    def __init__(self, name, *arguments):
        if name == "libopenblas.so.0":
            raise OSError(name)
        super().__init__(name, *arguments)

ctypes.CDLL = WithoutTheSystems
from pixelvae.machine.backend.device import summary
assert "SciPy's OpenBLAS" in summary(), summary()

# Compiled modules find sgemm_ by its name in the process: whose is it?
process = ctypes.CDLL(None)
sgemm = getattr(process, "scipy_sgemm_", None) or process.sgemm_
address = ctypes.cast(sgemm, ctypes.c_void_p).value
for line in open("/proc/self/maps"):
    start, end = (int(number, 16) for number in line.split()[0].split("-"))
    if start <= address < end:
        assert "/scipy.libs/" in line, line
        break
else:
    raise AssertionError("sgemm_ lies nowhere")

import numpy as np, theano, theano.tensor as T
x, y, images, kernels = T.fmatrix(), T.fmatrix(), T.ftensor4(), T.ftensor4()
product = theano.function([x, y], T.exp(T.dot(x, y)))
convolution = theano.function([images, kernels], T.nnet.conv2d(images, kernels))
assert any("Dot22" in str(node.op) for node in product.maker.fgraph.toposort())
draw = np.random.RandomState(0).standard_normal
a, b = (draw((300, 200)) / 20).astype("f"), (draw((200, 400)) / 20).astype("f")
expected = np.exp(a.astype("d") @ b.astype("d"))
np.testing.assert_allclose(product(a, b), expected, rtol=1e-4)
i, k = draw((4, 3, 5, 5)).astype("f"), draw((2, 3, 5, 5)).astype("f")
expected = np.einsum("nchw,ochw->no", i.astype("d"), k[:, :, ::-1, ::-1].astype("d"))
np.testing.assert_allclose(convolution(i, k)[:, :, 0, 0], expected, rtol=1e-4, atol=1e-4)
print(len(os.listdir("/proc/self/task")))
"""


def test_scipys_blas_computes_and_threads_are_as_told(tmp_path):
    # The exponential of 300 x 400 elements is enough to run in parallel.
    flag = f"base_compiledir={tmp_path}"
    threads = output(SCIPY_FALLBACK, THEANO_FLAGS=flag, PIXELVAE_THREADS="3")
    assert int(threads) == 3


@pytest.mark.parametrize("first", ["", "import mpi4py; "])
def test_mpi_is_started_by_nobody_but_ranks(tmp_path, first):
    (tmp_path / "mpi4py").mkdir()
    (tmp_path / "mpi4py/__init__.py").touch()
    (tmp_path / "mpi4py/MPI.py").write_text("raise SystemExit('MPI was started')")
    code = "import pixelvae.lib, theano, sys; print('mpi4py' in sys.modules)"
    assert output(first + code, PYTHONPATH=str(tmp_path)) == str(bool(first))


def test_threads_default_to_the_cores_that_the_process_may_use():
    one_core = "import os; os.sched_setaffinity(0, list(os.sched_getaffinity(0))[:1]); "
    assert "OpenMP threads: 1;" in output(one_core + SUMMARY)


def test_omp_num_threads_is_respected_and_pixelvae_threads_comes_first():
    assert "OpenMP threads: 5;" in output(SUMMARY, OMP_NUM_THREADS="5")
    assert "OpenMP threads: 4;" in output(SUMMARY, OMP_NUM_THREADS="5", PIXELVAE_THREADS="4")
    assert "(threads in a call: 2)" in output(SUMMARY, OPENBLAS_NUM_THREADS="2")


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({"cpu.max": "150000 100000\n"}, 2),
        ({"cpu.max": "50000 100000\n"}, 1),
        ({"cpu.max": "max 100000\n"}, sys.maxsize),
        ({"cpu/cpu.cfs_quota_us": "400000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 4),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, sys.maxsize),
        ({}, sys.maxsize),
    ],
)
def test_containers_quota(tmp_path, files, cores):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert _quota(tmp_path) == cores


def test_what_the_user_sets_stands(tmp_path):
    settings = tmp_path / "settings"
    settings.write_text("[global]\nfloatx = float64\n[blas]\nldflags = -lm\n")
    code = SUMMARY + "; import theano; print(theano.config.floatX, theano.config.openmp)"
    lines = output(code, THEANORC=str(settings), THEANO_FLAGS="openmp=False").splitlines()
    assert lines[0].startswith("BLAS: -lm;")
    assert lines[1] == "float64 False"


def test_no_blas_is_said_aloud():
    result = run("-c", SUMMARY, THEANO_FLAGS="blas.ldflags=")
    assert "BLAS: none (slow" in result.stdout


def test_a_child_process_runs_on_the_same_backend():
    code = (
        f"import subprocess, sys, pixelvae.lib; subprocess.run([sys.executable, '-c', {SUMMARY!r}])"
    )
    assert output(code) == output(SUMMARY)


@pytest.mark.parametrize(
    ("code", "variables", "message"),
    [
        (
            "import pixelvae.lib",
            {"PIXELVAE_THREADS": "two"},
            "PIXELVAE_THREADS must be a whole number",
        ),
        ("import pixelvae.lib", {"OMP_NUM_THREADS": "0"}, "OMP_NUM_THREADS must be a whole number"),
        ("import pixelvae.lib", {"PATH": "/nowhere"}, "install g++"),
        pytest.param(
            "import theano, pixelvae.lib",
            {"THEANO_FLAGS": "blas.ldflags=-lm"},
            "import pixelvae first",
            marks=pytest.mark.skipif(
                sys.version_info >= (3, 12), reason="Theano alone cannot be imported there"
            ),
        ),
        ("import pixelvae.lib", {"THEANORC": "Makefile"}, "Theano's settings cannot be read"),
        # As on Debian without a package of its own; Fuel would hide that Theano cannot be imported.
        (
            "import sys; sys.modules['distutils.spawn'] = None; import pixelvae.lib",
            {},
            "python3-distutils",
        ),
    ],
)
def test_a_useless_environment_ends_in_one_line(code, variables, message):
    assert message in refusal(code, **variables)


def test_compiled_code_is_kept_apart_by_processor(monkeypatch):
    here = flags.compiledir_format()
    monkeypatch.setattr(Path, "read_text", lambda path: "model name : another\nflags : avx\n")
    assert flags.compiledir_format() != here


def test_an_unwritable_home_is_no_hindrance(tmp_path):
    code = "import pixelvae.lib, theano; print(theano.config.compiledir)"
    compiledir = output(code, HOME="/dev/null", TMPDIR=str(tmp_path))
    assert Path(compiledir).parent == tmp_path / f"theano-{os.getuid()}"


def test_report_names_versions_and_measures_the_product():
    result = run("-m", "pixelvae.machine", PIXELVAE_DATA="here")
    assert result.returncode == 0 and result.stderr == ""
    report = dict(re.split(r"\s+", line, maxsplit=1) for line in result.stdout.splitlines()[1:])
    assert report["numpy"] == np.__version__
    assert report["PIXELVAE_DATA"] == "here"
    assert "openmp=True" in report["THEANO_FLAGS"]
    assert float(re.search(r"([\d.]+) GFLOP/s", result.stdout).group(1)) > 1
    assert float(re.search(r"at most (\S+) from NumPy's", result.stdout).group(1)) < 1e-2


def test_the_compile_cache_is_named_after_the_processor_that_the_flags_choose():
    assert flags.march("-O2") is None
    # The last one counts for g++.
    assert flags.march("-march=core2 -O2 -march=x86-64-v3") == "x86-64-v3"
    own, chosen = flags.compiledir_format(), flags.compiledir_format("x86-64-v3")
    assert chosen.endswith("_x86-64-v3")
    assert own.rpartition("_")[0] == chosen.rpartition("_")[0]


MARCH = """
import theano
from pixelvae.lib.ops.gate import Gate
arguments = [*theano.gof.cmodule.GCC_compiler.compile_args(), *Gate().c_compile_args()]
print(theano.config.compiledir.rpartition("_")[2], " ".join(arguments))
"""


def test_code_for_the_chosen_processor_only(tmp_path):
    chosen = "base_compiledir=%s,gcc.cxxflags=-march=x86-64-v3" % tmp_path
    name, arguments = output("import pixelvae.lib;" + MARCH, THEANO_FLAGS=chosen).split(None, 1)
    assert name == "x86-64-v3" and re.findall(r"-march=\S+", arguments) == ["-march=x86-64-v3"]
    name, arguments = output("import pixelvae.lib;" + MARCH, THEANO_FLAGS="").split(None, 1)
    assert re.fullmatch("[0-9a-f]{8}", name) and "-march=native" in arguments


def test_freed_arrays_are_used_again_without_page_faults():
    code = """
import pixelvae.lib, numpy as np
from resource import RUSAGE_SELF, getrusage
for size in (100_000, 50_000_000):
    for _ in range(2):  # the first time, the memory comes from the system
        before = getrusage(RUSAGE_SELF).ru_minflt
        array = np.ones(size, "float32")
        del array
    faults = getrusage(RUSAGE_SELF).ru_minflt - before
    assert faults < 10, faults
"""
    output(code)


CPU = "processor\t: {n}\nvendor_id\t: {vendor}\ncpu family\t: {family}\nmodel\t\t: 250\nflags\t\t: fpu {flags}\n\n"
AVX512 = "avx2 fma avx512f avx512dq avx512cd avx512bw avx512vl"


@pytest.mark.parametrize(
    ("vendor", "family", "flags", "kernels"),
    [
        ("GenuineIntel", 6, AVX512, "SkylakeX"),
        ("GenuineIntel", 6, "avx2 fma avx512f", "Haswell"),
        ("GenuineIntel", 6, "sse4_2 avx", None),
        ("AuthenticAMD", 26, AVX512, "Zen"),
        ("AuthenticAMD", 21, "avx2 fma", None),
        ("HygonGenuine", 24, "avx2 fma", None),
    ],
)
def test_openblas_gets_the_kernels_of_the_instructions(vendor, family, flags, kernels):
    """Whatever the model: it falls back to SSE3 for those that are newer than itself."""
    both = "".join(CPU.format(n=n, vendor=vendor, family=family, flags=flags) for n in (0, 1))
    assert blas.kernels(both) == kernels


CORES = """
import os, ctypes, pixelvae.machine
from pixelvae.machine.backend.preparation import prepare
core = prepare().openblas.function("openblas_get_corename")
core.restype = ctypes.c_char_p
print(core().decode(), os.environ.get("OPENBLAS_CORETYPE"))
"""


def test_kernels_are_those_of_this_processor_or_those_that_the_user_names():
    expected = blas.kernels(Path("/proc/cpuinfo").read_text())
    if expected is None:
        pytest.skip("neither an Intel nor an AMD processor with AVX2")
    core, named = output(CORES).split()
    assert named == expected and core in (expected, "Haswell")  # a build may lack AVX-512
    assert output(CORES, OPENBLAS_CORETYPE="Nehalem") == "Nehalem Nehalem"
    child = "import subprocess, sys, pixelvae.machine; subprocess.run([sys.executable, '-c', CODE])"
    assert output(child.replace("CODE", repr(CORES))).split() == [core, named]
