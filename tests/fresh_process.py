"""This Python in a fresh process, as a user's shell would start it: settings count only before Theano's import."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
OURS = (
    "THEANO_FLAGS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "OPENBLAS_CORETYPE", "PIXELVAE_THREADS",
    "FUEL_DATA_PATH", "FUEL_CONFIG", "PIXELVAE_CHANGED",
)  # fmt: skip


def unmeasured() -> dict[str, str]:
    """The environment of a process whose coverage is not measured, for where its file would be in the way."""
    return {name: value for name, value in os.environ.items() if not name.startswith("COV_CORE_")}


def run(*arguments: str, cwd: Path = ROOT, **variables: str | None) -> subprocess.CompletedProcess:
    """Run this Python without what lib has set in this process; a variable that is None is unset."""
    # Coverage looks for the packages below the folder in which a process starts: others are not ours.
    inherited = os.environ if cwd == ROOT else unmeasured()
    environment: dict[str, str | None] = {n: v for n, v in inherited.items() if n not in OURS}
    environment.update(variables)
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env={name: value for name, value in environment.items() if value is not None},
        capture_output=True,
        text=True,
        errors="surrogateescape",
    )


def output(code: str, cwd: Path = ROOT, **variables: str | None) -> str:
    """What the code prints, which is all that is to be seen of it."""
    result = run("-c", code, cwd=cwd, **variables)
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    return result.stdout.strip()


def refusal(code: str, **variables: str | None) -> str:
    """The one line that the code ends in, with status 2."""
    result = run("-c", code, cwd=ROOT, **variables)
    assert result.returncode == 2, (result.stdout, result.stderr)
    assert result.stderr.count("\n") == 1, result.stderr
    return result.stderr
