"""Compiling a function's C++ on all cores.

Theano compiles a function's operations one after the other, each when it comes to it. Here the first that is not in its
cache starts g++ for all of the function that are not, so that they are there, or on their way, when Theano asks.

Half of what g++ does is to read headers, which are the same for all operations. A process compiles them once for each
set of options that several modules share, of one function or of many.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import shutil
import subprocess
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any, Optional

from pixelvae.machine.backend import imports

_HEADERS = """
#include <Python.h>
#include <algorithm>
#include <iostream>
#include <math.h>
#include <sstream>
#include <string>
#include <vector>
#include "theano_mod_helper.h"
#include <numpy/arrayobject.h>
#include <numpy/arrayscalars.h>
"""
_WITHOUT = 3  # modules that share options, before it pays to compile the headers


def repair() -> None:
    """Do so as soon as Theano is imported."""
    imports.after("theano.gof.vm", _wrap)


class _Headers:
    """The headers that this process has compiled, by options; they go with it, for they are large."""

    def __init__(self) -> None:
        self._alike: Counter[tuple[str, ...]] = Counter()
        self._made: dict[tuple[str, ...], Future[Optional[Path]]] = {}
        self._folder: Optional[str] = None

    def of_one_more(
        self, command: list[str], environment: dict[str, str], pool: ThreadPoolExecutor
    ) -> Optional[Future[Optional[Path]]]:
        """The headers for one more command, as soon as they pay; compiled in the pool if they are not yet."""
        options = _options(command)
        self._alike[options] += 1
        if self._alike[options] > _WITHOUT and options not in self._made:
            if self._folder is None:
                self._folder = tempfile.mkdtemp(prefix="pixelvae_")
                atexit.register(_remove, self._folder, os.getpid())
            place = Path(self._folder, str(len(self._made)))
            self._made[options] = pool.submit(_precompile, options, environment, place)
        return self._made.get(options)


def _remove(folder: str, process: int) -> None:
    if os.getpid() == process:  # and not one that was forked from it
        shutil.rmtree(folder, ignore_errors=True)


class _Graph:
    """A function that is being compiled, and what g++ makes of its operations meanwhile."""

    def __init__(self, fgraph: Any, headers: _Headers):
        self._fgraph, self._headers = fgraph, headers
        self._made: Optional[dict[str, Future[Optional[Path]]]] = None  # by the module's name
        self._folder: Optional[str] = None
        self._pool = ThreadPoolExecutor(int(os.environ.get("OMP_NUM_THREADS", "1")))

    def library(
        self, name: str, plan: Callable[[Any, str], Iterator[tuple[str, list[str]]]]
    ) -> Optional[Path]:
        """The compiled module of that name, None if g++ has not been started for it, or failed."""
        if self._made is None:
            self._made, self._folder = {}, tempfile.mkdtemp(prefix="pixelvae_")
            # Not the process's own, which this thread may change while another starts g++.
            environment = dict(os.environ)
            for module, command in plan(self._fgraph, self._folder):
                if module in self._made:
                    continue
                # Whatever waits for headers comes behind them in the pool's queue, so that they are never stuck.
                headers = self._headers.of_one_more(command, environment, self._pool)
                self._made[module] = self._pool.submit(_run, command, environment, headers)
        future = self._made.get(name)
        return future.result() if future else None

    def close(self) -> None:
        for future in (self._made or {}).values():
            future.cancel()
        self._pool.shutdown()
        if self._folder:
            shutil.rmtree(self._folder, ignore_errors=True)


def _options(command: list[str]) -> tuple[str, ...]:
    """The compiler and those of its arguments that compiled headers have to share with what includes them."""
    return tuple(word for word in command[: command.index("-o")] if word != "-shared")


def _precompile(
    options: tuple[str, ...], environment: dict[str, str], place: Path
) -> Optional[Path]:
    """The headers, compiled beside; None where that fails, or others are included already (:mod:`.glue`)."""
    if "-include" in options:
        return None
    place.mkdir()
    header = place / "headers.h"
    header.write_text(_HEADERS)
    command = [*options, "-g0", "-x", "c++-header", str(header), "-o", f"{header}.gch"]
    done = subprocess.run(command, capture_output=True, env=environment)
    return None if done.returncode else header


def _run(
    command: list[str], environment: dict[str, str], headers: Optional[Future[Optional[Path]]]
) -> Optional[Path]:
    header = headers.result() if headers else None
    include = ["-include", str(header)] if header else []
    # Theano asks for -g, which takes g++ longer and is of no use here.
    done = subprocess.run([*command, "-g0", *include], capture_output=True, env=environment)
    return None if done.returncode else Path(command[command.index("-o") + 1])


def _wrap(vm: ModuleType) -> None:
    from theano.gof import cc, cmodule
    from theano.gof.fg import FunctionGraph

    make_all, compile_str = vm.VM_Linker.make_all, cmodule.GCC_compiler.compile_str
    headers = _Headers()
    graphs: list[_Graph] = []  # functions are compiled within functions
    recorded: list[list[str]] = []
    recording = False

    def make_all_ahead(self: Any, *arguments: Any, **options: Any) -> Any:
        graphs.append(_Graph(self.fgraph, headers))
        try:
            return make_all(self, *arguments, **options)
        finally:
            graphs.pop().close()

    def compile_ahead(module_name: str, src_code: str, location: Any = None, **options: Any) -> Any:
        if recording:
            return compile_str(module_name, src_code, location, **{**options, "py_module": False})
        made = graphs[-1].library(module_name, plan) if graphs else None
        if made is None:
            return compile_str(module_name, src_code, location, **options)
        library = Path(location, made.name)
        shutil.copyfile(made, library)
        shutil.copyfile(made.with_name("mod.cpp"), Path(location, "mod.cpp"))
        Path(location, "__init__.py").touch()
        return cmodule.dlimport(str(library))

    def plan(fgraph: Any, folder: str) -> Iterator[tuple[str, list[str]]]:
        """The name and the command of each module of the graph that is not in Theano's cache."""
        nonlocal recording
        known = cc.get_module_cache().entry_from_key
        kinds = {
            (node.op, *(v.type for v in (*node.inputs, *node.outputs))): node
            for node in fgraph.toposort()
        }
        for number, node in enumerate(kinds.values()):
            place = os.path.join(folder, str(number))
            # What cannot be compiled, as operations without C, is left to Theano, which knows what to do.
            with contextlib.suppress(Exception):
                linker = cc.CLinker().accept(FunctionGraph(node.inputs, node.outputs))
                if linker.cmodule_key() in known:
                    continue
                os.mkdir(place)
                call, cmodule.output_subprocess_Popen = cmodule.output_subprocess_Popen, record
                recording = True
                try:
                    linker.compile_cmodule(place)
                finally:
                    recording = False
                    cmodule.output_subprocess_Popen = call
                yield linker.get_dynamic_module().code_hash, recorded.pop()

    def record(command: list[str]) -> tuple[bytes, bytes, int]:
        recorded.append(command)
        return b"", b"", 0

    vm.VM_Linker.make_all = make_all_ahead
    cmodule.GCC_compiler.compile_str = staticmethod(compile_ahead)
