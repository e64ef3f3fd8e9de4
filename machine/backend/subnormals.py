"""Numbers below 1.2e-38 count as zero while a compiled function runs, on x86-64.

Processors of that kind take a hundred cycles and more for an operation on a subnormal number, and
trainings are full of them: probabilities that a softmax gives to what hardly happens, moments of
weights whose gradient has gone. The setting is one of a thread, and the caller's is put back, so
that the arithmetic of the program around us stays its own. OpenMP's threads have it from the call
that starts them; those that others had started before get it at a thread's first call.
"""

from __future__ import annotations

import ctypes
import platform
import sys
import threading
from functools import wraps
from types import ModuleType
from typing import Any

# Of C's fenv_t, which ends with the register MXCSR.
_MXCSR = 7
_Environment = ctypes.c_uint32 * 8
_FLUSH_TO_ZERO, _DENORMALS_ARE_ZERO = 1 << 15, 1 << 6


def flush(function_module: ModuleType) -> None:
    """Let compiled functions take subnormal numbers for zero, and give zero for them.

    Takes ``theano.compile.function_module``.
    """
    if (sys.platform, platform.machine()) != ("linux", "x86_64"):
        return
    library = ctypes.CDLL(None)
    if not hasattr(library, "fesetenv"):
        library = ctypes.CDLL("libm.so.6")
    get, put = library.fegetenv, library.fesetenv
    get.argtypes = put.argtypes = [ctypes.c_void_p]
    call = function_module.Function.__call__
    known = threading.local()  # OpenMP has a team of threads for each thread that calls

    @wraps(call)
    def call_flushing(self: Any, *arguments: Any, **named: Any) -> Any:
        before = _Environment()
        get(before)
        within = _Environment.from_buffer_copy(before)
        within[_MXCSR] |= _FLUSH_TO_ZERO | _DENORMALS_ARE_ZERO
        put(within)
        if not hasattr(known, "team"):
            known.team = True
            _in_all_threads(put, within)
        try:
            return call(self, *arguments, **named)
        finally:
            put(before)

    function_module.Function.__call__ = call_flushing


def _in_all_threads(do: Any, argument: Any) -> None:
    """Call a C function of one pointer in every thread of OpenMP's team."""
    try:
        parallel = ctypes.CDLL("libgomp.so.1").GOMP_parallel
    except (OSError, AttributeError):  # compiled with another OpenMP, or without
        return
    parallel.argtypes = ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint
    parallel(ctypes.cast(do, ctypes.c_void_p), argument, 0, 0)
