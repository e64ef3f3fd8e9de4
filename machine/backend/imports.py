"""Repairs of other packages' modules, made at the moment of their import."""

from __future__ import annotations

import sys
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any, Callable

#: Runs a module's code by calling its second argument, and repairs what came of it or what was raised.
Wrapper = Callable[[ModuleType, Callable[[], None]], None]

_wrappers: dict[str, Wrapper] = {}


def wrap(name: str, wrapper: Wrapper) -> None:
    """Let ``wrapper`` run the code of the module of that name when it is imported, around those that came before."""
    if _finder not in sys.meta_path:
        sys.meta_path.insert(0, _finder)
    inner = _wrappers.get(name)
    if inner is None:
        _wrappers[name] = wrapper
    else:
        _wrappers[name] = lambda module, run: wrapper(module, lambda: inner(module, run))


def after(name: str, repair: Callable[[ModuleType], None]) -> None:
    """Call ``repair`` with the module of that name as soon as its code has run."""

    def run_and_repair(module: ModuleType, run: Callable[[], None]) -> None:
        run()
        repair(module)

    wrap(name, run_and_repair)


class _Finder(MetaPathFinder):
    """Finds the modules that have a wrapper where they lie, and puts the wrapper around their loaders."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        wrapper = _wrappers.get(name)
        spec = PathFinder.find_spec(name, path, target) if wrapper else None
        if wrapper and spec and spec.loader:
            execute = spec.loader.exec_module

            def wrapped(module: ModuleType) -> None:
                wrapper(module, lambda: execute(module))

            spec.loader.exec_module = wrapped  # type: ignore[method-assign]
        return spec


_finder = _Finder()
