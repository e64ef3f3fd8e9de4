"""Every repair that lets Theano 1.0.5, Lasagne 0.1 and Fuel 0.2.0 run on current Pythons.

All of them are made before the first import of those packages, and none imports them.
"""

from __future__ import annotations

import collections
import collections.abc
import sys
import types
import warnings
from typing import Any


def repair() -> None:
    """Make all repairs; a second call changes nothing."""
    _restore_collections()
    _restore_downsample()
    _silence()


def _restore_collections() -> None:
    """Fuel and picklable_itertools look for the abstract classes where they lay before 3.10."""
    for name in collections.abc.__all__:
        vars(collections).setdefault(name, getattr(collections.abc, name))


def _restore_downsample() -> None:
    """Lasagne imports ``theano.tensor.signal.downsample``, which Theano renamed to ``pool``."""
    module = types.ModuleType("theano.tensor.signal.downsample", "Stands in for the old name.")
    module.max_pool_2d = _max_pool_2d  # type: ignore[attr-defined]
    sys.modules.setdefault(module.__name__, module)


def _max_pool_2d(
    input: Any,
    ds: Any,
    ignore_border: Any = None,
    st: Any = None,
    padding: Any = (0, 0),
    mode: str = "max",
) -> Any:
    from theano.tensor.signal.pool import pool_2d  # not at import time: Theano is slow to import

    return pool_2d(input, ds, ignore_border=ignore_border, stride=st, pad=padding, mode=mode)


def _silence() -> None:
    """Hide the warnings that only the authors of these packages could act on."""
    for category in (DeprecationWarning, FutureWarning, ResourceWarning):
        for package in ("theano", "lasagne", "fuel", "picklable_itertools", "pkg_resources"):
            warnings.filterwarnings("ignore", category=category, module=rf"{package}(\.|$)")
