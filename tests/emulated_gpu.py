"""A GPU that computes, on a machine without one: builds the libraries of tests/gpu/emulator/, and the environment in
which lib finds them. Debian's pygpu and libgpuarray come from ``scripts/fetch-gpu-tools pygpu``. The image is built
with a part of it (docker/warm-gpu-cache), without what tests need.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).parents[1]
SOURCES = Path(__file__).parent / "gpu"
TOOLS = ROOT / ".gpu"
LIBRARIES = {
    "driver.cpp": "libcuda.so.1",
    "nvrtc.cpp": "libnvrtc.so.12",
    "cublas.cpp": "libcublas.so.12",
    "cudnn.cpp": "libcudnn.so.9",
}
#: Of the kernels. Most of their time is g++'s, and they are small.
OPTIMISATION = "-O1"


def build(folder: Path) -> Path:
    """The libraries and headers as a folder for ``PIXELVAE_CUDA``, made once for each state of the sources."""
    emulator = SOURCES / "emulator"
    texts = [path.read_bytes() for path in sorted(emulator.rglob("*")) if path.is_file()]
    made = folder / f"emulator_{zlib.crc32(b''.join([*texts, OPTIMISATION.encode()])):08x}"
    if not made.exists():
        part = made.with_suffix(f".{os.getpid()}")
        (part / "lib").mkdir(parents=True)
        shutil.copytree(emulator / "include", part / "include")
        for header in ("shim.h", "emulated.h"):
            shutil.copy(emulator / header, part / "lib")
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            list(
                pool.map(
                    lambda item: compile_library(f"emulator/{item[0]}", part / "lib" / item[1]),
                    LIBRARIES.items(),
                )
            )
        with contextlib.suppress(OSError):  # another process was faster
            part.rename(made)
        shutil.rmtree(part, ignore_errors=True)
    return made


def compile_library(source: str, output: Path, *options: str) -> None:
    """A shared library from a source below tests/gpu; ``options`` are for the compiler, after the source."""
    language = ["gcc"] if source.endswith(".c") else ["g++", "-std=c++17"]
    command = [
        *language, "-O2", "-fPIC", "-shared", f'-DEMULATED_OPTIMISATION="{OPTIMISATION}"',
        f"-I{SOURCES / 'emulator/include'}", f"-Wl,-soname,{output.name}", str(SOURCES / source), *options,
        "-o", str(output), "-ldl",
    ]  # fmt: skip
    subprocess.run(command, check=True)


def start_only(folder: Path, cublas: Path) -> None:
    """A driver and a cuBLAS that start without a card and compute nothing: what the real CUDA needs to compile.

    cublas: the real library's file, which has all of the rest.
    """
    compile_library("emulator/driver.cpp", folder / "libcuda.so.1")
    compile_library(
        "cublas_start.c", folder / cublas.name, "-Wl,-soname,libcublas-without-device.so", "-Wl,--no-as-needed",
        str(cublas), f"-Wl,-rpath,{cublas.parent}",
    )  # fmt: skip


def toolkit(folder: Path) -> Path:
    """A folder for ``PIXELVAE_CUDA`` with everything in it, as far as finding and checking looks."""
    TOOLS.mkdir(exist_ok=True)
    shutil.copytree(build(TOOLS), folder, dirs_exist_ok=True)
    shutil.copy(folder / "lib/libcublas.so.12", folder / "lib/libgpuarray.so.3")  # not looked into
    for file in (
        "include/gpuarray/config.h",
        "usr/lib/python3/dist-packages/pygpu/__init__.py",
        "packages/mako/__init__.py",
    ):
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).touch()
    return folder


def environment(**variables: object) -> dict[str, str]:
    """What a process needs to run on the emulated card, beside ``variables``. Skips the test without the tools."""
    import pytest

    if sys.version_info[:2] != (3, 11):
        pytest.skip("Debian's pygpu is for CPython 3.11")
    if not (TOOLS / "debian/ready").exists() or not (TOOLS / "pygpu/ready").exists():
        pytest.skip("scripts/fetch-gpu-tools pygpu has not been run")
    folders = [build(TOOLS), TOOLS / "debian"]
    for name in ("kernels", "home"):
        (TOOLS / name).mkdir(exist_ok=True)
    return {
        **os.environ,
        "HOME": str(TOOLS / "home"),
        "PIXELVAE_CUDA": os.pathsep.join(map(str, folders)),
        "PYTHONPATH": os.pathsep.join(map(str, (ROOT, TOOLS / "pygpu"))),
        "EMULATED_KERNELS": str(TOOLS / "kernels"),
        **{name: str(value) for name, value in variables.items()},
    }


if __name__ == "__main__":
    for name, value in environment().items():
        if os.environ.get(name) != value:
            print(f"export {name}='{value}'")
