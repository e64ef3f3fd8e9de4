"""Numerical trouble in training: what it was, and a report that replays it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pixelvae.lib.runs.folder import REPORT
from pixelvae.lib.training.step import NotFinite, TrainingStep
from pixelvae.machine.errors import UserError
from pixelvae.machine.files.arrays import load_arrays

_INPUTS = "input."


def report_arrays(state: Mapping[str, np.ndarray], images, noise) -> dict[str, np.ndarray]:
    """What a report holds: the state before the step, and the step's batch and noise."""
    inputs = [images, *noise]
    return {**state, **{f"{_INPUTS}{i}": np.asarray(a) for i, a in enumerate(inputs)}}


def load_report(path: str) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Arrays and header of a report, or of the report in a run's folder. Raises UserError."""
    file = Path(path)
    if file.is_dir():
        file = file / REPORT
        if not file.exists():
            raise UserError(f"{path} holds no {REPORT}: its training met no numerical trouble")
    return load_arrays(file, kind="report")


def replay(
    step: TrainingStep, arrays: Mapping[str, np.ndarray], header: Mapping[str, Any]
) -> Iterator[str]:
    """Take the reported step again; yields lines for the user.

    The terms, then each parameter whose gradient is not finite: how many entries, and its largest
    value. Raises UserError if the report does not fit the model.
    """
    inputs = [arrays[name] for name in arrays if name.startswith(_INPUTS)]
    iteration = header.get("iteration", "unknown")
    step.restore(arrays)
    try:
        images, *noise = inputs
        values = step(images, noise, header["scalars"])
    except NotFinite as trouble:
        yield f"iteration {iteration}: {trouble}"
        for name, value in trouble.values.items():
            yield f"{name}: {value:.6g}"
        parameters = step.parameters()
        for name in trouble.bad_gradients():
            gradient = trouble.gradients[name]
            count = np.count_nonzero(~np.isfinite(gradient))
            largest = np.abs(parameters[name]).max()
            yield (
                f"gradient of {name} {gradient.shape}: {count} of {gradient.size} entries "
                f"not finite (largest parameter {largest:.4g})"
            )
    except (KeyError, TypeError, ValueError) as problem:
        raise UserError(f"this report does not fit the model: {problem}") from problem
    else:
        yield f"iteration {iteration}: all is finite here, the cost is {values[0]:.6g}"
