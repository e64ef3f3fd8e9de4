"""What a run writes down about the machine and the software it was trained with."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

from pixelvae.machine.backend import device

_PACKAGES = ("numpy", "scipy", "Theano", "Lasagne", "fuel", "h5py", "pillow")


def environment_record() -> dict[str, Any]:
    """Versions, git commit (`+` if files differ from it), machine and device: for `config.json`."""
    versions = {"python": platform.python_version()}
    for package in _PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[package.lower()] = importlib.metadata.version(package)
    return {
        "versions": versions,
        "git_commit": _git_commit(),
        "platform": platform.platform(),
        "cpu_count": os.cpu_count(),
        **device.record(),
    }


def _git_commit() -> str | None:
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():  # else git would name the commit of a checkout around it
        return None
    command = ["git", "describe", "--always", "--abbrev=40", "--exclude=*", "--dirty=+"]
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        return subprocess.run(
            command, cwd=root, check=True, capture_output=True, text=True, timeout=10
        ).stdout.strip()
    return None
