"""Where data are looked for and kept, and which files there are ignored."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from pixelvae.machine.errors import UserError
from pixelvae.machine.files.atomic import user_errors

_ROOT = Path(__file__).resolve().parent.parent
#: `data/` of the clone, or of the current folder where the package is installed.
_DATA = (_ROOT if (_ROOT / "pyproject.toml").exists() else Path()) / "data"
# Left by other systems beside what they store, in lower case; so is whatever begins with a point.
_COMPANIONS = {
    "thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "__macosx", "@eadir", "lost+found",
    "$recycle.bin", "system volume information",
}  # fmt: skip


def source_folder(name: str) -> Path:
    """Where the sources of a data set are looked for: `$PIXELVAE_DATA/NAME`, or `data/NAME`."""
    root = os.environ.get("PIXELVAE_DATA")
    if root and not is_directory(_expanded(root)):
        raise UserError(
            f"PIXELVAE_DATA names {root}, which is not a directory: correct or unset it"
        )
    return (_expanded(root) if root else _DATA) / name


def converted_folder() -> Path:
    """Where converted files are kept: the first folder of `$FUEL_DATA_PATH`, or `data/fuel`.

    `lib` sets that variable if Fuel's own settings (`~/.fuelrc`) have a `data_path`.
    """
    first = os.environ.get("FUEL_DATA_PATH", "").split(os.pathsep)[0]
    return _expanded(first) if first else _DATA / "fuel"


def download_folder(name: str) -> Path:
    """Where downloads go: beside the converted files, for `$PIXELVAE_DATA` may be read-only."""
    return converted_folder() / "downloads" / name


def entries(folder: Path) -> list[str]:
    """Names of what a folder holds, without companions; none if it is not there."""
    with user_errors(f"cannot read the folder {folder}"):
        try:
            return [name for name in os.listdir(folder) if not is_companion(name)]
        except FileNotFoundError:
            return []


def is_companion(name: str) -> bool:
    """Whether a path is of what systems leave beside data: hidden, a thumbnail, a resource fork."""
    # Not by pathlib, which interns every part: CPython 3.12 never forgets what is interned.
    return any(
        part.startswith(".") and part not in (".", "..") or part.lower() in _COMPANIONS
        for part in name.split("/")
    )


def exists(path: Path) -> bool:
    """Whether something is at a path; UserError if that is unknown, as on a broken mount."""
    return _mode(path) is not None


def is_directory(path: Path) -> bool:
    """Whether a directory is at a path; UserError if that is unknown."""
    mode = _mode(path)
    return mode is not None and stat.S_ISDIR(mode)


def _mode(path: Path) -> int | None:
    with user_errors(f"cannot look at {path}"):
        try:
            return os.stat(path).st_mode
        except (FileNotFoundError, NotADirectoryError):
            return None


def _expanded(path: str) -> Path:
    return Path(os.path.expanduser(path))  # which leaves "~" alone for a user without a home
