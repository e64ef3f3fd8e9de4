"""What all experiments do with the weights they are given: a run's folder, or a weights file."""

from __future__ import annotations

from pathlib import Path

from lib.checkpoint import load_arrays
from lib.errors import UserError


def load_weights(path: str) -> tuple[dict, dict]:
    """Arrays and header of ``path``: a run's folder (its best.npz) or a weights file.

    Raises UserError where there are none, or the file is damaged.
    """
    file = Path(path)
    if file.is_dir():
        file = file / "best.npz"
        if not file.exists():
            raise UserError(f"{path} holds no best.npz yet: train first, to the first evaluation")
    return load_arrays(file, kind="weights")


def beside(path: str, name: str) -> Path:
    """Where a picture goes by default: into the run's folder, or the folder of the weights file."""
    folder = Path(path)
    return (folder if folder.is_dir() else folder.parent) / name
