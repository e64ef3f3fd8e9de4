"""The way of a training: which of the project's files and classes are passed up to the end of its first step.

``python tests/way.py train --data digits …`` prints them as JSON. What importing passes is not counted: the way begins
with the command line.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
import threading
from pathlib import Path
from types import FrameType
from typing import Any

from pixelvae.experiments.command_line import main
from pixelvae.experiments.mnist_pixelvae import EXPERIMENT
from pixelvae.lib.training.step import TrainingStep

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = tuple(
    f"{ROOT / name}{os.sep}" for name in ("experiments", "models", "datasets", "lib", "machine")
)
IN_A_FUNCTION = 2  # CO_NEWLOCALS, which the bodies of modules and classes are without


class Arrived(BaseException):
    """The first step has been taken."""


def walk(arguments: list[str]) -> dict[str, list[str]]:
    """The files and the classes whose functions are called."""
    files: set[str] = set()
    classes: set[str] = set()
    seen: set[tuple[int, type]] = set()

    def pass_by(frame: FrameType, event: str, value: Any) -> None:
        code = frame.f_code
        if event == "return" and code is TrainingStep.__call__.__code__:
            sys.setprofile(None)
            raise Arrived
        if event != "call" or not code.co_flags & IN_A_FUNCTION:
            return
        first = frame.f_locals.get("self", frame.f_locals.get("cls"))
        kind = first if isinstance(first, type) else type(first)
        if (id(code), kind) in seen:
            return
        seen.add((id(code), kind))
        file = os.path.realpath(code.co_filename)
        if file.startswith(PACKAGES):
            files.add(os.path.relpath(file, ROOT))
            classes.update(
                f"{base.__module__}.{base.__qualname__}"
                for base in kind.__mro__
                if base.__module__.startswith("pixelvae.")
                and any(code_of(member) is code for member in vars(base).values())
            )

    threading.setprofile(pass_by)
    sys.setprofile(pass_by)
    with contextlib.suppress(Arrived):
        status = main(EXPERIMENT, arguments)
        raise SystemExit(f"no step was taken: status {status}")
    return {"files": sorted(files), "classes": sorted(classes)}


def code_of(member: Any) -> Any:
    """Of a method or a property."""
    function = getattr(member, "fget", getattr(member, "__func__", member))
    return getattr(function, "__code__", None)


if __name__ == "__main__":
    with contextlib.redirect_stdout(io.StringIO()):
        way = walk(sys.argv[1:])
    print(json.dumps(way, indent=1))
