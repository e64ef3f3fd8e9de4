"""A world of one rank, and what every world can do."""

from __future__ import annotations

import contextlib
import hashlib
import math
import sys
from collections.abc import Callable, Iterator, Mapping, Set
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Optional

from pixelvae.machine.errors import UserError

if (
    TYPE_CHECKING
):  # not before pixelvae.machine.backend has told NumPy's BLAS how many threads to start
    import numpy as np


class World:
    """A world of one rank, which everything is trivial for, and what all worlds can do.

    Every method is collective unless it says otherwise: all ranks call it, in the same order.

    Attributes
    ----------
    rank, size
        This process's number, from 0, and how many there are. Rank 0 alone prints and writes.
    local_rank, local_size
        The same among the ranks of this machine.
    machines
        How many machines there are.
    """

    rank, size, local_rank, local_size, machines = 0, 1, 0, 1, 1

    @property
    def first(self) -> bool:
        """Whether this is rank 0, which alone prints and writes. Not collective."""
        return self.rank == 0

    def add(self, vector: np.ndarray) -> None:
        """Replace a vector, in place, by the sum of all ranks' vectors; every rank gets the same bits."""

    def gather(self, value: Any) -> list:
        """Every rank's value, by rank, on every rank."""
        return [value]

    def on_first(self, function: Callable, *arguments: Any) -> Any:
        """What a function gives on rank 0, which alone calls it. A UserError of it is raised on every rank.

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

    @contextlib.contextmanager
    def one_of_each_machine_first(self) -> Iterator[None]:
        """Runs the body on one rank of each machine, then on its others, which find what that one left on the disk."""
        yield

    def in_turn(self, function: Callable, *arguments: Any) -> Any:
        """What a function gives on each rank: on rank 0, then on one of each machine, then on the others.

        For what the first to come prepares on a disk: each finds what those before it have left.
        """
        results = []
        self.on_first(lambda: results.append(function(*arguments)))
        with self.one_of_each_machine_first():
            return results[0] if results else alone_in(function, *arguments)

    def check_same(self, what: str, arrays: Mapping[str, np.ndarray]) -> None:
        """Raise UserError, on every rank, unless all ranks hold arrays of the same bits."""
        import numpy as np

        digest = hashlib.blake2b()
        for name in sorted(arrays):
            digest.update(np.ascontiguousarray(arrays[name]).data)
        sums = self.gather(digest.hexdigest())
        different = [str(rank) for rank, checksum in enumerate(sums) if checksum != sums[0]]
        if different:
            raise UserError(
                f"{what} of rank {', '.join(different)} of {self.size} are no longer those of rank 0: a machine or its "
                "libraries compute something else; the last checkpoint is kept"
            )

    def units(self, work: Callable[[int], Any], count: int, done=lambda number: None) -> list:
        """``[work(0), …, work(count - 1)]``, the calls shared among the ranks; the same list on every rank.

        Each rank takes the next unit when it has finished its last, so that a slow one holds nobody up. ``work``
        must be a function of the unit's number alone; in it, a rank is a world of its own. ``done(n)`` is told how
        many more units were handed out.

        Raises
        ------
        UserError
            Of the first unit that raised it.
        """
        results = []
        for unit in range(count):
            results.append(alone_in(work, unit))
            done(1)
        return results

    def slice_of(self, count: int) -> slice:
        """This rank's part of ``count`` things, in order and as even as can be, or nothing. Not collective."""
        return slice(self.rank * count // self.size, (self.rank + 1) * count // self.size)

    def cores(self, mine: Set[int], quota: float = math.inf) -> int:
        """How many threads this rank may use, at least 1: the machine's cores are shared among its ranks.

        Parameters
        ----------
        mine
            Numbers of the cores that this process may run on. Those that a launcher bound to it are its own.
        quota
            Cores that the machine's control group grants to all of its ranks.
        """
        sharing = self._gather_on_machine(set(mine))
        own = sum(1 / sum(core in others for others in sharing) for core in mine)
        return max(1, int(min(own, quota / self.local_size) + 1e-9))

    def _gather_on_machine(self, value: Any) -> list:
        return [value]

    def end(self, status: int, message: Optional[str] = None) -> int:
        """The exit status of all, called as the last thing; prints the message of the first rank that failed.

        A rank that fails while others go on ends them: they would wait for it.
        """
        if message is not None:
            print(message, file=sys.stderr)
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
