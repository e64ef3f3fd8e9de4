"""A run is a folder: settings, metrics, the checkpoint, the best weights, results."""

from __future__ import annotations

import fcntl
import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pixelvae.lib.runs.metrics import append_row, read_metrics, restore_metrics
from pixelvae.lib.runs.settings import differences
from pixelvae.lib.runs.tensorboard import EventWriter
from pixelvae.machine.errors import UserError
from pixelvae.machine.files.arrays import load_arrays, save_arrays
from pixelvae.machine.files.atomic import PathLike, to_json, user_errors, write_json

BEST = "best.npz"
REPORT = "trouble.npz"  # the step that was not finite


class Run:
    """One training's folder, locked while it is open; a context manager.

    :meth:`open` makes one and takes the folder (:meth:`take`); before, nothing is read or written.

    A training saves in this order, so that being killed between two steps loses nothing: the rows
    of an iteration (:meth:`log`), the best weights (:meth:`save_best`), the checkpoint. Resuming
    takes back the rows after the checkpoint, whose iterations are computed again. The first
    checkpoint, of iteration 0, comes before everything else.
    """

    def __init__(
        self,
        folder: Path,
        config: Mapping[str, Any],
        columns: Sequence[str],
    ) -> None:
        self.folder = folder
        self.config = config
        self._columns = columns
        self._lock: int | None = None
        self._events: EventWriter | None = None

    @classmethod
    def open(
        cls,
        folder: PathLike,
        config: Mapping[str, Any],
        resume: bool = True,
        columns: Sequence[str] = (),
        tensorboard: bool = False,
    ) -> Run:
        """Create the folder, or resume in it from its checkpoint.

        Parameters
        ----------
        config
            `{"settings": {...}, "environment": {...}}`. The settings must be those of the
            checkpoint, but for what :func:`pixelvae.lib.runs.settings.differences` lets change.
            Where the run began, `from`, is the checkpoint's. The environment
            (:func:`.environment_record`) is only written down.
        columns
            What this model logs beside :data:`pixelvae.lib.runs.metrics.COLUMNS`.
        resume, tensorboard
            As in :meth:`take`, which lists what is raised.
        """
        run = cls(Path(folder), config, columns)
        run.take(resume, tensorboard)
        return run

    def take(self, resume: bool = True, tensorboard: bool = False) -> None:
        """Lock the folder, and prepare it for resuming from its checkpoint or for a new training.

        Parameters
        ----------
        resume
            False refuses a folder that holds a checkpoint.
        tensorboard
            Whether :meth:`scalars` and :meth:`pictures` write event files, which begin with the
            settings.

        Raises
        ------
        UserError
            The folder cannot be written, is in use, holds something else or other settings.
        """
        folder = self.folder
        with user_errors(f"cannot write to the folder {folder}"):
            folder.mkdir(parents=True, exist_ok=True)
            _refuse_foreign_files(folder)
            self._lock = _acquire_lock(folder)
        try:
            iteration = _last_iteration(folder, self.config, resume)
            write_json(folder / "config.json", self.config)
            restore_metrics(folder / "metrics.csv", self._columns, iteration)
            if tensorboard:
                self._events = self._open_events(iteration)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Run:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the event file and free the lock."""
        try:
            if self._events is not None:
                self._events.close()
        finally:
            if self._lock is not None:
                os.close(self._lock)
                self._lock = None

    def check_folder(self) -> None:
        """Raise `UserError` if the folder is not the one that was opened, or is gone."""
        with user_errors(f"cannot write to the folder {self.folder}"):
            assert self._lock is not None
            if not os.path.samestat(os.fstat(self._lock), os.stat(self.path("lock"))):
                raise UserError(
                    f"cannot write to the folder {self.folder}: another folder has taken its place"
                )

    def recreate(self) -> None:
        """Make the folder again after it was deleted: locked, with settings, empty `metrics.csv`.

        Raises
        ------
        UserError
            It cannot be made, or another training has made it since.
        """
        with user_errors(f"cannot make the folder {self.folder} again"):
            self.folder.mkdir(parents=True, exist_ok=True)
            lock, self._lock = self._lock, _acquire_lock(self.folder)
            assert lock is not None
            os.close(lock)
        write_json(self.path("config.json"), self.config)
        restore_metrics(self.path("metrics.csv"), self._columns, None)
        if self._events is not None:
            self._events.close()
            self._events = self._open_events(None)

    def path(self, name: str) -> Path:
        """Path of a file of this run, such as `samples.png`."""
        return self.folder / name

    def log(self, row: Mapping[str, Any]) -> None:
        """Append one evaluation to `metrics.csv`.

        See :func:`pixelvae.lib.runs.metrics.append_row`.
        """
        append_row(self.path("metrics.csv"), row)

    def read_metrics(self) -> list[dict[str, Any]]:
        """All rows of `metrics.csv`; see :func:`pixelvae.lib.runs.metrics.read_metrics`."""
        return read_metrics(self.path("metrics.csv"))

    def save_checkpoint(self, arrays: Mapping[str, np.ndarray], header: Mapping[str, Any]) -> None:
        """Replace the last checkpoint with all that is needed to resume.

        `header` must say the `iteration`; `kind` and `config` are added.
        """
        header = {**header, "iteration": int(header["iteration"])}
        self._save("checkpoint.npz", "checkpoint", arrays, header)

    def load_checkpoint(self) -> tuple[dict[str, np.ndarray], dict[str, Any]] | None:
        """Arrays and header of the last checkpoint; None in a new folder."""
        if not is_begun(self.folder):
            return None
        return load_arrays(self.path("checkpoint.npz"), kind="checkpoint")

    def save_best(self, arrays: Mapping[str, np.ndarray], header: Mapping[str, Any]) -> None:
        """Put the best weights so far into `best.npz`; `kind` and `config` are added."""
        if not is_begun(self.folder):
            raise RuntimeError("save a checkpoint first: weights without one are never overwritten")
        self._save(BEST, "weights", arrays, header)

    def save_report(self, arrays: Mapping[str, np.ndarray], header: Mapping[str, Any]) -> None:
        """Write `trouble.npz`, a step that was not finite; `kind` and `config` are added."""
        self._save(REPORT, "report", arrays, header)

    def _save(
        self, name: str, kind: str, arrays: Mapping[str, np.ndarray], header: Mapping[str, Any]
    ) -> None:
        save_arrays(self.path(name), arrays, {**header, "kind": kind, "config": self.config})

    def write_json(self, name: str, value: Any) -> None:
        """Write a JSON file of this run, such as `results.json`."""
        write_json(self.path(name), value)

    def scalars(self, iteration: int, values: Mapping[str, float]) -> None:
        """Write values for TensorBoard, when the run was opened with `tensorboard=True`."""
        if self._events is not None:
            self._events.scalars(iteration, values)

    def pictures(self, iteration: int, pictures: Mapping[str, bytes]) -> None:
        """Write PNG files by name for TensorBoard, if opened with `tensorboard=True`."""
        if self._events is not None:
            self._events.pictures(iteration, pictures)

    def _open_events(self, iteration: int | None) -> EventWriter:
        events = EventWriter(self.folder, after=iteration)
        # Indented text is shown as it is.
        lines = to_json(self.config["settings"], indent=2).splitlines()
        events.text(iteration or 0, "settings", "\n".join(f"    {line}" for line in lines))
        return events


def best_weights(folder: PathLike) -> Path:
    """The path of a run's best weights. Raises UserError, with the reason, if there are none."""
    folder = Path(folder)
    path = folder / BEST
    if path.exists():
        return path
    rows = read_metrics(folder / "metrics.csv") if (folder / "metrics.csv").exists() else []
    bounds = [row["bound"] for row in rows if row["split"] == "valid"]
    if not bounds:
        raise UserError(f"{folder} holds no {BEST} yet: train first, to the first evaluation")
    if not any(bound is not None and math.isfinite(bound) for bound in bounds):
        raise UserError(
            f"{folder} holds no {BEST}, since no evaluation was finite: "
            "restart with a lower learning rate"
        )
    raise UserError(f"{folder} holds no {BEST} any more: resume its training, or start again")


def is_begun(folder: PathLike) -> bool:
    """Whether a folder holds the checkpoint of a training, from which a run there resumes."""
    return (Path(folder) / "checkpoint.npz").exists()


def is_run(folder: PathLike) -> bool:
    """Whether a folder is one of a run, if only a begun one."""
    return any((Path(folder) / name).exists() for name in ("config.json", BEST))


def _refuse_foreign_files(folder: Path) -> None:
    """Overwrite nothing that did not come from a training that can be resumed here."""
    if is_begun(folder):
        return
    names = ["best.npz", "results.json"]
    if not (folder / "lock").exists():
        names += ["config.json", "metrics.csv"]
    for name in names:
        if (folder / name).exists():
            raise UserError(
                f"the folder {folder} holds {name} but no checkpoint.npz to resume from; "
                "choose another folder"
            )


def _acquire_lock(folder: Path) -> int:
    """Lock the folder until the returned descriptor is closed, by the process's death at last."""
    descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())
    except BlockingIOError:
        owner = os.read(descriptor, 20).decode(errors="replace").strip()
        os.close(descriptor)
        raise UserError(
            f"the folder {folder} is in use by another training (process {owner}); "
            "wait for its end or choose another folder"
        ) from None
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _last_iteration(folder: Path, config: Mapping[str, Any], resume: bool) -> int | None:
    """Iteration of the folder's checkpoint if training may resume from it; None if there is none.

    The settings in ``config`` take over where the run began, ``from``.
    """
    path = folder / "checkpoint.npz"
    if not is_begun(folder):
        return None
    if not resume:
        raise UserError(
            f"the folder {folder} already holds a checkpoint; choose another folder, or resume it",
            setting="resume",
        )
    _, header = load_arrays(path, kind="checkpoint")
    try:
        saved, iteration = header["config"]["settings"], int(header["iteration"])
        if "from" in saved:  # the weights that the run began with: they are not needed again
            config["settings"]["from"] = saved["from"]
        changes = differences(saved, json.loads(to_json(config["settings"])), iteration)
    except (KeyError, TypeError, ValueError, AttributeError) as problem:
        raise UserError(
            f"cannot resume from {path}: its header lacks settings or iteration"
        ) from problem
    if changes:
        raise UserError(
            f"cannot resume in {folder} with other settings ({', '.join(changes)}); "
            "choose another folder or the saved settings"
        )
    return iteration
