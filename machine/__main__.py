"""``python -m pixelvae.machine``: what a bug report needs about the machine and its software.

It looks for a GPU as commands with ``--device auto`` do, and measures whichever device that gives.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from shutil import which
from typing import Callable, Iterator

import numpy as np

from pixelvae.machine.backend import device, flags
from pixelvae.machine.backend.preparation import prepare
from pixelvae.machine.console.progress import print_anything
from pixelvae.machine.errors import UserError
from pixelvae.machine.version import VERSION

PACKAGES = ("Theano", "Lasagne", "fuel", "numpy", "scipy", "h5py", "pillow", "scikit-learn", "lmdb")
VARIABLES = (
    "THEANO_FLAGS", "THEANORC", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "PIXELVAE_THREADS", "PIXELVAE_DEVICE",
    "PIXELVAE_CUDA", "PIXELVAE_TF32", "PIXELVAE_NATIVE", "PIXELVAE_DATA", "FUEL_DATA_PATH", "FUEL_CONFIG",
)  # fmt: skip


def main() -> None:
    """Print the report to standard output; what cannot be found out is printed as its reason."""
    print_anything()
    try:
        prepare()
        gpu = device.use(None) or "none asked for, or no NVIDIA driver"
    except UserError as refusal:
        gpu = str(refusal)
    print(_attempt(device.summary))
    for name, value in report(gpu):
        print(f"{name:<22}{value}")


def report(gpu: str) -> Iterator[tuple[str, str]]:
    """Pairs of a name and what holds here, ``gpu`` among them.

    The last compiles and times a product.
    """
    yield "PixelVAE", VERSION
    yield "python", f"{platform.python_version()} ({sys.executable})"
    yield "system", platform.platform()
    yield "processor", f"{_processor()}, {os.cpu_count()} cores"
    yield "compiler", _attempt(_compiler)
    yield "compiler's flags", _attempt(_flags)
    for package in PACKAGES:
        yield package, _version(package)
    yield "OpenBLAS", _attempt(_openblas)
    yield "BLAS loaded", " ".join(_loaded_blas())
    yield "GPU", gpu
    yield "compiledir", _attempt(_compiledir)
    for variable in VARIABLES:
        yield variable, os.environ.get(variable, "not set")
    yield "matrix product", _attempt(matrix_product)


def _attempt(question: Callable[[], str]) -> str:
    """The answer, or in one line why there is none.

    Nothing that is broken keeps the rest from being reported.
    """
    try:
        return question()
    except Exception as problem:
        return " ".join(f"{problem}".split()) or type(problem).__name__


def _compiler() -> str:
    given = flags.given().get("cxx", "g++")
    return f"{which(given) or given}: {_first_line(given, '--version')}"


def _flags() -> str:
    cxx = prepare().compiler
    if device.active():
        import theano

        return f"{theano.config.gcc.cxxflags} (without optimisation, and so without the fault in constant arrays)"
    return f"{cxx.flags} ({'cured of' if cxx.cured else 'without'} the fault in constant arrays)"


def _openblas() -> str:
    openblas = prepare().openblas
    return openblas.version if openblas else "not in use"


def _compiledir() -> str:
    prepare()
    import theano

    return theano.config.compiledir


def matrix_product(size: int = 1024) -> str:
    """Speed of a compiled product of square float32 matrices, and its distance from NumPy's."""
    prepare()
    import theano

    left, right = np.random.RandomState(0).standard_normal((2, size, size)).astype("float32")
    x, y = theano.tensor.fmatrices("x", "y")
    product = theano.function([x, y], theano.tensor.dot(x, y))
    error = np.abs(product(left, right) - left @ right).max()
    seconds = min(_seconds(product, left, right) for _ in range(5))
    return f"{2e-9 * size**3 / seconds:.0f} GFLOP/s, at most {error:.1e} from NumPy's"


def _seconds(function, *arguments) -> float:
    start = time.perf_counter()
    function(*arguments)
    return time.perf_counter() - start


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _first_line(*command: str) -> str:
    try:
        return subprocess.run(
            command, capture_output=True, text=True, errors="replace"
        ).stdout.partition("\n")[0]
    except OSError as error:
        return str(error)


def _processor() -> str:
    for line in _lines("/proc/cpuinfo"):
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _loaded_blas() -> list[str]:
    """Files of the BLAS libraries in this process; NumPy brings one that Theano does not call."""
    paths = {line.split(None, 5)[5] for line in _lines("/proc/self/maps") if ".so" in line}
    return sorted(path for path in paths if "blas" in Path(path).name)


def _lines(path: str) -> list[str]:
    """The lines of a Linux file, none if there is no such file."""
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []


if __name__ == "__main__":
    main()
