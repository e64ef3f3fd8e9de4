"""Ctrl-C, SIGTERM and their like ask a loop to stop after its step."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from types import FrameType
from typing import Any

#: What asks to stop. Batch systems send SIGUSR1 and SIGXCPU before a job's time is up, and a closed
#: terminal sends SIGHUP.
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGXCPU)


class GracefulStop:
    """Context manager in which :data:`SIGNALS` only ask the loop to stop.

    The loop looks at :attr:`signal` after each step, saves, and exits with :func:`exit_status`.
    A second Ctrl-C interrupts at once. Signals other than Ctrl-C that the process ignores, as under
    ``nohup``, stay ignored. Outside the main thread, where Python allows no handlers,
    nothing is changed.

    Attributes
    ----------
    signal
        The number of the first signal that has come, 0 before.
    """

    def __init__(self) -> None:
        self.signal = 0
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> GracefulStop:
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                previous = signal.getsignal(number)
                # None: a library has a handler of its own.
                if number == signal.SIGINT or previous not in (signal.SIG_IGN, None):
                    self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.signal:
            if number == signal.SIGINT:
                raise KeyboardInterrupt
            return
        self.signal = number
        # Not print, which must not be entered again if the signal came in the middle of one.
        with contextlib.suppress(AttributeError, OSError):  # no stream, or one that is gone
            os.write(sys.stderr.fileno(), b"\nstopping after this step; Ctrl-C stops at once\n")


def exit_status(number: int) -> int:
    """The exit status after a signal, as shells count it (130 for Ctrl-C, 143 for SIGTERM).

    0 for no signal.
    """
    return 128 + number if number else 0
