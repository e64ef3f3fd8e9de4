"""Finding a fast BLAS and making its symbols those of the whole process.

The modules that Theano compiles are not linked against it: they take ``sgemm_`` from the process
that loads them, as they take Python itself. So the compile cache knows no path of the library, and
needs no ``-dev`` package, no linker path with blanks in it, and no root.
"""

from __future__ import annotations

import ctypes
import sys
from importlib.util import find_spec
from itertools import product
from pathlib import Path
from typing import Any, Iterator, NamedTuple, Optional

#: Theano's ``blas.ldflags``: not empty, so that it uses BLAS at all, and with "openblas" in it, so
#: that its own convolutions keep the library's threads down. A macro nobody reads links nothing.
_FLAGS = "-DBLAS_OF_THE_PROCESS=openblas"
#: Of the library's symbols; the latter in NumPy's and SciPy's newer wheels.
_PREFIXES = ("", "scipy_")
#: Routines that Theano and our operations call, in single (s) and double (d) precision.
_ROUTINES = "axpy copy dot gemm gemv ger scal swap symm syrk trsm".split()


class OpenBLAS(NamedTuple):
    """A loaded OpenBLAS, whose symbols are visible to all modules loaded later."""

    origin: str  #: "system's" or "SciPy's"
    library: ctypes.CDLL
    prefix: str  #: of its symbols, one of ``_PREFIXES``

    @property
    def flags(self) -> str:
        """Theano's ``blas.ldflags``."""
        names = [f"{kind}{routine}_" for kind in "sd" for routine in _ROUTINES]
        names += ["openblas_get_num_threads", "openblas_set_num_threads"]
        renamed = [f"-D{name}={self.prefix}{name}" for name in names if self.prefix]
        return " ".join([_FLAGS, *renamed])

    def function(self, name: str) -> Any:
        """A function of the library's, by the name that it has without the prefix."""
        return getattr(self.library, self.prefix + name)

    @property
    def threads(self) -> int:
        """Threads that one call may use."""
        return self.function("openblas_get_num_threads")()

    @property
    def version(self) -> str:
        """Version and build, as the library itself words them."""
        get_config = self.function("openblas_get_config")
        get_config.restype = ctypes.c_char_p
        return get_config().decode()

    def __str__(self) -> str:
        return f"{self.origin} {' '.join(self.version.split()[:2])}"


def load(threads: int) -> Optional[OpenBLAS]:
    """Load the system's OpenBLAS, else the one in SciPy's wheel, with this many threads a call."""
    for origin, libraries in _candidates():
        try:
            *_, library = [ctypes.CDLL(name, ctypes.RTLD_GLOBAL) for name in libraries]
        except OSError:
            continue
        for prefix in _PREFIXES:
            if hasattr(library, f"{prefix}sgemm_"):  # sgemm_64_ would take 64-bit integers
                openblas = OpenBLAS(origin, library, prefix)
                # The variable OPENBLAS_NUM_THREADS comes too late where it was loaded before.
                openblas.function("openblas_set_num_threads")(threads)
                return openblas
    return None


def limit_numpys(threads: int) -> None:
    """Give NumPy's own OpenBLAS this many threads a call, in case it was imported first.

    Else it has one for each core. Theano computes some products through NumPy, and the number of
    threads changes how they are rounded.
    """
    numpy = sys.modules.get("numpy")
    if numpy is None:
        return
    for path in (Path(str(numpy.__file__)).parents[1] / "numpy.libs").glob("lib*openblas*"):
        library = ctypes.CDLL(str(path))  # which is loaded already
        for prefix, suffix in product(_PREFIXES, ("", "64_")):
            name = f"{prefix}openblas_set_num_threads{suffix}"
            if hasattr(library, name):
                getattr(library, name)(threads)


_AVX512 = {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}


def kernels(cpu: str) -> Optional[str]:
    """The kernels that OpenBLAS should take, as ``OPENBLAS_CORETYPE`` names them; None if unknown.

    It knows processors by their models, and takes the kernels of 2004's Prescott for an Intel or
    AMD one that is newer than itself: products then run at a fraction of the speed. These are what
    it takes for older models with the same instructions. ``cpu`` is ``/proc/cpuinfo``.
    """
    fields = dict(line.partition(":")[::2] for line in cpu.partition("\n\n")[0].splitlines())
    found = {name.strip(): value.strip() for name, value in fields.items()}
    vendor, flags = found.get("vendor_id"), set(found.get("flags", "").split())
    if not {"avx2", "fma"} <= flags:
        return None
    if vendor == "GenuineIntel":
        return "SkylakeX" if _AVX512 <= flags else "Haswell"
    family = found.get("cpu family", "")
    return "Zen" if vendor == "AuthenticAMD" and family.isdecimal() and int(family) >= 23 else None


def _candidates() -> Iterator[tuple[str, list[str]]]:
    """Whose each OpenBLAS is, and the libraries to load: what it needs first, itself last."""
    yield "the system's", ["libopenblas.so.0"]
    scipy = find_spec("scipy")
    if scipy and scipy.origin:
        folder = Path(scipy.origin).parents[1] / "scipy.libs"
        for path in (*folder.glob("libopenblas*"), *folder.glob("libscipy_openblas-*")):
            # The former do not say where these lie; once loaded, they are found by name.
            runtime = [*folder.glob("libquadmath*"), *folder.glob("libgfortran*")]
            yield "SciPy's", [str(library) for library in (*runtime, path)]
