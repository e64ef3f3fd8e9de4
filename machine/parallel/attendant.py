"""A thread beside each rank's work, which notices when a rank is gone."""

from __future__ import annotations

import threading
import time
from typing import Callable

import numpy as np
from mpi4py import MPI

BEAT_S = 5.0  # from one sign of life to the next
SILENCE_S = 40.0  # without one until a rank counts as gone
_PERIOD_S = 0.1


class Attendant:
    """Sends signs of life to the next rank and expects them of the one before.

    Compiled functions keep Python, and so this thread, from running while they compute. Silence is
    therefore counted in this thread's own time: what the other rank computes meanwhile, this one
    does as well. The longest computation that was met here is allowed for twice.

    Parameters
    ----------
    communicator
        For this thread alone.
    give_up
        Called with a line for the user and an exit status when a rank is gone; it does not return.
    """

    def __init__(self, communicator, give_up: Callable[[str, int], None]) -> None:
        self._communicator, self._give_up = communicator, give_up
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

    def _guard(self) -> None:
        try:
            self._run()
        except MPI.Exception as problem:
            self._give_up(f"MPI has failed: {problem}", 1)

    def _run(self) -> None:
        before = (self._communicator.rank - 1) % self._communicator.size
        after = (self._communicator.rank + 1) % self._communicator.size
        beat, heard = np.zeros(1, "b"), np.zeros(1, "b")
        sent = MPI.REQUEST_NULL
        sign = self._communicator.Irecv(heard, before)
        silence, longest, since_beat, last = 0.0, 0.0, BEAT_S, time.monotonic()
        while not self._stop.wait(_PERIOD_S):
            now = time.monotonic()
            slept, last = now - last, now
            longest = max(longest, slept)
            silence += min(slept, 1.0)
            since_beat += slept
            if since_beat >= BEAT_S and sent.Test():
                sent, since_beat = self._communicator.Isend(beat, after), 0.0
            while sign.Test():
                silence = 0.0
                sign = self._communicator.Irecv(heard, before)
            if silence > SILENCE_S + 2 * longest:
                self._give_up(
                    f"rank {before} of {self._communicator.size}, on {self._names[before]}, has given no sign of life "
                    f"for {silence:.0f} seconds: all ranks end; the last checkpoint is kept",
                    1,
                )
        sign.Cancel()
        sign.Wait()
