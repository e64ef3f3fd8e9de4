"""The C++ compiler: tried before its first use, cured of a fault it may have, errors in one line.

The trial costs a second at the first start; its result is kept beside the compiled code.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import subprocess
import sysconfig
import tempfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from shutil import which
from typing import NamedTuple, Optional

from pixelvae.machine.backend import flags
from pixelvae.machine.backend.environment import changed
from pixelvae.machine.errors import UserError

#: g++ 12 with AVX-512 sets an element of such an array that is 0 to 1, from -O2 on.
_PROBE = """
#if !__has_include(<Python.h>)
#error Python.h: No such file
#elif !__has_include(<numpy/arrayobject.h>)
#error numpy/arrayobject.h: No such file
#endif
#include <omp.h>
#include <cstdio>
#include <cstring>
__attribute__((noinline)) void fill(unsigned *out) {
  unsigned all[] = {1, 0, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0};
  memcpy(out, all, sizeof all);
}
int main() {
  unsigned out[14];
  fill(out);
  for (unsigned x : out) printf("%u", x);
#ifdef __clang__
  printf(" clang");
#endif
}
"""
_RIGHT = "10100000100010"
CURE = "-fno-tree-slp-vectorize"
#: Lets clang take Theano's C++, which puts long numbers into arrays of short ones; g++ does anyway.
LENIENT = "-Wno-c++11-narrowing"


class CompilerError(UserError):
    """The compiler, or what it needs, fails.

    The message stays what it is, whatever Theano adds to the arguments.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self._message = message

    def __str__(self) -> str:
        return self._message


class Compiler(NamedTuple):
    """The C++ compiler as it is used."""

    flags: str  #: Theano's ``gcc.cxxflags``
    cured: bool  #: whether :data:`CURE` is among them because the compiler errs without it


def settle(given: Mapping[str, str], folder: str) -> Compiler:
    """Try the compiler out, or read what came of it before.

    Parameters
    ----------
    given
        The user's settings of Theano: ``cxx``, ``gcc.cxxflags`` and ``blas.ldflags`` are those that
        count here.
    folder
        Theano's ``base_compiledir``, where the result is kept.

    Raises
    ------
    UserError
        There is no compiler, or it cannot compile, link or run what Theano compiles, or it errs
        without a cure.
    """
    wanted = given.get("cxx", "g++")
    chosen = given.get("gcc.cxxflags", "-march=native")
    if "-fopenmp" in chosen.split():
        raise UserError(
            "leave -fopenmp out of Theano's flag gcc.cxxflags: openmp=True stands for it"
        )
    if not wanted:
        return Compiler(chosen, cured=False)  # the user wants none: Theano computes in Python
    path = which(wanted)
    if path is None:
        if "cxx" in given:
            raise UserError(f"the C++ compiler cxx={wanted} of Theano's flags is not there")
        raise UserError(
            "There is no C++ compiler, without which Theano is far too slow: "
            "install g++ (on Debian: apt-get install g++)."
        )
    libraries = given.get("blas.ldflags", "")
    known = Path(folder, f"compiler_{_key(path, chosen, libraries):08x}")
    with contextlib.suppress(OSError, UnicodeDecodeError):
        text = known.read_text(encoding="utf-8")
        if text == "right" or text and {*text.split()} <= {CURE, LENIENT}:
            return _compiler(chosen, text)
    with _workplace(folder) as place:
        needed = _needed(path, chosen, libraries, place) or "right"
        with contextlib.suppress(OSError):  # it is found again at the next start
            new = Path(place, "result")
            new.write_text(needed, encoding="utf-8")
            new.replace(known)
    return _compiler(chosen, needed)


def _compiler(chosen: str, needed: str) -> Compiler:
    added = [] if needed == "right" else needed.split()
    return Compiler(" ".join(filter(None, [chosen, *added])), CURE in added)


def _key(path: str, chosen: str, libraries: str) -> int:
    """A key of the compiler, the processor, Python, NumPy, the source and the flags."""
    real = os.path.realpath(path)
    status = os.stat(real)
    parts = (_PROBE, real, status.st_mtime_ns, status.st_size, chosen, libraries, _includes())
    return zlib.crc32(repr((*parts, flags.compiledir_format())).encode())


def _includes() -> list[str]:
    import numpy

    return [f"-I{sysconfig.get_path('include')}", f"-I{numpy.get_include()}"]


@contextlib.contextmanager
def _workplace(folder: str) -> Iterator[str]:
    try:
        os.makedirs(folder, mode=0o700, exist_ok=True)
        place = tempfile.TemporaryDirectory(prefix="compiler_", dir=folder)
    except OSError as error:
        raise UserError(
            f"nothing can be compiled in {folder}: {error.strerror} (THEANO_FLAGS=base_compiledir=FOLDER names another)"
        ) from None
    with place:
        yield place.name


def _needed(path: str, chosen: str, libraries: str, place: str) -> str:
    """The flags that the compiler needs beside the chosen ones."""
    for cure in ("", CURE):
        printed = _run(path, f"{chosen} {cure}", libraries, place)
        if printed.startswith(_RIGHT):
            return " ".join(filter(None, [cure, LENIENT if printed.endswith("clang") else ""]))
    raise UserError(f"{path} miscompiles a correct program: use another C++ compiler")


def _run(path: str, chosen: str, libraries: str, place: str) -> str:
    """What the probe prints."""
    source, program = os.path.join(place, "probe.cpp"), os.path.join(place, "probe")
    try:
        Path(source).write_text(_PROBE, encoding="utf-8")
        command = [path, "-O3", *chosen.split(), "-fopenmp", *_includes(), source, "-o", program]
        done = _call([*command, *_split(libraries)])
        if done.returncode:
            raise UserError(explain(path, done.returncode, done.stderr))
        if not os.path.exists(program):
            raise UserError(f"{path} is not a C++ compiler: it makes no program")
        done = _call([program])
    except OSError as error:
        raise UserError(f"{path} cannot be used in {place}: {error.strerror}") from None
    if done.returncode:
        raise UserError(
            f"what {path} compiles does not run here: {_first(done.stderr) or _status(done.returncode)}"
        )
    return done.stdout


def _split(text: str) -> list[str]:
    try:
        words = shlex.split(text)
    except ValueError:
        raise UserError(f"Theano's flag blas.ldflags has an open quote: {text}") from None
    if not all(re.match("-.", word) for word in words):
        raise UserError(f"Theano's flag blas.ldflags must be flags like -lopenblas, not {text!r}")
    return words


def _call(command: list[str]) -> subprocess.CompletedProcess[str]:
    with changed(LC_ALL="C"):  # the language that :data:`_REMEDIES` understand
        return subprocess.run(command, capture_output=True, text=True, errors="replace")


def _status(status: int) -> str:
    return f"signal {-status}" if status < 0 else f"status {status}"


def _first(text: str) -> str:
    return next((line.strip() for line in text.splitlines() if line.strip()), "")


#: What a compiler says where the machine is at fault, and what helps; the first that fits counts.
_REMEDIES = (
    (r"cannot find -?l?(\S+)", "the library {0} cannot be linked: leave it out of Theano's flag blas.ldflags"),
    (r"No space left on device|Disk quota exceeded", "the disk is full: free some space"),
    (r"error:? (Python\.h|pyconfig\.h)", "Python's headers are missing: on Debian, apt-get install python3-dev"),
    (r"error:? (\S+): No such file", "the header {0} is missing: reinstall the compiler's libraries"),
    (r"cannot execute|error trying to exec", "it is not fully installed: reinstall it"),
    (r"internal compiler error|Killed signal", "it crashed, maybe for want of memory"),
    (
        r"bad value|unrecognized .*option|unknown value",
        "it does not know a flag of Theano's gcc.cxxflags or blas.ldflags",
    ),
    (r"Permission denied|Read-only file system", "its files cannot be written"),
    (r"undefined reference|ld returned|linker", "linking fails"),
)  # fmt: skip


def explain(compiler: str, status: int, said: str) -> str:
    """One line about a compiler that failed with that status and output."""
    return environments_fault(compiler, said) or (
        f"{compiler} fails ({_status(status)}): {shortened(_first(said)) or 'without a message'}"
    )


def environments_fault(compiler: str, said: str) -> Optional[str]:
    """One line where the machine or its settings are at fault, None where the compiled text is."""
    for pattern, remedy in _REMEDIES:
        found = re.search(pattern, said)
        if found:
            line = next(line for line in said.splitlines() if found.group() in line)
            cause = remedy.format(*[group.rstrip(":") for group in found.groups()])
            return f"{compiler} fails: {cause} ({shortened(line.strip())})"
    return None


def shortened(text: str) -> str:
    """At most 200 characters of it."""
    return text if len(text) <= 200 else f"{text[:200]}..."
