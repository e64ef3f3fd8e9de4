"""How Theano compiles: on all cores, shared headers once, and with errors in one line.

Theano compiles a function's operations one after the other, each when it comes to it. Here the
first that is not in its cache starts g++ for all of the function that are not, so that they are
there, or on their way, when Theano asks.

Half of what g++ does, and nearly all of it for a GPU, is to read headers, which are the same for
all operations. A process compiles them once for each set of options that several modules share, of
one function or of many.
"""

from __future__ import annotations

import atexit
import contextlib
import io
import os
import shutil
import subprocess
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any, Optional

from pixelvae.machine.backend.compiler import CompilerError, environments_fault, shortened
from pixelvae.machine.backend.environment import changed
from pixelvae.machine.errors import UserError

# Those of a GPU are found once the device is prepared (:mod:`.gpu`).
_HEADERS = """
#include <Python.h>
#include <algorithm>
#include <iostream>
#include <math.h>
#include <sstream>
#include <string>
#include <vector>
#include "theano_mod_helper.h"
#if __has_include(<gpuarray_api.h>)
#include <gpuarray/array.h>
#include <gpuarray/buffer.h>
#include <gpuarray/buffer_blas.h>
#include <gpuarray/elemwise.h>
#include <gpuarray/error.h>
#include <gpuarray/kernel.h>
#include <gpuarray/types.h>
#include <gpuarray/util.h>
#endif
#include <numpy/arrayobject.h>
#include <numpy/arrayscalars.h>
#if __has_include(<gpuarray_api.h>)
#include <gpuarray_api.h>
#include <numpy_compat.h>
#endif
"""
_WITHOUT = 3  # modules that share options, before it pays to compile the headers

_alike: Counter[tuple[str, ...]] = Counter()  # modules of this process, by options
_headers: dict[tuple[str, ...], Future[Optional[Path]]] = {}


@lru_cache(maxsize=None)
def _folder() -> str:
    """The folder of the headers that this process compiled; they go with it, for they are large."""
    folder, process = tempfile.mkdtemp(prefix="pixelvae_"), os.getpid()

    def remove() -> None:
        if os.getpid() == process:  # and not one that was forked from it
            shutil.rmtree(folder, ignore_errors=True)

    atexit.register(remove)
    return folder


def _headers_for(
    command: list[str], environment: dict[str, str], pool: ThreadPoolExecutor
) -> Optional[Future[Optional[Path]]]:
    """The headers for one more command, compiled in the pool as soon as that pays; None before."""
    flags = [word for word in command[: command.index("-o")] if word != "-shared"]
    # Compiled headers have to share these with what includes them, but not the folders.
    options = tuple(word for word in flags if not word.startswith(("-I", "-L")))
    _alike[options] += 1
    if _alike[options] > _WITHOUT and options not in _headers:
        header = Path(_folder(), str(len(_headers)), "headers.h")
        _headers[options] = pool.submit(_precompile, flags, environment, header)
    return _headers.get(options)


def _precompile(flags: list[str], environment: dict[str, str], header: Path) -> Optional[Path]:
    """The headers, compiled beside; None where that fails."""
    header.parent.mkdir()
    header.write_text(_HEADERS)
    command = [*flags, "-g0", "-x", "c++-header", str(header), "-o", f"{header}.gch"]
    done = subprocess.run(command, capture_output=True, env=environment)
    return None if done.returncode else header


def _compile(
    command: list[str], environment: dict[str, str], headers: Optional[Future[Optional[Path]]]
) -> Optional[Path]:
    """The compiled module, None where g++ fails."""
    header = headers.result() if headers else None
    include = ["-include", str(header)] if header else []
    # Theano asks for -g, which takes g++ longer and is of no use here.
    done = subprocess.run([*command, "-g0", *include], capture_output=True, env=environment)
    return None if done.returncode else Path(command[command.index("-o") + 1])


def _start(
    commands: Iterator[tuple[str, list[str]]], end: contextlib.ExitStack
) -> dict[str, Future[Optional[Path]]]:
    """Start g++ for a function's modules.

    Their files, by the modules' names, are there until ``end``.
    """
    pool = ThreadPoolExecutor(int(os.environ.get("OMP_NUM_THREADS", "1")))
    made: dict[str, Future[Optional[Path]]] = {}
    end.callback(pool.shutdown)
    end.callback(lambda: [future.cancel() for future in made.values()])
    # Not the process's own, which this thread may change while another starts g++.
    environment = dict(os.environ)
    for module, command in commands:
        if module not in made:
            # Whatever waits for headers comes behind them in the pool's queue, so that they are
            # never stuck.
            headers = _headers_for(command, environment, pool)
            made[module] = pool.submit(_compile, command, environment, headers)
    return made


_starts: list[Callable[[], dict[str, Future[Optional[Path]]]]] = []  # of functions within functions


def compile_ahead(vm: ModuleType) -> None:
    """Let g++ be started for all modules of a function as soon as one is missing.

    Takes ``theano.gof.vm``.
    """
    make_all = vm.VM_Linker.make_all

    def make_all_ahead(self: Any, *arguments: Any, **options: Any) -> Any:
        with contextlib.ExitStack() as end:

            @lru_cache(maxsize=None)  # when the first module is asked for, and once
            def start() -> dict[str, Future[Optional[Path]]]:
                folder = end.enter_context(tempfile.TemporaryDirectory(prefix="pixelvae_"))
                return _start(_commands(self.fgraph, folder), end)

            _starts.append(start)
            end.callback(_starts.pop)
            return make_all(self, *arguments, **options)

    vm.VM_Linker.make_all = make_all_ahead


def _commands(fgraph: Any, folder: str) -> Iterator[tuple[str, list[str]]]:
    """The name and the command of each module of the graph that is not in Theano's cache.

    The source is written.
    """
    from theano.gof import cc, cmodule
    from theano.gof.fg import FunctionGraph

    recorded: list[list[str]] = []

    def record(command: list[str]) -> tuple[bytes, bytes, int]:
        recorded.append(command)
        return b"", b"", 0

    known = cc.get_module_cache().entry_from_key
    kinds = {
        (node.op, *(v.type for v in (*node.inputs, *node.outputs))): node
        for node in fgraph.toposort()
    }
    for number, node in enumerate(kinds.values()):
        place = os.path.join(folder, str(number))
        # What cannot be compiled, as operations without C, is left to Theano, which knows what to
        # do.
        with contextlib.suppress(Exception):
            linker = cc.CLinker().accept(FunctionGraph(node.inputs, node.outputs))
            if linker.cmodule_key() in known:
                continue
            os.mkdir(place)
            call, cmodule.output_subprocess_Popen = cmodule.output_subprocess_Popen, record
            try:
                linker.compile_cmodule(place)
            finally:
                cmodule.output_subprocess_Popen = call
            yield linker.get_dynamic_module().code_hash, recorded.pop()


def take_what_is_compiled(cmodule: Any) -> None:
    """Let Theano take modules compiled ahead; a failure to compile or load is one line.

    Takes ``theano.gof.cmodule``.
    """
    compile_str, call = cmodule.GCC_compiler.compile_str, cmodule.output_subprocess_Popen
    dlimport = cmodule.dlimport

    def take(module_name: str, src_code: str, location: Any = None, **options: Any) -> Any:
        if cmodule.output_subprocess_Popen is not call:  # the command is only recorded
            return compile_str(module_name, src_code, location, **{**options, "py_module": False})
        future = _starts[-1]().get(module_name) if _starts else None
        made = future.result() if future else None
        if made is None:
            with _errors_in_one_line(cmodule):
                return compile_str(module_name, src_code, location, **options)
        library = Path(location, made.name)
        shutil.copyfile(made, library)
        shutil.copyfile(made.with_name("mod.cpp"), Path(location, "mod.cpp"))
        Path(location, "__init__.py").touch()
        return cmodule.dlimport(str(library))

    def load(path: str, *arguments: Any, **options: Any) -> Any:
        try:
            return dlimport(path, *arguments, **options)
        except ImportError as error:
            reason = shortened(str(error))
            raise CompilerError(f"what was compiled cannot be loaded: {reason}") from None

    cmodule.GCC_compiler.compile_str = staticmethod(take)
    cmodule.dlimport = load


@contextlib.contextmanager
def _errors_in_one_line(cmodule: Any) -> Iterator[None]:
    """Around Theano's call of the compiler: :class:`CompilerError` if the machine is to blame."""
    name = cmodule.config.cxx
    try:
        # Theano announces its own report there; and the remedies are known by their English names.
        with contextlib.redirect_stdout(io.StringIO()), changed(LC_ALL="C"):
            yield
    except (CompilerError, cmodule.MissingGXX):
        raise
    except OSError as error:
        raise CompilerError(f"{name} cannot be called: {error}") from None
    except Exception as error:
        fault = environments_fault(name, str(error).replace(". ", "\n"))
        if fault or "status=-" in str(error):
            raise CompilerError(fault or f"{name} was killed") from None
        raise


def link_without_libpython(cmodule: Any) -> None:
    """Theano links each module with libpython, of which the process that loads it has all it needs.

    Some interpreters, uv's among them, contain what others have in libpython, and no loader finds
    that file then. Takes ``theano.gof.cmodule``.
    """
    cmodule.std_lib_dirs_and_libs.data = [], []


def know_openmp(op: ModuleType) -> None:
    """Spare Theano a compilation at each start: the compiler's trial was with OpenMP.

    Takes ``theano.gof.op``.
    """
    op.OpenMPOp.gxx_support_openmp = True  # type: ignore[attr-defined]


def look_before_locking(compilelock: Any) -> None:
    """Refuse to lock a folder that cannot be written, and wait less long between two tries.

    Theano tries for a minute, with a warning each time; and where another process compiles, it
    sleeps for 5 to 10 s before it looks again, and tells of each process that it waits for: two
    that compile by turns fill the terminal. Takes ``theano.gof.compilelock``.
    """
    lock = compilelock.lock

    def look_and_lock(folder: str, *arguments: Any, **options: Any) -> None:
        parent = os.path.dirname(folder)
        try:
            os.makedirs(parent, exist_ok=True)
            with tempfile.TemporaryFile(dir=parent):
                pass
        except OSError as error:
            raise CompilerError(f"nothing can be compiled in {parent}: {error.strerror}") from None
        line = f"waiting for another process, which compiles in {parent} (if none does, delete {folder})"
        with _after_a_while(lambda: compilelock._logger.info(line)):
            lock(
                folder, *arguments, **{"min_wait": 0.1, "max_wait": 0.3, **options, "verbosity": 0}
            )

    compilelock.lock = look_and_lock


@contextlib.contextmanager
def _after_a_while(do: Callable[[], object], seconds: float = 5) -> Iterator[None]:
    """Do it if the body takes longer than that."""
    timer = threading.Timer(seconds, do)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def let_errors_pass(opt: ModuleType) -> None:
    """Theano's optimiser logs a failing compiler with its traceback, and continues.

    Takes ``theano.gof.opt``.
    """
    for optimizer in (opt.SeqOptimizer, opt.NavigatorOptimizer):
        optimizer.warn = staticmethod(_unless_ours(optimizer.warn))


def _unless_ours(warn: Callable[..., None]) -> Callable[..., None]:
    def warn_or_raise(error: Exception, *arguments: Any) -> None:
        if isinstance(error, UserError):
            raise error
        warn(error, *arguments)

    return warn_or_raise
