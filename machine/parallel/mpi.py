"""The world of several ranks, by mpi4py.

Imported only if several processes were started together.
"""

from __future__ import annotations

import atexit
import contextlib
import math
import os
import pickle
import sys
import threading
import time
import traceback
from typing import Any, Optional

import numpy as np
from mpi4py import MPI

from pixelvae.machine.errors import UserError
from pixelvae.machine.parallel.alone import World
from pixelvae.machine.parallel.attendant import Attendant
from pixelvae.machine.parallel.launch import forget

GRACE_S = 5.0  # that a rank that failed waits for the others to fail as well
FORWARD_S = 1.0  # that the launcher has for last words: an abort drops what it has not read
_SPIN_S = 1e-3  # what is over by then is waited for without sleeping


class Ranks(World):
    """One of several ranks.

    Nothing here waits inside MPI, which would keep a core busy that ranks may have to share, keep
    signals from being handled and, if another rank is gone, the attendant from saying so.
    """

    def __init__(self, started: int) -> None:
        everybody = MPI.COMM_WORLD
        if everybody.size != started:
            raise UserError(
                f"{started} processes were started together, and mpi4py's MPI "
                f"({MPI.Get_library_version().split(',')[0].splitlines()[0].strip()}) sees {everybody.size}: "
                "start them by the launcher that belongs to it (docs/cluster.md)"
            )
        if MPI.Query_thread() < MPI.THREAD_MULTIPLE:
            raise UserError(
                "this MPI was built without threads (MPI_THREAD_MULTIPLE): choose another"
            )
        self._all, self._ends = everybody.Dup(), everybody.Dup()
        self._machine = everybody.Split_type(MPI.COMM_TYPE_SHARED, everybody.rank)
        self.rank, self.size = everybody.rank, everybody.size
        self.local_rank, self.local_size = self._machine.rank, self._machine.size
        self.machine = MPI.Get_processor_name()
        self.machines = self._all.allreduce(int(self.local_rank == 0))
        self._attendant = Attendant(everybody.Dup(), self._give_up)
        self._attendant.start()
        sys.excepthook = self._crash
        atexit.register(self._attendant.stop)  # before mpi4py's own, which ends MPI
        forget()

    def add(self, vector: np.ndarray) -> None:
        _meet(self._all)
        _wait(self._all.Iallreduce(MPI.IN_PLACE, vector))

    def largest(self, *numbers: float) -> tuple[float, ...]:
        values = np.array(numbers, "float64")
        _wait(self._all.Iallreduce(MPI.IN_PLACE, values, MPI.MAX))
        return tuple(values.tolist())

    def gather(self, value: Any) -> list:
        return _gather(self._all, value)

    def _from_first(self, value: Any) -> Any:
        return _gather(self._all, value if self.first else None)[0]

    def _gather_on_machine(self, value: Any) -> list:
        return _gather(self._machine, value)

    def end(self, status: int, message: Optional[str] = None) -> int:
        together, _ = _complete(self._ends.Ibarrier(), GRACE_S if status else math.inf)
        if not together:
            self._give_up(
                f"rank {self.rank} of {self.size}: {message or f'status {status}'}", status
            )
        failed = [(s, m) for s, m in _gather(self._ends, (status, message)) if s]
        if not failed:
            return 0
        if self.first and failed[0][1] is not None:
            with contextlib.suppress(OSError):  # a terminal that is gone
                print(failed[0][1], file=sys.stderr, flush=True)
        return failed[0][0]

    def _crash(self, kind, error, trace) -> None:
        """The hook for unhandled exceptions: ends the other ranks, which would wait."""
        if self.rank:
            time.sleep(GRACE_S)  # all may have met the same, and rank 0's words are enough
        self._give_up("".join(traceback.format_exception(kind, error, trace)).rstrip(), 1)

    def _give_up(self, message: str, status: int) -> None:
        print(message, file=sys.__stderr__, flush=True)
        time.sleep(FORWARD_S)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # MPI has a line of its own
        threading.Timer(
            FORWARD_S, os._exit, [status]
        ).start()  # it may wait for a machine that is gone
        MPI.COMM_WORLD.Abort(status)
        os._exit(status)  # a launcher may be set to leave the others alone


def _complete(request: Any, limit: float = math.inf) -> tuple[bool, Any]:
    """Whether an operation of MPI's is complete within the limit (seconds), and what it gives."""
    start = time.monotonic()
    while True:
        complete, value = request.test()
        waited = time.monotonic() - start
        if complete or waited > limit:
            return complete, value
        if waited > _SPIN_S:
            time.sleep(min(1e-4 + waited / 100, 0.01))


def _wait(request: Any) -> Any:
    return _complete(request)[1]


def _meet(communicator: Any) -> None:
    """Waits until all ranks are here, so that what follows is over in a moment."""
    _wait(communicator.Ibarrier())


def _gather(communicator: Any, value: Any) -> list:
    """The values of all ranks of a communicator, by rank."""
    mine = np.frombuffer(pickle.dumps(value), "uint8")
    sizes = np.empty(communicator.size, "int64")
    _wait(communicator.Iallgather(np.array([mine.size], "int64"), sizes))
    everything = np.empty(sizes.sum(), "uint8")
    _wait(communicator.Iallgatherv(mine, [everything, sizes.tolist()]))
    return [pickle.loads(part.tobytes()) for part in np.split(everything, np.cumsum(sizes)[:-1])]
