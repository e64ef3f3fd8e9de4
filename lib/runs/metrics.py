"""`metrics.csv`: one row an evaluation, each on the disk before the training continues."""

from __future__ import annotations

import contextlib
import csv
import io
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pixelvae.machine.errors import UserError
from pixelvae.machine.files.atomic import PathLike, atomic_write, open_ordinary, user_errors

#: What every row has.
COLUMNS = ("iteration", "split", "bound", "reconstruction", "kl", "alpha", "seconds", "skipped")


def read_metrics(path: PathLike) -> list[dict[str, Any]]:
    """Rows of a `metrics.csv`: iteration is int, split str, all others float, or None if empty.

    A last line that was torn by a crash is left out.

    Raises
    ------
    UserError
        The file cannot be read, or a line before the last makes no sense.
    """
    return _read(path)[1]


def append_row(path: PathLike, row: Mapping[str, Any]) -> None:
    """Append one row; it is on the disk when this returns, and not in the file when this raises.

    Columns that the row lacks stay empty; a name that is not a column of the file is a
    `ValueError`.

    Raises
    ------
    UserError
        The file cannot be written, or is no longer there.
    """
    # Opened for each row: a folder that was deleted or replaced under a training shows itself.
    with user_errors(f"cannot write {path}"), open(path, "rb+", buffering=0) as file:
        line = _format(_parse_line(file.readline()), [row])
        end = file.seek(0, os.SEEK_END)
        try:
            while line:
                line = line[file.write(line) :]
            os.fsync(file.fileno())
        except OSError:
            with contextlib.suppress(OSError):
                file.truncate(end)  # a torn row would spoil the next one
            raise


def restore_metrics(path: PathLike, columns: Sequence[str], iteration: int | None) -> None:
    """Take the file back to the checkpoint of `iteration`, or start it again if that is None.

    Later rows and a torn last line go; extra `columns` that the file lacks are added.
    """
    columns = [*COLUMNS, *columns]
    rows: list[dict[str, Any]] = []
    if iteration is not None and os.path.exists(path):
        saved, rows = _read(path)
        columns = list(dict.fromkeys([*saved, *columns]))
        rows = [row for row in rows if row["iteration"] <= iteration]
    with atomic_write(path) as file:
        file.write(_format(columns, [dict(zip(columns, columns)), *rows]))


def _read(path: PathLike) -> tuple[list[str], list[dict[str, Any]]]:
    with user_errors(f"cannot read {path}"), open_ordinary(path) as file:
        first, *lines = file.readlines() or [b""]
    rows = []
    try:
        columns = _parse_line(first)
        if columns[:2] != list(COLUMNS[:2]):
            raise ValueError("no line of column names")
        for number, line in enumerate(lines, start=2):
            try:
                rows.append(_parse_row(columns, line))
            except (ValueError, csv.Error):
                if number <= len(lines):
                    raise ValueError(f"line {number} is damaged") from None
    except (ValueError, csv.Error) as problem:
        raise UserError(f"cannot read {path}: {problem}; mend it or move it away") from problem
    return columns, rows


def _parse_row(columns: Sequence[str], line: bytes) -> dict[str, Any]:
    fields = _parse_line(line)
    if len(fields) != len(columns):
        raise ValueError("wrong number of fields")
    row: dict[str, Any] = {}
    for name, field in zip(columns, fields):
        kind = {"iteration": int, "split": str}.get(name, float)
        row[name] = kind(field) if field else None
    return row


def _parse_line(line: bytes) -> list[str]:
    if not line.endswith(b"\n"):
        raise ValueError("torn line")
    return next(csv.reader([line.decode()]))


def _format(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> bytes:
    text = io.StringIO()
    csv.DictWriter(text, columns, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()
