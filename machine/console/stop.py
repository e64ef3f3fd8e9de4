"""Ctrl-C and SIGTERM, to any rank, ask a loop to stop after its step."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from types import FrameType
from typing import Any

import numpy as np

from pixelvae.machine.console.progress import say
from pixelvae.machine.parallel.world import world

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class GracefulStop:
    """Context manager in which Ctrl-C and SIGTERM only ask the loop to stop.

    The loop looks at :attr:`requested` after each step, saves, and exits with :attr:`exit_status`.
    A second Ctrl-C interrupts at once. Outside the main thread, where Python allows no handlers,
    nothing is changed.

    Several ranks must stop after the same step: a signal counts when all know of it, from each
    other's :meth:`votes` or by :meth:`agree`.
    """

    def __init__(self) -> None:
        self.signal: int | None = None
        self._caught: int | None = None
        self._world = world()  # not what it is to a unit of work in which a signal comes
        self._previous: dict[int, Any] = {}

    @property
    def requested(self) -> bool:
        """Whether a signal has come."""
        return self.signal is not None

    @property
    def exit_status(self) -> int:
        """130 after Ctrl-C, 143 after SIGTERM, 0 when no signal has come."""
        return 0 if self.signal is None else 128 + self.signal

    def votes(self) -> np.ndarray:
        """What this rank has caught: how many SIGINT and SIGTERM, 0 or 1 each."""
        return np.array([self._caught == number for number in _SIGNALS], "float64")

    def count(self, votes: np.ndarray) -> None:
        """Take in the sums of all ranks' votes."""
        if self.signal is None and votes.any():
            self.signal = _SIGNALS[1 if votes[1] else 0]
            if self._caught is None:
                say("stopping after this step, as another rank was asked to")

    def agree(self) -> None:
        """Count the votes of all ranks, which call this together."""
        votes = self.votes()
        self._world.add(votes)
        self.count(votes)

    def __enter__(self) -> GracefulStop:
        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS:
                self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._caught is not None:
            if number == signal.SIGINT:
                raise KeyboardInterrupt
            return
        self._caught = number
        if self._world.size == 1:
            self.signal = number
        if self._world.first:
            # Not print, which must not be entered again if the signal came in the middle of one.
            with contextlib.suppress(OSError):
                os.write(2, b"\nstopping after this step; Ctrl-C stops at once\n")
