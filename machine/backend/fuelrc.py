"""Fuel's settings, ``~/.fuelrc`` or the file that ``FUEL_CONFIG`` names.

Fuel fails where the file is empty, or has a setting of another version of Fuel.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from types import ModuleType
from typing import Any

from pixelvae.machine.backend import imports
from pixelvae.machine.backend.environment import changed
from pixelvae.machine.errors import UserError

_FILE, _DATA = "FUEL_CONFIG", "FUEL_DATA_PATH"


def repair() -> None:
    """Read the file in Fuel's place as soon as it is imported; its ``data_path`` counts from now on.

    Raises UserError if the file cannot be read, or is not one of settings.
    """
    path = os.environ.get(_FILE) or os.path.expanduser("~/.fuelrc")
    settings = _read(path) if os.path.isfile(path) else {}
    folders = settings.get("data_path")
    if isinstance(folders, list):
        folders = os.pathsep.join(map(str, folders))
    if isinstance(folders, str):
        os.environ.setdefault(_DATA, folders)
    elif folders is not None:
        raise UserError(f"{path}: data_path must be a folder or a list of folders, not {folders!r}")
    imports.wrap("fuel.config_parser", lambda module, run: _import(module, run, path, settings))


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


def _import(
    module: ModuleType, run: Callable[[], None], path: str, settings: dict[str, Any]
) -> None:
    """Import ``fuel.config_parser`` without the file, then give it the settings that it knows."""
    with changed(**{_FILE: os.devnull}):  # which is not a file that Fuel would read
        run()
    known = module.config.config
    for name in known.keys() & settings.keys():
        try:
            known[name]["type"](settings[name])
        except (TypeError, ValueError):
            raise UserError(f"{path}: {name} cannot be {settings[name]!r}") from None
        known[name]["yaml"] = settings[name]
