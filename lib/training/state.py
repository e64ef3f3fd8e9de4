"""Where a training stands, beside the arrays: what a checkpoint's header contains."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pixelvae.machine.errors import UserError


@dataclass
class State:
    """Where a training stands: what a checkpoint's header holds beside the arrays."""

    iteration: int
    seconds: float  # of training, evaluations not counted
    best: float | None  # validation bound, nats
    count: int  # iterations since the last evaluation, and the sums of their terms
    sums: list[float]
    skipped: int = 0  # iterations since the last evaluation that were not finite

    @classmethod
    def first(cls, terms: int, iteration: int = 0) -> State:
        """Before a run's first step: of a model with so many terms, at this iteration."""
        return cls(iteration=iteration, seconds=0.0, best=None, count=0, sums=[0.0] * terms)

    @classmethod
    def of(cls, header: Mapping[str, Any], terms: int) -> State:
        """What :meth:`header` gave. Raises UserError if it is something else."""
        try:
            state = cls(**header["state"])
            counts = [state.iteration, state.count, state.skipped]
            numbers = [*counts, state.seconds, state.best or 0, *state.sums]
            whole = (
                state.iteration == header["iteration"]
                and len(state.sums) == terms
                and all(isinstance(n, int) and n >= 0 for n in counts)
                and all(isinstance(n, (int, float)) for n in numbers)
            )
        except (KeyError, TypeError):
            whole = False
        if not whole:
            raise UserError("this checkpoint does not fit the model: its state is not a training's")
        return state

    def header(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {"iteration": self.iteration, "state": vars(self).copy()}

    def add(self, terms: Sequence[float]) -> None:
        """Count one more iteration, and its terms."""
        self.count += 1
        self.sums = [a + b for a, b in zip(self.sums, terms)]

    def means(self) -> list[float]:
        """Of each term since the last evaluation; NaN if there was no iteration that counts."""
        return [s / self.count if self.count else float("nan") for s in self.sums]

    def evaluated(self) -> None:
        """Begin to count again."""
        self.count, self.sums, self.skipped = 0, [0.0] * len(self.sums), 0
