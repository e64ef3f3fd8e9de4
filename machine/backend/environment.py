"""What this process puts into its environment, and what the user had there.

Theano reads its settings from the environment, g++ its paths, CUDA its switches, so that is where
they have to be put. But children inherit them, and would take them for the user's: a note of all
changes goes along, by which a child of this project takes them back before it makes its own.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Optional

NOTE = "PIXELVAE_CHANGED"  #: a JSON object: for each variable what the user gave and what stands there now


def change(name: str, value: Optional[str]) -> None:
    """Sets a variable, or with None removes it, and notes what was there before."""
    changes = _changes()
    before = changes[name][0] if name in changes else os.environ.get(name)
    changes[name] = [before, value]
    _set(name, value)
    os.environ[NOTE] = json.dumps(changes)


def given(name: str) -> Optional[str]:
    """What the user gave a variable, whatever stands there now."""
    return _changes().get(name, [os.environ.get(name)])[0]


def add_to_path(name: str, *folders: object) -> None:
    """Puts folders in front of those that a variable names."""
    before = [f for f in os.environ.get(name, "").split(os.pathsep) if f]
    ours = [str(f) for f in folders]
    change(name, os.pathsep.join([*ours, *(f for f in before if f not in ours)]))


def add_headers(*folders: object) -> None:
    """Puts folders in front of those in which g++ looks for C++'s headers.

    Not the system's own, where it looks in any case: in front of the C++ library's it would hide
    C's headers from them.
    """
    add_to_path(
        "CPLUS_INCLUDE_PATH", *(f for f in folders if os.path.realpath(str(f)) != "/usr/include")
    )


def take_back() -> None:
    """Gives every noted variable what the user gave it.

    What was set or appended since then stays.
    """
    for name, (before, ours) in _changes().items():
        now = os.environ.get(name)
        if now == ours:
            _set(name, before)
        elif now and ours and now.startswith(f"{ours},"):
            _set(name, f"{before},{now[len(ours) + 1 :]}" if before else now[len(ours) + 1 :])
    os.environ.pop(NOTE, None)


@contextmanager
def undone_on_error() -> Iterator[None]:
    """The changes made inside last only if it comes to its end."""
    before = dict(os.environ)
    try:
        yield
    except BaseException:
        os.environ.clear()
        os.environ.update(before)
        raise


@contextmanager
def changed(**variables: str) -> Iterator[None]:
    """Set these variables, and put them back in the end."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            _set(name, value)


def _changes() -> dict[str, list[Optional[str]]]:
    try:
        return dict(json.loads(os.environ.get(NOTE) or "{}"))
    except ValueError:  # not ours
        return {}


def _set(name: str, value: Optional[str]) -> None:
    if value is None:
        os.environ.pop(name, None)
    else:
        os.environ[name] = value
