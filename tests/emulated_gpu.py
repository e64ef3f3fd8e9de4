"""A GPU that computes, on a machine without one: builds the libraries of tests/gpu/emulator/, and the environment in
which lib finds them. Debian's pygpu and libgpuarray come from ``scripts/fetch-gpu-tools pygpu``.
"""

from __future__ import annotations

import os
import subprocess
import sys
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = Path(__file__).parent / "gpu/emulator"
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
    texts = [path.read_bytes() for path in sorted(SOURCES.rglob("*")) if path.is_file()]
    made = folder / f"emulator_{zlib.crc32(b''.join([*texts, OPTIMISATION.encode()])):08x}"
    if not made.exists():
        part = made.with_suffix(f".{os.getpid()}")
        (part / "lib").mkdir(parents=True)
        (part / "include").symlink_to(SOURCES / "include")
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            list(pool.map(lambda item: compile_library(*item, part / "lib"), LIBRARIES.items()))
        for header in ("shim.h", "emulated.h"):
            (part / "lib" / header).write_bytes((SOURCES / header).read_bytes())
        part.rename(made)
    return made


def compile_library(source: str, name: str, folder: Path, *options: str) -> None:
    """One of the libraries; ``options`` are for g++."""
    command = [
        "g++", "-std=c++17", "-O2", "-fPIC", "-shared", f'-DEMULATED_OPTIMISATION="{OPTIMISATION}"', *options,
        f"-I{SOURCES / 'include'}", str(SOURCES / source), f"-Wl,-soname,{name}", "-o", str(folder / name), "-ldl",
    ]  # fmt: skip
    subprocess.run(command, check=True)


def environment(**variables: object) -> dict[str, str]:
    """What a process needs to run on the emulated card, beside ``variables``. Skips the test without the tools."""
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
