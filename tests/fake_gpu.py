"""A GPU that computes nothing, for tests of all that comes before a kernel runs (tests/gpu/*.c)."""

from __future__ import annotations

import subprocess
from pathlib import Path

SOURCES = Path(__file__).parent / "gpu"


def compile_library(source: str, output: Path, *options: str) -> Path:
    """A shared library from one of the sources; ``options`` are for gcc."""
    output.parent.mkdir(parents=True, exist_ok=True)
    command = ["gcc", "-shared", "-fPIC", "-O1", "-o", str(output), str(SOURCES / source), *options]
    subprocess.run(command, check=True)
    return output


def driver(folder: Path) -> Path:
    """The stand-in for the NVIDIA driver's library."""
    return compile_library("fake_cuda.c", folder / "libcuda.so.1", "-Wl,-soname,libcuda.so.1")


def toolkit(folder: Path) -> Path:
    """A folder for ``PIXELVAE_CUDA`` with everything in it, as far as finding and checking looks."""
    driver(folder / "lib")
    for name, number in (("nvrtc", 12), ("cublas", 12), ("cudnn", 9), ("gpuarray", 3)):
        file = f"lib{name}.so.{number}"
        compile_library(
            "fake_toolkit.c", folder / "lib" / file, f"-D{name.upper()}", f"-Wl,-soname,{file}"
        )
    for header in ("cudnn.h", "cuda_runtime.h", "crt/host_config.h", "gpuarray/config.h"):
        (folder / "include" / header).parent.mkdir(parents=True, exist_ok=True)
        (folder / "include" / header).touch()
    package = folder / "usr/lib/python3/dist-packages/pygpu/__init__.py"
    package.parent.mkdir(parents=True)
    package.touch()
    (folder / "packages/mako").mkdir(parents=True)
    (folder / "packages/mako/__init__.py").touch()
    return folder
