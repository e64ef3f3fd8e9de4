"""The repairs that let Theano 1.0.5, Lasagne 0.1 and Fuel 0.2.0 run well on current Pythons.

They are made before the first import of those packages, or as soon as a module of theirs was
imported, and none imports them. The larger ones are :mod:`.cache`'s and :mod:`.compilation`'s;
those for NumPy 2 are :mod:`.numpy2`'s.
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
from importlib.machinery import ModuleSpec, PathFinder
from typing import Any, NoReturn

from pixelvae.machine.backend import cache, compilation, subnormals
from pixelvae.machine.backend.environment import changed
from pixelvae.machine.errors import UserError


@lru_cache(maxsize=None)
def repair() -> None:
    """Make all repairs; a second call changes nothing.

    Raises UserError if Fuel's settings cannot be read.
    """
    _restore_collections()
    _restore_downsample()
    wrap("theano", _end_in_one_line)
    wrap("fuel", _end_in_one_line)
    wrap("fuel.config_parser", _with_settings_of_any_version(*_fuels_settings()))
    wrap("theano.configparser", _escape_percent_signs)
    wrap("theano.configdefaults", _find_a_home)
    wrap("theano.tensor.io", _leave_mpi_alone)
    if sys.version_info >= (3, 12):  # which have no older NumPy
        _repair_for_numpy_2()
    after("theano.gof.utils", cache.flatten_views)
    after("theano.gof.cc", cache.version_operations_without_properties)
    after("theano.gof.op", cache.hash_code_in_files)
    after("theano.gof.op", compilation.know_openmp)
    after("theano.gof.opt", compilation.let_errors_pass)
    after("theano.gof.compilelock", compilation.look_before_locking)
    after("theano.gof.cmodule", compilation.take_what_is_compiled)
    after("theano.gof.cmodule", compilation.link_without_libpython)
    after("theano.gof.vm", compilation.compile_ahead)
    after("theano.compile.function_module", cache.keep_optimised_graphs)
    after("theano.compile.function_module", subnormals.flush)


def _repair_for_numpy_2() -> None:
    from pixelvae.machine.backend import numpy2  # here, since others need none of it

    if "numpy" in sys.modules:
        numpy2.restore_names(sys.modules["numpy"])
    after("numpy", numpy2.restore_names)
    after("theano.gof.cmodule", numpy2.translate_c)
    after("theano.tensor.subtensor", numpy2.add_at_in_numpy)
    after("theano.scan_module.scan", numpy2.refuse_scan)
    wrap("theano.tests.breakpoint", numpy2.lend_imp)
    for module, edit in numpy2.EDITS.items():
        wrap(module, edit)


#: Runs a module's code by calling its second argument, and repairs what came of it or what was
#: raised.
Wrapper = Callable[[types.ModuleType, Callable[[], None]], None]

_wrappers: dict[str, Wrapper] = {}


def wrap(name: str, wrapper: Wrapper) -> None:
    """Let ``wrapper`` run the code of a module when it is imported, around earlier wrappers."""
    if _finder not in sys.meta_path:
        sys.meta_path.insert(0, _finder)
    inner = _wrappers.get(name)
    if inner is None:
        _wrappers[name] = wrapper
    else:
        _wrappers[name] = lambda module, run: wrapper(module, lambda: inner(module, run))


def after(name: str, repair: Callable[[types.ModuleType], None]) -> None:
    """Call ``repair`` with the module of that name as soon as its code has run."""

    def run_and_repair(module: types.ModuleType, run: Callable[[], None]) -> None:
        run()
        repair(module)

    wrap(name, run_and_repair)


def _find_spec(name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
    """Find a module that has a wrapper where it lies, and put the wrapper around its loader."""
    wrapper = _wrappers.get(name)
    spec = PathFinder.find_spec(name, path, target) if wrapper else None
    if wrapper and spec and spec.loader:
        execute = spec.loader.exec_module

        def wrapped(module: types.ModuleType) -> None:
            wrapper(module, lambda: execute(module))

        spec.loader.exec_module = wrapped  # type: ignore[method-assign]
    return spec


_finder: Any = types.SimpleNamespace(find_spec=_find_spec)


def refuse(error: UserError) -> NoReturn:
    """Raise the error; a program that does not handle it ends in one line, with status 2.

    There may be no command line yet that would see to that.
    """
    before = sys.excepthook

    def hook(kind: type[BaseException], problem: BaseException, trace: Any) -> None:
        if not isinstance(problem, UserError):
            before(kind, problem, trace)
            return
        print(" ".join(str(problem).split()), file=sys.stderr)
        raise SystemExit(2)

    sys.excepthook = hook
    raise error from None


def _end_in_one_line(module: types.ModuleType, run: Callable[[], None]) -> None:
    """Import a pinned package; if that fails, settings or installation are to blame."""
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
        refuse(UserError(_refused[name]))


_refused: dict[str, str] = {}


def _escape_percent_signs(module: types.ModuleType, run: Callable[[], None]) -> None:
    """Theano's reader of settings files, which may use these variables, takes "%" for a name."""
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


def _fuels_settings() -> tuple[str, dict[str, Any]]:
    """The file of Fuel's settings, ``~/.fuelrc`` or what ``FUEL_CONFIG`` names, and what it holds.

    Its ``data_path`` counts from now on.
    """
    path = os.environ.get("FUEL_CONFIG") or os.path.expanduser("~/.fuelrc")
    settings = _read(path) if os.path.isfile(path) else {}
    folders = settings.get("data_path")
    if isinstance(folders, list):
        folders = os.pathsep.join(map(str, folders))
    if isinstance(folders, str):
        os.environ.setdefault("FUEL_DATA_PATH", folders)
    elif folders is not None:
        raise UserError(f"{path}: data_path must be a folder or a list of folders, not {folders!r}")
    return path, settings


def _read(path: str) -> dict[str, Any]:
    import yaml  # here, since few have the file

    try:
        with open(path, encoding="utf-8") as file:
            settings = yaml.safe_load(file)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UserError(
            f"{path} is not a file of Fuel's settings: {' '.join(str(error).split())}"
        ) from None
    if settings is None:
        return {}
    if not isinstance(settings, dict):
        raise UserError(f"{path} is not a file of Fuel's settings, which are lines NAME: VALUE")
    return settings


def _with_settings_of_any_version(path: str, settings: dict[str, Any]) -> Wrapper:
    """Import ``fuel.config_parser`` without the file, then give it the settings that it knows.

    Fuel fails where the file is empty, or has a setting of another version of Fuel.
    """

    def load(module: types.ModuleType, run: Callable[[], None]) -> None:
        with changed(FUEL_CONFIG=os.devnull):  # which is not a file that Fuel would read
            run()
        known = module.config.config
        for name in known.keys() & settings.keys():
            try:
                known[name]["type"](settings[name])
            except (TypeError, ValueError):
                raise UserError(f"{path}: {name} cannot be {settings[name]!r}") from None
            known[name]["yaml"] = settings[name]

    return load


def _restore_collections() -> None:
    """Fuel and picklable_itertools look for the abstract classes where they lay before 3.10."""
    for name in collections.abc.__all__:
        vars(collections).setdefault(name, getattr(collections.abc, name))


def _restore_downsample() -> None:
    """Lasagne imports ``theano.tensor.signal.downsample``, which Theano renamed to ``pool``."""
    module = types.ModuleType("theano.tensor.signal.downsample", "Stands in for the old name.")
    module.max_pool_2d = _max_pool_2d  # type: ignore[attr-defined]
    sys.modules.setdefault(module.__name__, module)


def _max_pool_2d(input: Any, ds: Any, *, st: Any = None, padding: Any = (0, 0), **more: Any) -> Any:
    from theano.tensor.signal.pool import pool_2d  # not at import time: Theano is slow to import

    return pool_2d(input, ds, stride=st, pad=padding, **more)


def silence() -> None:
    """Hide what only the authors of these packages could act on, even with ``-W error``."""
    warnings.filterwarnings("ignore", "The distutils package is deprecated")
    # Two of them import it; the version of setuptools is pinned.
    warnings.filterwarnings("ignore", "pkg_resources is deprecated")
    for category in (DeprecationWarning, FutureWarning, ResourceWarning, SyntaxWarning):
        for package in ("theano", "lasagne", "fuel", "picklable_itertools", "pkg_resources"):
            # The compiler, which finds strange escapes, names the file and not the module.
            module = rf"(.*/)?{package}([./]|$)"
            warnings.filterwarnings("ignore", category=category, module=module)
