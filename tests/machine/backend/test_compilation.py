"""g++ is started once for each module of a function, and once for the headers that many of them share."""

from __future__ import annotations

import pytest
from fresh_process import output, run

PROGRAM = """
import pixelvae.lib, numpy as np, theano, theano.tensor as T
theano.config.optimizer = "fast_compile"
x = T.fmatrix()
one = np.ones((1, 1), "float32")
for names in NAMES:
    function = theano.function([x], [getattr(T, name)(x) for name in names])
    assert np.allclose(function(one), [getattr(np, name)(one) for name in names])
"""
COUNTING = """#!/bin/sh
echo "$*" >> {log}
exec g++ "$@"
"""


SIX = ["exp", "sin", "cos", "tan", "sqrt", "cosh"]


def calls(folder, names: list[list[str]]) -> tuple[list[str], list[str]]:
    """Of a first start: the calls of g++ that compile headers, and those that compile a module of these functions."""
    compiler, log = folder / "g++", folder / "log"
    compiler.write_text(COUNTING.format(log=log))
    compiler.chmod(0o755)
    # A module that could not use the compiled headers would fail, and be compiled again by Theano.
    flags = f"cxx={compiler},base_compiledir={folder}/cache,gcc.cxxflags='-O0 -Werror=invalid-pch'"
    output(PROGRAM.replace("NAMES", repr(names)), THEANO_FLAGS=flags, TMPDIR=str(folder))
    assert not list(
        folder.glob("pixelvae_*")
    )  # what was compiled for the process alone is gone with it
    lines = log.read_text().splitlines()
    modules = [line for line in lines if "/mod.cpp" in line and "pixelvae_" in line]
    return [line for line in lines if "c++-header" in line], modules


@pytest.mark.parametrize("functions", [[SIX], [[name] for name in SIX]], ids=["one", "six"])
def test_headers_are_compiled_once_for_many_modules(functions, tmp_path):
    headers, modules = calls(tmp_path, functions)
    assert len(headers) == 1 and len(modules) == 6
    assert sum("-include" in line for line in modules) == 3


def test_few_modules_are_compiled_without(tmp_path):
    headers, modules = calls(tmp_path, [SIX[:2]])
    assert not headers and len(modules) == 2 and not any("-include" in line for line in modules)


TWO_OTHERS = """
import threading, time, socket, os, theano
from theano.gof import compilelock

os.makedirs(folder := os.path.join(theano.config.compiledir, "held"))
lock = os.path.join(folder, "lock")

def write(owner):
    with open(lock, "w") as file:
        file.write(f"{os.getppid()}_{owner}_{socket.gethostname()}")

def take_turns():
    for owner in range(40):
        write(owner)
        time.sleep(0.2)
    os.remove(lock)
    os.rmdir(folder)

write(0)
threading.Thread(target=take_turns).start()
compilelock.lock(folder)
print("mine:", open(lock).read().startswith(str(os.getpid())))
"""


def test_waiting_for_others_is_told_once(tmp_path):
    program = f"import pixelvae.lib\n{TWO_OTHERS}"
    process = run("-c", program, THEANO_FLAGS=f"base_compiledir={tmp_path}")
    assert process.stdout == "mine: True\n"
    assert process.stderr.count("waiting for another process") == 1
    assert "Waiting for existing lock" not in process.stderr
