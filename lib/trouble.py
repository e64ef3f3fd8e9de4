"""Numerical trouble in training: what it was, and a report that replays it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lib.checkpoint import load_arrays
from lib.errors import UserError

if TYPE_CHECKING:
    from lib.training import TrainingStep

REPORT = "trouble.npz"  # in the run's folder
_INPUTS = "input."


class NotFinite(ArithmeticError):
    """A training step gave NaN or infinity; its update was taken back.

    Parameters
    ----------
    values
        The cost and each term, batch means in nats, by name.
    gradients
        The gradient of each parameter by name, in its shape, before clipping.
    """

    def __init__(self, values: Mapping[str, float], gradients: Mapping[str, np.ndarray]):
        self.values, self.gradients = values, gradients
        super().__init__(self._text())

    def _text(self) -> str:
        what = [f"{n} is {v:.4g}" for n, v in self.values.items() if not np.isfinite(v)]
        bad = self.bad_gradients()
        if bad:
            what.append(f"the gradient of {bad[0]} is not finite, the first of {len(bad)}")
        return ", ".join(what) or "the gradient or the updated parameters are too large for float32"

    def bad_gradients(self) -> list[str]:
        """The parameters whose gradients hold NaN or infinity, in the model's order."""
        return [name for name, g in self.gradients.items() if not np.isfinite(g).all()]


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
    """Takes the reported step again; yields lines for the user.

    The terms, then each parameter whose gradient is not finite: how many entries, and its largest
    value. Raises UserError where the report does not fit the model.
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
