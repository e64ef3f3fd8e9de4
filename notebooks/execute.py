"""Runs the tour from top to bottom and keeps its outputs: ``make tour``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

from pixelvae.machine.files.atomic import atomic_write

TOUR = Path(__file__).with_name("tour.ipynb")


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
    """Executes the tour and writes it in its place."""
    notebook = execute(nbformat.read(TOUR, as_version=4))
    with atomic_write(TOUR) as file:
        file.write(nbformat.writes(notebook).encode() + b"\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
