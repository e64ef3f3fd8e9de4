"""Programs on several ranks, started by mpiexec; tests that use it are skipped where there is none."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import textwrap
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MPIEXEC = shutil.which("mpiexec", path=f"{Path(sys.executable).parent}{os.pathsep}{os.defpath}")

# In float64 rounding is far below what a mistake would change. Nothing is compiled.
FLOAT64 = {"THEANO_FLAGS": "floatX=float64,linker=py,optimizer=fast_compile"}

needs_mpi = pytest.mark.skipif(
    MPIEXEC is None or find_spec("mpi4py") is None, reason="there is no MPI here: make mpi"
)


def command(ranks: int, *words) -> list[str]:
    """The command line of Python with ``words`` on several ranks; without MPI for one."""
    launcher = [str(MPIEXEC), "-n", str(ranks)] if ranks > 1 else []
    return [*launcher, sys.executable, *map(str, words)]


def environment(**variables: str) -> dict[str, str]:
    """This process's, one thread for each rank unless told otherwise, and ``variables``."""
    return {**os.environ, "PIXELVAE_THREADS": "1", "PYTHONPATH": str(ROOT / "tests"), **variables}


def run(ranks: int, program: str, *words, **variables: str) -> subprocess.CompletedProcess:
    """Runs a program's text on several ranks, with the world as ``w``."""
    text = (
        "import os, sys, time\nfrom pixelvae.machine.parallel.world import join, world\n"
        "join()\nw = world()\n"
    )
    return subprocess.run(
        command(ranks, "-c", text + textwrap.dedent(program), *words),
        cwd=ROOT, env=environment(**variables), capture_output=True, text=True, timeout=300,
    )  # fmt: skip
