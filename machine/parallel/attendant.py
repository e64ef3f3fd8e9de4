"""A thread beside each rank's work: it hands out units, and notices when a rank is gone."""

from __future__ import annotations

import threading
import time
from collections import Counter
from typing import Any, Callable

import numpy as np
from mpi4py import MPI

BEAT_S = 5.0  # from one sign of life to the next
SILENCE_S = 40.0  # without one until a rank counts as gone
_PERIOD_S = 0.01

_ALIVE, _ASK, _GIVE = 1, 2, 3  # tags


class Attendant:
    """Sends signs of life to the next rank and expects them of the one before; on rank 0 it hands out units too.

    Compiled functions keep Python, and so this thread, from running while they compute. Silence is therefore counted
    in this thread's own time: what the other rank computes meanwhile, this one does as well. The longest computation
    that was met here is allowed for twice.

    Parameters
    ----------
    communicator
        For this thread alone.
    give_up
        Called with a line for the user and an exit status when a rank is gone; it does not return.
    """

    def __init__(self, communicator, give_up: Callable[[str, int], None]) -> None:
        self._communicator, self._give_up = communicator, give_up
        self._handed_out: Counter[int] = Counter()
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._guard, daemon=True)
        self._names = communicator.allgather(MPI.Get_processor_name())

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End, with MPI still there."""
        self._stop.set()
        self._thread.join()

    def ask(self, share: int, skip: int = 1) -> Any:
        """A request whose ``test()`` gives the next unit's number in a sharing of work, as MPI's requests do.

        The one after that comes ``skip`` later.
        """
        if self._communicator.rank == 0:
            return _Own(self._next(share, skip))
        question = self._communicator.isend((share, skip), 0, _ASK)
        return _Asked(question, self._communicator.irecv(source=0, tag=_GIVE))

    def handed_out(self, share: int) -> int:
        """How many units were given, on rank 0."""
        with self._lock:
            return self._handed_out[share]

    def _next(self, share: int, skip: int) -> int:
        with self._lock:
            unit = self._handed_out[share]
            self._handed_out[share] += skip
            return unit

    def _guard(self) -> None:
        try:
            self._run()
        except MPI.Exception as problem:
            self._give_up(f"MPI has failed: {problem}", 1)

    def _run(self) -> None:
        before = (self._communicator.rank - 1) % self._communicator.size
        after = (self._communicator.rank + 1) % self._communicator.size
        beat, heard = np.zeros(1, "b"), np.zeros(1, "b")
        sent = [MPI.REQUEST_NULL]
        sign = self._communicator.Irecv(heard, before, _ALIVE)
        silence, longest, since_beat, last = 0.0, 0.0, BEAT_S, time.monotonic()
        while not self._stop.wait(_PERIOD_S):
            now = time.monotonic()
            slept, last = now - last, now
            longest = max(longest, slept)
            silence += min(slept, 1.0)
            since_beat += slept
            if since_beat >= BEAT_S and sent[0].Test():
                sent[0], since_beat = self._communicator.Isend(beat, after, _ALIVE), 0.0
            while sign.Test():
                silence = 0.0
                sign = self._communicator.Irecv(heard, before, _ALIVE)
            if silence > SILENCE_S + 2 * longest:
                self._give_up(
                    f"rank {before} of {self._communicator.size}, on {self._names[before]}, has given no sign of life "
                    f"for {silence:.0f} seconds: all ranks end; the last checkpoint is kept",
                    1,
                )
            if self._communicator.rank == 0:
                self._serve()
        sign.Cancel()
        sign.Wait()

    def _serve(self) -> None:
        status = MPI.Status()
        while self._communicator.iprobe(tag=_ASK, status=status):
            share, skip = self._communicator.recv(source=status.Get_source(), tag=_ASK)
            self._communicator.send(self._next(share, skip), status.Get_source(), _GIVE)


class _Own:
    """Rank 0's own request, complete at once."""

    def __init__(self, unit: int) -> None:
        self._unit = unit

    def test(self) -> tuple[bool, int]:
        return True, self._unit


class _Asked:
    """A question and its answer; the question is kept until it has been read."""

    def __init__(self, question, answer) -> None:
        self._question, self._answer = question, answer

    def test(self) -> tuple[bool, Any]:
        return self._answer.test()
