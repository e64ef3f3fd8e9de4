"""Runs the notebooks from top to bottom and keeps their outputs: ``make tour``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

from pixelvae.machine.files.atomic import atomic_write

NOTEBOOKS = sorted(Path(__file__).parent.glob("*.ipynb"))


def execute(notebook: Any, timeout_s: int = 600) -> Any:
    """The notebook with the outputs of a run in a fresh kernel, in place.

    Progress on standard error and the times of a run are left out. Raises nbclient's
    CellExecutionError if a cell fails, CellTimeoutError if it takes longer.
    """
    NotebookClient(notebook, timeout=timeout_s, kernel_name="python3").execute()
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":
            cell.outputs = [out for out in cell.outputs if out.get("name") != "stderr"]
    return notebook


def main() -> int:
    """Executes all notebooks and writes each in its place."""
    for path in NOTEBOOKS:
        notebook = execute(nbformat.read(path, as_version=4))
        with atomic_write(path) as file:
            file.write(nbformat.writes(notebook).encode() + b"\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
