"""The compiler's trial and cure, its errors in one line, and the cache of what it compiled."""

from __future__ import annotations

import os
import re
import shutil
import subprocess

import pytest
from fresh_process import output, refusal, run

from pixelvae.machine.backend import compiler
from pixelvae.machine.errors import UserError

# Makes the fault of g++ 12 with any g++: the constant array is wrong unless the cure is among the flags.
ERRING = """#!/bin/sh
echo "$*" >>"$0.calls"
case "$*" in
*{cure}*) exec g++ "$@" ;;
*probe.cpp*) for file; do case $file in *probe.cpp) sed -i 's/1, 0, 1, 0, 0/1, 0, 1, 0, 1/' "$file" ;; esac; done ;;
esac
exec g++ "$@"
"""


def script(path, text):
    path.write_text(text)
    path.chmod(0o755)
    return path


def settled(tmp_path, cxx, **given):
    return compiler.settle({"cxx": str(cxx), **given}, str(tmp_path / "cache"))


def test_a_compiler_that_errs_is_cured_and_the_trial_kept(tmp_path):
    erring = script(tmp_path / "erring-g++", ERRING.replace("{cure}", compiler.CURE))
    first = settled(tmp_path, erring, **{"gcc.cxxflags": "-march=x86-64"})
    assert first == compiler.Compiler(f"-march=x86-64 {compiler.CURE}", cured=True)
    calls = (tmp_path / "erring-g++.calls").read_text()
    assert settled(tmp_path, erring, **{"gcc.cxxflags": "-march=x86-64"}) == first
    assert (tmp_path / "erring-g++.calls").read_text() == calls
    os.utime(erring, (1, 1))  # another compiler
    settled(tmp_path, erring, **{"gcc.cxxflags": "-march=x86-64"})
    assert (tmp_path / "erring-g++.calls").read_text() != calls


def test_a_compiler_that_does_not_err_gets_no_flag(tmp_path):
    # Without vector instructions beyond SSE2, no g++ has the fault.
    right = settled(tmp_path, shutil.which("g++"), **{"gcc.cxxflags": "-mno-avx -O1"})
    assert right == compiler.Compiler("-mno-avx -O1", cured=False)


def test_clang_is_told_to_take_what_theano_writes(tmp_path):
    clang = script(
        tmp_path / "clang++", '#!/bin/sh\necho >>"$0.calls"\nexec g++ -D__clang__ "$@"\n'
    )
    for _ in range(2):  # the second time from what is kept
        assert settled(tmp_path, clang, **{"gcc.cxxflags": "-mno-avx -O1"}) == compiler.Compiler(
            f"-mno-avx -O1 {compiler.LENIENT}", cured=False
        )
    assert (tmp_path / "clang++.calls").read_text() == "\n"


CLANG = next(filter(shutil.which, ["clang++", *(f"clang++-{n}" for n in range(11, 30))]), None)


@pytest.mark.skipif(CLANG is None, reason="there is no clang++")
def test_clang_compiles_theanos_loops(tmp_path):
    code = (
        "import pixelvae.lib, theano, theano.tensor as T; x = T.tensor4(); y = T.tensor4(); "
        "print(theano.function([x, y], T.exp(x) * y.dimshuffle(0, 1, 3, 2))([[[[0]]]], [[[[2]]]]))"
    )
    assert output(code, THEANO_FLAGS=f"cxx={CLANG},base_compiledir={tmp_path}") == "[[[[2.]]]]"


def test_a_compiler_without_a_cure_is_refused(tmp_path):
    erring = script(tmp_path / "erring-g++", ERRING.replace("{cure}", "no-such-flag"))
    with pytest.raises(UserError, match="miscompiles a correct program"):
        settled(tmp_path, erring)


def test_the_cure_reaches_theano_and_our_operations_whatever_the_user_asked_for(tmp_path):
    erring = script(tmp_path / "erring-g++", ERRING.replace("{cure}", compiler.CURE))
    code = (
        "import pixelvae.lib, theano; from pixelvae.machine.backend.preparation import prepare; "
        "print(theano.config.gcc.cxxflags, prepare().compiler.cured)"
    )
    flags = f"cxx={erring},base_compiledir={tmp_path},gcc.cxxflags=-march=x86-64"
    assert output(code, THEANO_FLAGS=flags) == f"-march=x86-64 {compiler.CURE} True"
    report = run("-m", "pixelvae.machine", THEANO_FLAGS=flags).stdout
    assert f"-march=x86-64 {compiler.CURE} (cured of the fault in constant arrays)" in report


@pytest.mark.parametrize(
    ("said", "status", "message"),
    [
        ("probe.cpp:2:10: fatal error: Python.h: No such file or directory", 1, "install python3-dev"),
        ("probe.cpp:5:10: fatal error: cstdio: No such file or directory", 1, "the header cstdio is missing"),
        ("fatal error: error writing to /tmp/x.s: No space left on device", 1, "free some space"),
        ("g++: fatal error: cannot execute 'cc1plus': execvp: No such file", 1, "not fully installed"),
        ("g++: internal compiler error: Segmentation fault signal", 4, "it crashed"),
        ("something else\nin two lines", 3, "fails (status 3): something else"),
    ],
)  # fmt: skip
def test_a_compiler_that_fails_is_explained_in_one_line(tmp_path, said, status, message):
    failing = script(tmp_path / "g++", f"#!/bin/sh\ncat >&2 <<'EOF'\n{said}\nEOF\nexit {status}\n")
    with pytest.raises(UserError, match=re.escape(message)) as caught:
        settled(tmp_path, failing)
    assert str(caught.value).startswith(f"{failing} fails") and "\n" not in str(caught.value)


# Passes the trial, and fails at what Theano compiles.
LATER = """#!/bin/sh
case "$*" in *mod.cpp*) {fail} ;; esac
exec g++ "$@"
"""
COMMAND = (
    "import sys, pixelvae.lib; from pixelvae.machine.console.command import main\n"
    "def run():\n    import theano, theano.tensor as T; x = T.fmatrix()\n"
    "    theano.function([x], T.exp(x) + T.ones((2, 2)) * 2)\n"
    "sys.exit(main(run))"
)


@pytest.mark.parametrize(
    ("fail", "message"),
    [
        ("echo 'x.s: No space left on device' >&2; exit 1", "the disk is full"),
        ("kill -9 $$", "was killed"),
        ("echo 'mod.cpp:1: fatal error: numpy/arrayobject.h: No such file' >&2; exit 1", "is missing"),
    ],
)  # fmt: skip
def test_a_compiler_that_fails_later_ends_in_one_line(tmp_path, fail, message):
    failing = script(tmp_path / "later-g++", LATER.replace("{fail}", fail))
    line = refusal(COMMAND, THEANO_FLAGS=f"cxx={failing},base_compiledir={tmp_path}/cache")
    assert message in line


def test_errors_in_our_own_code_keep_their_traceback(tmp_path):
    fail = "echo \"mod.cpp:7:1: error: 'x' was not declared\" >&2; exit 1"
    failing = script(tmp_path / "later-g++", LATER.replace("{fail}", fail))
    result = run("-c", COMMAND, THEANO_FLAGS=f"cxx={failing},base_compiledir={tmp_path}/cache")
    assert "was not declared" in result.stderr and result.returncode != 0


def test_libraries_that_are_no_longer_there_are_named(tmp_path):
    """What was linked is found, loaded and missing: the first start's trial is over by then."""
    source = tmp_path / "extra.c"
    source.write_text("int extra(void) { return 1; }")
    library = tmp_path / "libextra.so"
    subprocess.run(["g++", "-shared", "-fPIC", str(source), "-o", str(library)], check=True)
    ldflags = f"-L{tmp_path} -Wl,-rpath,{tmp_path} -lextra"
    flags = f"base_compiledir={tmp_path}/cache,blas.ldflags='{ldflags}'"
    assert run("-c", "import pixelvae.lib", THEANO_FLAGS=flags).returncode == 0
    library.unlink()
    code = COMMAND.replace("T.exp(x) + T.ones((2, 2)) * 2", "T.dot(x, x)")
    *_, line = run("-c", code, THEANO_FLAGS=flags).stderr.splitlines()  # Theano itself warns, too
    assert line.startswith("error: ") and "the library extra cannot be linked" in line


# Operations without properties, with their C code in a file, and of this project, in one small graph.
COUNT = """
import pixelvae.lib, theano, theano.tensor as T
from pixelvae.lib.ops.gate import gate
from theano.gof.cmodule import GCC_compiler
compile_str, names = GCC_compiler.compile_str, []
def counting(*arguments, **options):
    names.append(options.get("module_name"))
    return compile_str(*arguments, **options)
GCC_compiler.compile_str = staticmethod(counting)
theano.config.optimizer = "fast_compile"
y, c = T.ftensor4(), T.fmatrix()
theano.function([y, c], [T.grad(gate(y, c).sum(), y), T.alloc(c[0, 0], y.shape[0], 2), c.dimshuffle(1, "x", 0)])
print(len(names))
"""


def test_what_was_compiled_is_found_again_by_the_next_process(tmp_path):
    flags = f"base_compiledir={tmp_path},gcc.cxxflags=-O0"
    assert int(output(COUNT, THEANO_FLAGS=flags, PYTHONHASHSEED="1")) > 5
    assert output(COUNT, THEANO_FLAGS=flags, PYTHONHASHSEED="2") == "0"


def test_modules_load_into_interpreters_that_have_no_libpython(tmp_path):
    code = "import pixelvae.lib, theano, theano.tensor as T; x = T.vector(); theano.function([x], x + 1)([1])"
    flags = f"base_compiledir={tmp_path},gcc.cxxflags=-O0"
    assert output(code, THEANO_FLAGS=flags) == ""
    modules = list(tmp_path.rglob("*.so"))
    assert modules
    for module in modules:
        assert b"libpython" not in module.read_bytes(), module
