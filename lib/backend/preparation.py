"""Gives Theano its defaults: flags, BLAS, threads, compile folder. Runs before Theano is imported."""

from __future__ import annotations

import ctypes
import math
import os
import sys
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from shutil import which
from typing import Mapping, NamedTuple, Optional

from lib.backend import blas, cache, compat, flags, gpu
from lib.errors import UserError


class Backend(NamedTuple):
    """What :func:`prepare` settled on."""

    threads: int  #: OpenMP threads of the compiled operations
    openblas: Optional[blas.OpenBLAS]  #: None where none was found, or Theano's flags name another
    given: Mapping[str, str]  #: the user's own settings of Theano, which stand


@lru_cache(maxsize=None)
def prepare() -> Backend:
    """Repair the environment and give Theano its defaults; it must not have been imported yet.

    What the user says in ``THEANO_FLAGS`` or ``.theanorc`` stands. A second call changes nothing.

    Raises:
        UserError: Theano was imported before, distutils or a C++ compiler is missing, a setting is bad, or Theano's
            flags ask for a GPU that cannot be used.
    """
    if "theano" in sys.modules:
        raise UserError(
            "theano was imported before lib, too early for its settings: import lib first."
        )
    # Theano fails without it, and Fuel, which imports Theano first, hides that error.
    if find_spec("distutils.spawn") is None:
        raise UserError(
            "This Python has no distutils, which Theano needs: on Debian, apt-get install python3-distutils."
        )
    compat.repair()
    cache.repair()
    given = flags.given()
    if "cxx" not in given and which("g++") is None:
        raise UserError(
            "There is no C++ compiler, without which Theano is far too slow: "
            "install g++ (on Debian: apt-get install g++)."
        )
    threads = _threads("PIXELVAE_THREADS") or _threads("OMP_NUM_THREADS") or _cores()
    # The operations run one image a thread, so BLAS must not start threads of its own inside them.
    blas_threads = _threads("OPENBLAS_NUM_THREADS") or 1
    os.environ["OMP_NUM_THREADS"] = str(threads)
    # A thread that waits for the others sleeps. Spinning is hardly faster on an idle machine, and on a
    # busy one it takes the processor from whoever is waited for: training ran twice as slow.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    os.environ["OPENBLAS_NUM_THREADS"] = str(blas_threads)
    _keep_freed_memory()
    ours = given.get("blas.ldflags", blas.FLAGS) == blas.FLAGS  # or a parent process set them so
    openblas = blas.load(blas_threads) if ours else None
    flags.set_defaults(
        {
            "floatX": "float32",
            "openmp": "True",
            "openmp_elemwise_minsize": "20000",
            "base_compiledir": flags.base_compiledir(),
            "compiledir_format": flags.compiledir_format(
                flags.march(given.get("gcc.cxxflags", ""))
            ),
            "blas.ldflags": blas.FLAGS if openblas else "",
        },
        given,
    )
    if given.get("device", "").startswith("cuda"):
        gpu.ready(given, given["device"])
    return Backend(threads, openblas, given)


def _keep_freed_memory() -> None:
    """Ask glibc not to hand freed arrays back to the system, which it does from 128 KiB to 32 MiB upwards.

    Every step frees and allocates the same maps again; getting them from the system anew costs a page fault for
    every 4 KiB, a fifth of a training step's processor time. The peak of memory stays what it was.
    """
    trim_threshold, mmap_threshold = -1, -3  # the names M_... of malloc.h
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):  # not glibc
        return
    mallopt(mmap_threshold, 32 * 1024 * 1024)  # the largest it takes
    mallopt(trim_threshold, 2**31 - 1)


def _threads(variable: str) -> Optional[int]:
    """The number of threads that an environment variable asks for, None where it is not set."""
    value = os.environ.get(variable)
    if not value:
        return None
    if not value.isdecimal() or int(value) < 1:
        raise UserError(f"{variable} must be a whole number, 1 or more, not {value!r}.")
    return int(value)


def _cores() -> int:
    """Cores that this process may use: its affinity, cut by the quota of its control group."""
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # not on Linux
        cores = os.cpu_count() or 1
    return max(1, min(cores, _quota()))


def _quota(root: Path = Path("/sys/fs/cgroup")) -> int:
    """Whole cores that the control group grants, as containers do (version 2, else version 1)."""
    try:
        if (root / "cpu.max").exists():
            quota, period = (root / "cpu.max").read_text().split()
        else:
            quota = (root / "cpu/cpu.cfs_quota_us").read_text()
            period = (root / "cpu/cpu.cfs_period_us").read_text()
        return math.ceil(int(quota) / int(period)) if int(quota) > 0 else sys.maxsize
    except (OSError, ValueError):  # no such file, or "max": no limit
        return sys.maxsize
