"""Every repair that lets Theano 1.0.5, Lasagne 0.1 and Fuel 0.2.0 run on current Pythons.

All of them are made before the first import of those packages, or in the course of it, and none imports them.
"""

from __future__ import annotations

import collections
import collections.abc
import os
import sys
import tempfile
import types
import warnings
from collections.abc import Callable
from functools import lru_cache
from typing import Any, NoReturn

from pixelvae.machine.backend import ahead, cache, compiler, fuelrc, graphs, imports
from pixelvae.machine.backend.environment import changed
from pixelvae.machine.errors import UserError


@lru_cache(maxsize=None)
def repair() -> None:
    """Make all repairs; a second call changes nothing.

    Raises UserError if Fuel's settings cannot be read.
    """
    fuelrc.repair()
    _restore_collections()
    _restore_downsample()
    _silence()
    imports.wrap("theano", _end_in_one_line)
    imports.wrap("fuel", _end_in_one_line)
    imports.wrap("theano.configparser", _escape_percent_signs)
    imports.wrap("theano.configdefaults", _find_a_home)
    imports.wrap("theano.tensor.io", _leave_mpi_alone)
    cache.repair()
    compiler.repair()
    ahead.repair()
    graphs.repair()


def end(error: Exception | str) -> NoReturn:
    """Say what is wrong and end the process: without Theano nothing can work, and no command line may be there yet."""
    print(" ".join(str(error).split()), file=sys.stderr)
    raise SystemExit(2)


def _end_in_one_line(module: types.ModuleType, run: Callable[[], None]) -> None:
    """Import a package whose version is pinned: if that fails, the settings or the installation are to blame."""
    name = module.__name__
    try:
        if name not in _refused:  # the second import of one that is half there says something else
            run()
    except UserError as error:
        _refused[name] = str(error)
    except Exception as error:
        reason = str(error) or type(error).__name__
        _refused[name] = f"{name} cannot be imported with these settings: {reason}"
    if name in _refused:
        end(_refused[name])


_refused: dict[str, str] = {}


def _escape_percent_signs(module: types.ModuleType, run: Callable[[], None]) -> None:
    """Theano offers these variables to its settings files, whose reader takes a "%" for the start of a name."""
    names = ("USER", "LSCRATCH", "TMPDIR", "TEMP", "TMP")
    offered = {name: os.environ[name] for name in names if name in os.environ}
    offered.setdefault("USER", os.path.basename(os.path.expanduser("~")))  # as Theano does
    with changed(**{name: value.replace("%", "%%") for name, value in offered.items()}):
        run()


def _find_a_home(module: types.ModuleType, run: Callable[[], None]) -> None:
    """Theano asks for a home even if its compiled code is kept elsewhere."""
    home = os.path.expanduser("~")
    with changed(HOME=home if os.path.isabs(home) else tempfile.gettempdir()):
        run()


def _leave_mpi_alone(module: types.ModuleType, run: Callable[[], None]) -> None:
    """Theano starts MPI, threads and all, wherever mpi4py is installed; here only ranks do."""
    imported = sys.modules.pop("mpi4py", None)
    sys.modules["mpi4py"] = None  # type: ignore[assignment]
    try:
        run()
    finally:
        del sys.modules["mpi4py"]
        if imported:
            sys.modules["mpi4py"] = imported


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
