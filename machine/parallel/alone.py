"""A world of one rank, and what every world can do."""

from __future__ import annotations

import contextlib
import math
import sys
from collections.abc import Callable, Mapping, Set
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Optional

from pixelvae.machine.errors import UserError

if TYPE_CHECKING:
    import numpy as np


class World:
    """A world of one rank, and what all worlds can do.

    Every method is collective unless its description says otherwise: all ranks call it, in the same
    order.

    Attributes
    ----------
    rank, size
        This process's number, from 0, and how many there are. Rank 0 alone prints and writes.
    local_rank, local_size
        The same among the ranks of this machine.
    machine, machines
        This machine's name, and how many machines there are.
    """

    rank, size, local_rank, local_size, machine, machines = 0, 1, 0, 1, "this machine", 1

    @property
    def first(self) -> bool:
        """Whether this is rank 0, which alone prints and writes. Not collective."""
        return self.rank == 0

    def add(self, vector: np.ndarray) -> None:
        """Replace a vector, in place, by the sum of all ranks' vectors.

        Every rank gets the same bits.
        """

    def largest(self, *numbers: float) -> tuple[float, ...]:
        """Of each number the largest that a rank gives."""
        return numbers

    def gather(self, value: Any) -> list:
        """Every rank's value, by rank, on every rank."""
        return [value]

    def on_first(self, function: Callable, *arguments: Any) -> Any:
        """The result of a function that rank 0 alone calls, on every rank; so is its UserError.

        In the function that rank is a world of its own.
        """
        value, error = None, None
        if self.first:
            try:
                value = alone_in(function, *arguments)
            except UserError as problem:
                error = problem
        value, error = self._from_first((value, error))
        if error is not None:
            raise error
        return value

    def _from_first(self, value: Any) -> Any:
        return value

    def in_turn(self, function: Callable, *arguments: Any) -> Any:
        """The result of a function that rank 0 calls first, then all others, which find its files.

        In the function each rank is a world of its own.
        """
        results = []
        self.on_first(lambda: results.append(function(*arguments)))
        return results[0] if results else alone_in(function, *arguments)

    def check_same(self, facts: Mapping[str, Any], otherwise: str) -> None:
        """Raise UserError, on every rank, unless all ranks bring the same facts.

        Parameters
        ----------
        facts
            Values by name, the same names on every rank; they are compared by their text.
        otherwise
            What follows from a difference, or what to do about it.
        """
        everywhere = self.gather(
            (self.machine, [f"{name} {value}" for name, value in facts.items()])
        )
        machine, expected = everywhere[0]
        for rank, (its_machine, found) in enumerate(everywhere):
            pairs = [pair for pair in zip(found, expected) if len(set(pair)) > 1]
            if pairs:
                its, other = map(", ".join, zip(*pairs))
                raise UserError(
                    f"rank {rank} ({its_machine}) has {its}, and rank 0 ({machine}) {other}: {otherwise}"
                )

    def share(
        self,
        work: Callable[[int], Any],
        count: int,
        done: Callable[[int], None] = lambda units: None,
    ) -> list:
        """``[work(0), …, work(count - 1)]``, each computed by one rank.

        The same list on every rank.

        Rank n mod size computes unit n, in which it is a world of its own. ``work`` is a function
        of the unit's number alone.

        Parameters
        ----------
        done
            Called on rank 0 after each of its units, with the number of units that all ranks have
            finished by then if they are equally fast.

        Raises
        ------
        UserError
            Of the first unit that raised it.
        """
        mine: dict[int, Any] = {}
        for unit in range(self.rank, count, self.size):
            try:
                mine[unit] = alone_in(work, unit)
            except UserError as problem:
                mine[unit] = problem
                break
            if self.first:
                done(min(self.size, count - unit))
        results: dict[int, Any] = {}
        for part in self.gather(mine):
            results.update(part)
        ordered = [results[unit] for unit in sorted(results)]
        for result in ordered:
            if isinstance(result, UserError):
                raise result
        return ordered

    def slice_of(self, count: int) -> slice:
        """The rank's part of ``count`` things, in order, as even as can be. Not collective."""
        return slice(self.rank * count // self.size, (self.rank + 1) * count // self.size)

    def cores(self, mine: Set[int], quota: float = math.inf) -> int:
        """How many threads this rank may use, at least 1: a machine's ranks share its cores.

        Parameters
        ----------
        mine
            Numbers of the cores that this process may run on. Those that a launcher bound to it are
            its own.
        quota
            Cores that the machine's control group grants to all of its ranks.
        """
        sharing = self._gather_on_machine(set(mine))
        own = sum(1 / sum(core in others for others in sharing) for core in mine)
        return max(1, int(min(own, quota / self.local_size) + 1e-9))

    def _gather_on_machine(self, value: Any) -> list:
        return [value]

    def end(self, status: int, message: Optional[str] = None) -> int:
        """The exit status of all, called as the last thing.

        Prints the message of the first rank that failed.

        A rank that fails while others continue ends them: they would wait for it.
        """
        if message is not None:
            with contextlib.suppress(OSError):  # a terminal that is gone
                print(message, file=sys.stderr, flush=True)
        return status

    def __str__(self) -> str:
        """For people: "3 ranks on 2 machines"."""
        if self.size == 1:
            return "1 process"
        return f"{self.size} ranks on {self.machines} machine{'s' if self.machines > 1 else ''}"


is_alone: ContextVar[bool] = ContextVar("alone", default=False)


def alone_in(function: Callable, *arguments: Any) -> Any:
    """What a function gives, in which the rank is a world of its own."""
    token = is_alone.set(True)
    try:
        return function(*arguments)
    finally:
        is_alone.reset(token)
