"""Saving while training: what cannot be written now is kept in memory and written with the next."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pixelvae.lib.runs.folder import Run
from pixelvae.machine.console.progress import say
from pixelvae.machine.errors import UserError

_NO_SCALARS = ("iteration", "split", "seconds")
Arrays = Mapping[str, np.ndarray]


class Saver:
    """All that a training reads from its run's folder and writes to it, in the right order.

    A full disk or a folder that is gone does not end a training: it is one line, everything stays
    in memory, and the next save writes it all. A checkpoint is written only after the rows and the
    weights from before it, so that none of them is ever missing.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        self._rows: list[
            dict[str, Any]
        ] = []  # all of them: a folder that was deleted is made again
        self._written = 0
        self._best: tuple[Arrays, Mapping[str, Any]] | None = None
        self._problem: UserError | None = None

    @property
    def folder(self) -> Path:
        """The run's folder."""
        return self._run.folder

    def load(self) -> tuple[dict[str, np.ndarray], dict[str, Any]] | None:
        """Arrays and header of the checkpoint to resume from; None in a new folder.

        Called first.
        """
        self._rows = self._run.read_metrics()
        self._written = len(self._rows)
        return self._run.load_checkpoint()

    def start(self, arrays: Arrays, header: Mapping[str, Any]) -> None:
        """The checkpoint before the first iteration. Raises UserError if it cannot be written."""
        self._run.save_checkpoint(arrays, header)

    def log(self, row: Mapping[str, Any]) -> None:
        """A row for `metrics.csv` and TensorBoard, with the next :meth:`checkpoint`."""
        self._rows.append(dict(row))

    def best(self, arrays: Arrays, header: Mapping[str, Any]) -> None:
        """Weights for `best.npz`, with the next :meth:`checkpoint`."""
        self._best = arrays, header

    def checkpoint(self, arrays: Arrays, header: Mapping[str, Any]) -> None:
        """Write all that waits, then the checkpoint; if that fails, say so."""
        try:
            self._run.check_folder()
            while self._written < len(self._rows):
                self._write(self._rows[self._written])
                self._written += 1
            if self._best is not None:
                self._run.save_best(*self._best)
                self._best = None
            self._run.save_checkpoint(arrays, header)
            self._problem = None
        except UserError as problem:
            self._failed(problem)

    def _write(self, row: Mapping[str, Any]) -> None:
        # TensorBoard first: a value that is written twice does no harm there. It draws NaN as a
        # value, so only what is finite goes there.
        values = {f"{row['split']}/{n}": v for n, v in row.items() if n not in _NO_SCALARS}
        finite = {n: v for n, v in values.items() if v is not None and math.isfinite(v)}
        self._run.scalars(row["iteration"], finite)
        self._run.log(row)

    def pictures(self, iteration: int, pictures: Mapping[str, bytes]) -> None:
        """Write PNG files by name for TensorBoard; if that fails, say so."""
        try:
            self._run.pictures(iteration, pictures)
        except UserError as problem:
            say(f"no pictures of iteration {iteration}: {problem}")

    def report(self, arrays: Arrays, header: Mapping[str, Any]) -> None:
        """Write the report of a step that was not finite; if that fails, say so."""
        try:
            self._run.save_report(arrays, header)
        except UserError as problem:
            say(f"no report of the trouble at iteration {header['iteration']}: {problem}")

    def folder_made_again(self, arrays: Arrays, header: Mapping[str, Any]) -> bool:
        """Make the folder again if it was deleted, with a checkpoint and all rows.

        True if it did; the best weights are gone with the old folder then.
        """
        if self._run.folder.exists():
            return False
        try:
            self._run.recreate()
            self._run.save_checkpoint(arrays, header)
        except UserError as problem:
            self._failed(problem)
            return False
        self._written = 0
        say(f"the folder {self._run.folder} was deleted; it is made again, without best.npz")
        return True

    def _failed(self, problem: UserError) -> None:
        self._problem = problem
        say(f"{problem}; training continues, and the next save tries again")

    def finish(self) -> None:
        """Raises UserError if the last save failed."""
        if self._problem is not None:
            raise UserError(f"the last save failed: {self._problem}")
