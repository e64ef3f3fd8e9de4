"""Gives Theano its defaults: flags, BLAS, threads, compile folder.

Runs before Theano is imported.
"""

from __future__ import annotations

import ctypes
import math
import os
import re
import sys
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import AbstractSet, Callable, Mapping, NamedTuple, Optional

from pixelvae.machine.backend import blas, compat, compiler, environment, flags, gpu
from pixelvae.machine.errors import UserError


class Backend(NamedTuple):
    """What :func:`prepare` settled on."""

    openblas: Optional[blas.OpenBLAS]  #: None where none was found, or Theano's flags name another
    blas: str  #: which BLAS Theano calls, in words
    compiler: compiler.Compiler
    given: Mapping[str, str]  #: the user's own settings of Theano, which stand


@lru_cache(maxsize=None)
def prepare() -> Backend:
    """Repair the environment and give Theano its defaults; it must not have been imported yet.

    The user's ``THEANO_FLAGS`` and ``.theanorc`` stand. A second call changes nothing.

    Raises
    ------
    UserError
        Theano was imported before, distutils or a C++ compiler is missing, a setting is bad,
        Theano's flags ask for a GPU that cannot be used, or processes that were started together
        find no MPI.
    """
    if "theano" in sys.modules:
        raise UserError(
            "theano was imported before pixelvae, too early for its settings: import pixelvae first."
        )
    if sys.flags.optimize > 1:
        raise UserError(
            "Theano computes with its docstrings: run Python without -OO, and unset PYTHONOPTIMIZE."
        )
    compat.silence()
    # Theano fails without it, and Fuel, which imports Theano first, hides that error.
    if find_spec("distutils.spawn") is None:
        raise UserError(
            "This Python has no distutils, which Theano needs: on Debian, apt-get install python3-distutils."
        )
    compat.repair()
    environment.take_back()  # what a parent process put there for itself
    _choose_kernels()
    given = flags.given()
    _check(given)
    threads = _threads("PIXELVAE_THREADS") or _threads("OMP_NUM_THREADS")
    environment.change("OMP_NUM_THREADS", str(threads or _cores(_all)))
    # The operations run one image a thread, so BLAS must not start threads of its own inside them.
    blas_threads = _threads("OPENBLAS_NUM_THREADS") or 1
    # A thread that waits for the others sleeps. Spinning is hardly faster on an idle machine, and
    # on a busy one it takes the processor from whoever is waited for: training ran twice as slow.
    if "OMP_WAIT_POLICY" not in os.environ:
        environment.change("OMP_WAIT_POLICY", "passive")
    environment.change("OPENBLAS_NUM_THREADS", str(blas_threads))
    blas.limit_numpys(blas_threads)
    _keep_freed_memory()
    openblas = None if "blas.ldflags" in given else blas.load(blas_threads)
    if openblas:
        in_words = f"{openblas} (threads in a call: {openblas.threads})"
    else:
        in_words = (
            given.get("blas.ldflags") or "none (slow: install libopenblas, or SciPy from its wheel)"
        )
    folder = os.path.expanduser(given.get("base_compiledir") or flags.base_compiledir())
    cxx = compiler.settle(given, folder)
    flags.set_defaults({"gcc.cxxflags": cxx.flags}, {})  # the user's are among them
    flags.set_defaults(
        {
            "floatX": "float32",
            "openmp": "True",
            "cache_optimizations": "True",  # as pixelvae.machine.backend.cache does
            "openmp_elemwise_minsize": "20000",
            "base_compiledir": folder,
            "compiledir_format": flags.compiledir_format(
                flags.march(given.get("gcc.cxxflags", ""))
            ),
            "blas.ldflags": openblas.flags if openblas else "",
        },
        given,
    )
    if given.get("device", "").startswith("cuda"):
        gpu.ready(given, given["device"])
    return Backend(openblas, in_words, cxx, given)


def _choose_kernels() -> None:
    """Name OpenBLAS its kernels, unless the user does; too late for one that is loaded already."""
    if os.environ.get("OPENBLAS_CORETYPE"):
        return
    try:
        kernels = blas.kernels(Path("/proc/cpuinfo").read_text())
    except (OSError, ValueError):  # not on Linux
        return
    if kernels:
        environment.change("OPENBLAS_CORETYPE", kernels)


def _check(given: Mapping[str, str]) -> None:
    """Refuse what Theano would accept, or refuse in words of another time."""
    if given.get("floatx", "float32") not in ("float32", "float64"):
        raise UserError(f"Theano's flag floatX must be float32 or float64, not {given['floatx']}.")
    if not re.fullmatch(r"cpu|cuda\d*", given.get("device", "cpu")):
        raise UserError(
            f"Theano's flag device must be cpu, cuda, or one of cuda0, cuda1, ..., not {given['device']}."
        )
    for variable in ("PIXELVAE_NATIVE", "PIXELVAE_TF32"):
        if os.environ.get(variable, "") not in ("", "0", "1"):
            raise UserError(f"{variable} must be 0 or 1, not {os.environ[variable]!r}.")


def is_report() -> bool:
    """Whether this is ``python -m pixelvae.machine``, which reports broken environments."""
    try:
        words = Path("/proc/self/cmdline").read_bytes().split(b"\0")
    except OSError:  # not on Linux
        words = [os.fsencode(word) for word in getattr(sys, "orig_argv", [])]
    return (b"-m", b"pixelvae.machine") in zip(words, words[1:]) or b"-mpixelvae.machine" in words


def _keep_freed_memory() -> None:
    """Ask glibc not to return freed arrays to the system, as it does from 128 KiB or more.

    Every step frees and allocates the same maps again; getting them from the system again costs a
    page fault for every 4 KiB, a fifth of a training step's processor time. The peak of memory
    stays what it was.
    """
    trim_threshold, mmap_max = -1, -4  # the names M_... of malloc.h
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):  # not glibc
        return
    mallopt(mmap_max, 0)  # no array gets a mapping of its own
    mallopt(trim_threshold, 2**31 - 1)


_MOST_THREADS = 1024

#: Where batch systems (Slurm, PBS, Grid Engine) write how many of a node's cores a job was granted.
_GRANTED = ("SLURM_CPUS_PER_TASK", "NCPUS", "NSLOTS")


def _threads(variable: str) -> Optional[int]:
    """The number of threads that an environment variable asks for, None where it is not set.

    ``OMP_NUM_THREADS`` may list one count per nesting level; the first is used, as there is no
    second level.
    """
    value = os.environ.get(variable, "").strip()
    if not value:
        return None
    first = value.partition(",")[0].strip()
    if not _is_count(first):
        raise UserError(
            f"{variable} must be a whole number from 1 to {_MOST_THREADS}, not {value[:50]!r}."
        )
    return int(first)


def _is_count(text: str) -> bool:
    return text.isdecimal() and len(text) <= 4 and 1 <= int(text) <= _MOST_THREADS


#: From numbers of cores and a quota, how many are for this process.
Share = Callable[[AbstractSet[int], float], int]


def share_cores(share: Share) -> None:
    """Take a share of the cores instead of all of them, unless the user set the number of threads.

    Before OpenMP is loaded, which reads it then. ``share`` is called in any case: others may wait
    for that.
    """
    cores = _cores(share)
    user_set = os.environ.get("PIXELVAE_THREADS", "").strip() or environment.given(
        "OMP_NUM_THREADS"
    )
    if not user_set:
        environment.change("OMP_NUM_THREADS", str(cores))


def _all(cores: AbstractSet[int], quota: float) -> int:
    return int(min(len(cores), quota))


def _cores(share: Share) -> int:
    """Cores that this process may use: its affinity, cut by its control group and its job."""
    try:
        cores = os.sched_getaffinity(0)
    except AttributeError:  # not on Linux
        cores = set(range(os.cpu_count() or 1))
    granted = [int(v) for v in map(os.environ.get, _GRANTED) if v and _is_count(v)]
    return min(share(cores, _quota()), _MOST_THREADS, *granted)


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
