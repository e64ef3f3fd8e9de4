"""CUDA's libraries under the names that libgpuarray and Theano ask for, wherever their files lie.

libgpuarray opens ``libcuda.so``, ``libnvrtc.so`` and ``libcublas.so``, which no driver and no wheel
has: theirs end in a version. A library that is loaded already is found by the name it was given
when it was linked, so a stand-in of that name, with nothing in it but its need of the real one,
does for all of the process, without ``LD_LIBRARY_PATH``.
"""

from __future__ import annotations

import ctypes
import subprocess
import tempfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path

from pixelvae.machine.errors import UserError

_OPENED = ("cuda", "nvrtc", "cublas")  # by libgpuarray
_LINKED = ("cudnn", "gpuarray")  # by what Theano compiles: -lcudnn, -lgpuarray

# libgpuarray writes two digits of the compute capability, so it would take 12.0 for 1.2. It gets
# 9.0 (see pixelvae.machine.backend.cuda.compiled_for); cuDNN and cuBLAS ask the driver itself.
_CODE = {
    "cuda": """
#include <dlfcn.h>
extern "C" int cuDeviceGetAttribute(int *value, int attribute, int device) {
  typedef int (*Function)(int *, int, int);
  static Function real = (Function)dlsym(dlopen("libcuda.so.1", RTLD_LAZY | RTLD_NOLOAD), "cuDeviceGetAttribute");
  const int major = 75, minor = 76;
  int status = real(value, attribute, device), generation = 0;
  if (status == 0 && (attribute == major || attribute == minor)) status = real(&generation, major, device);
  if (generation > 9) *value = attribute == major ? 9 : 0;
  return status;
}
"""
}


def link(libraries: Mapping[str, Path], base: str) -> Path:
    """Loads a stand-in for each library that is opened by name.

    Returns the folder with the names that are linked.

    libraries: files by name, as :func:`pixelvae.machine.backend.cuda.find` loaded them. base: where
    the folders are made, once for each set of libraries. What is compiled notes the folder that it
    was linked in, so the driver, another on each machine, has no part in that one's name.

    Raises UserError where the compiler fails.
    """

    def compiled(folder: Path) -> None:
        for name in _OPENED:
            _compile(name, libraries[name], folder / f"lib{name}.so")

    def linked(folder: Path) -> None:
        for name in _LINKED:
            (folder / f"lib{name}.so").symlink_to(libraries[name].resolve())

    opened = _once(
        "opened", [_CODE, *((name, libraries[name]) for name in _OPENED)], base, compiled
    )
    for name in _OPENED:
        ctypes.CDLL(str(opened / f"lib{name}.so"))
    return _once("linked", [(name, libraries[name]) for name in _LINKED], base, linked)


def _once(what: str, key: list, base: str, fill: Callable[[Path], None]) -> Path:
    """A folder below ``base`` that is filled if it is not there, for each key."""
    folder = Path(base) / f"{what}_{zlib.crc32(repr(key).encode()):08x}"
    if not folder.exists():
        with tempfile.TemporaryDirectory(dir=base) as temporary:
            made = Path(temporary) / "made"
            made.mkdir()
            fill(made)
            try:
                made.rename(folder)
            except OSError:
                if not folder.exists():  # else another process was faster
                    raise
    return folder


def _compile(name: str, real: Path, output: Path) -> None:
    command = ["g++", "-shared", "-fPIC", "-O1", "-x", "c++", "-", "-x", "none", "-Wl,--no-as-needed", str(real),
               f"-Wl,-soname,{output.name}", "-o", str(output), "-ldl"]  # fmt: skip
    done = subprocess.run(command, input=_CODE.get(name, ""), capture_output=True, text=True)
    if done.returncode:
        raise UserError(f"g++ cannot link to {real}: {' '.join(done.stderr.split())[-300:]}")
