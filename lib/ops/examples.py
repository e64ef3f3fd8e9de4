"""Small examples of the operations, for what goes through all of them: tests, and comparisons of devices.

An operation's module registers its own; :func:`examples` has those of every module in lib/ops.
"""

from __future__ import annotations

import importlib
import pkgutil
from typing import Callable, NamedTuple

import numpy as np
import theano.tensor as T

MAPS = (4, 3, 9, 8)  # N, C, H, W of most examples


class Example(NamedTuple):
    """A function of variables, which gives one or a list, the first of them differentiable."""

    function: Callable
    shapes: tuple[tuple[int, ...], ...]  #: of the arguments


_EXAMPLES: dict[str, Example] = {}


def example(name: str, function: Callable, *shapes: tuple[int, ...]) -> None:
    """Register an example."""
    _EXAMPLES[name] = Example(function, shapes)


def examples() -> dict[str, Example]:
    """All examples by name."""
    package = importlib.import_module("pixelvae.lib.ops")
    for module in pkgutil.iter_modules(package.__path__):
        # What stands for operations on a GPU needs one to be imported.
        if not module.name.startswith("_"):
            importlib.import_module(f"pixelvae.lib.ops.{module.name}")
    return dict(_EXAMPLES)


def pixels(levels: int):
    """Images (N, C, H, W) of whole numbers from 0 to levels − 1."""
    return T.constant(np.random.RandomState(1).randint(0, levels, MAPS).astype("float32"))
