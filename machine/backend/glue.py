"""Compiling for a GPU in a fraction of the time.

What Theano compiles with g++ for a GPU only calls libgpuarray and cuDNN: glue, in which optimisation gains nothing.
Nearly all of the time goes into headers, which are the same every time. So here they are compiled once, and the rest
without optimisation, for any processor: the compiled code may be carried from one machine to another. Flags of the
user's own count for both.
"""

from __future__ import annotations

import platform
import subprocess
import sysconfig
import tempfile
import zlib
from importlib.util import find_spec
from pathlib import Path
from typing import Optional

from pixelvae.machine.backend import environment
from pixelvae.machine.errors import UserError

# Only the code of operations is compiled with the option that sets this macro; the rest shares other options.
_HEADERS = """
#ifdef __NO_MATH_ERRNO__
#include <Python.h>
#include <iostream>
#include <algorithm>
#include <sstream>
#include <string>
#include <vector>
#include <math.h>
#include "theano_mod_helper.h"
#include <gpuarray/array.h>
#include <gpuarray/buffer.h>
#include <gpuarray/buffer_blas.h>
#include <gpuarray/elemwise.h>
#include <gpuarray/error.h>
#include <gpuarray/kernel.h>
#include <gpuarray/types.h>
#include <gpuarray/util.h>
#include <numpy/arrayobject.h>
#include <numpy/arrayscalars.h>
#include <gpuarray_api.h>
#include <numpy_compat.h>
#endif
"""
# Those of Theano's options that a compiled header has to share with what includes it.
_THEANOS = (
    "-g", "-DNPY_NO_DEPRECATED_API=NPY_1_7_API_VERSION", "-m64", "-fPIC", "-fno-math-errno", "-fvisibility=hidden",
)  # fmt: skip


def compiler_flags(base: str, chosen: Optional[str]) -> dict[str, str]:
    """Theano's settings for compiling glue; the headers are compiled into a folder below ``base``, once.

    chosen: the user's ``gcc.cxxflags``, which come in place of a processor that every machine has.

    Raises UserError if g++ fails at them.
    """
    import numpy as np
    import pygpu

    processor = ["-march=x86-64"] if platform.machine() == "x86_64" else []
    ours = ["-g0", *(processor if chosen is None else chosen.split())]
    ours = [flag for flag in ours if not flag.startswith("-O")]  # as Theano does
    theano = Path(str(find_spec("theano").origin)).parent  # type: ignore[union-attr]
    folders = (
        sysconfig.get_paths()["include"], np.get_include(), pygpu.get_include(),
        f"{theano}/gof/c_code", f"{theano}/gpuarray/c_code",
    )  # fmt: skip
    # An operation with options of its own cannot use the compiled header, and has to find these by itself.
    environment.add_headers(*folders)
    command = ["g++", *_THEANOS, *ours, "-x", "c++-header"]
    version = subprocess.run(["g++", "--version"], capture_output=True, text=True).stdout
    key = zlib.crc32(repr([command, version, _HEADERS, folders]).encode())
    folder = Path(base) / f"headers_{key:08x}"
    if not folder.exists():
        with tempfile.TemporaryDirectory(dir=base) as temporary:
            made = Path(temporary) / "made"
            made.mkdir()
            (made / "glue.h").write_text(_HEADERS)
            done = subprocess.run(
                [*command, str(made / "glue.h"), "-o", str(made / "glue.h.gch")],
                capture_output=True, text=True,
            )  # fmt: skip
            if done.returncode:
                raise UserError(
                    f"g++ cannot compile headers: {' '.join(done.stderr.split())[-300:]}"
                )
            try:
                made.rename(folder)
            except OSError:
                if not folder.exists():  # else another process was faster
                    raise
    return {
        "cmodule.remove_gxx_opt": "True",
        "gcc.cxxflags": " ".join([*ours, "-include", str(folder / "glue.h")]),
        "openmp": "False",  # another option that the header would have to share, for scalars
    }
