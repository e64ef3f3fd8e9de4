"""g++ is started once for each module of a function, and once for the headers that many of them share."""

from __future__ import annotations

from fresh_process import output

PROGRAM = """
import lib, numpy as np, theano, theano.tensor as T
theano.config.optimizer = "fast_compile"
x = T.fmatrix()
names = ["exp", "sin", "cos", "tan", "sqrt", "cosh"][:NUMBER]
function = theano.function([x], [getattr(T, name)(x) for name in names])
one = np.ones((1, 1), "float32")
assert np.allclose(function(one), [getattr(np, name)(one) for name in names])
"""
COUNTING = """#!/bin/sh
echo "$*" >> {log}
exec g++ "$@"
"""


def calls(folder, number: int) -> tuple[list[str], list[str]]:
    """Of a first start: the calls of g++ that compile headers, and those that compile one of so many modules."""
    compiler, log = folder / "g++", folder / "log"
    compiler.write_text(COUNTING.format(log=log))
    compiler.chmod(0o755)
    # A module that could not use the compiled headers would fail, and be compiled again by Theano.
    flags = f"cxx={compiler},base_compiledir={folder}/cache,gcc.cxxflags='-O0 -Werror=invalid-pch'"
    output(PROGRAM.replace("NUMBER", str(number)), THEANO_FLAGS=flags)
    lines = log.read_text().splitlines()
    modules = [line for line in lines if "/mod.cpp" in line and "pixelvae_" in line]
    return [line for line in lines if "c++-header" in line], modules


def test_headers_are_compiled_once_for_many_modules(tmp_path):
    headers, modules = calls(tmp_path, 6)
    assert len(headers) == 1 and len(modules) == 6
    assert sum("-include" in line for line in modules) == 3


def test_few_modules_are_compiled_without(tmp_path):
    headers, modules = calls(tmp_path, 2)
    assert not headers and len(modules) == 2 and not any("-include" in line for line in modules)
