"""Ctrl-C and SIGTERM ask a loop to stop after its step."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from types import FrameType
from typing import Any


class GracefulStop:
    """Context manager in which Ctrl-C and SIGTERM only ask the loop to stop.

    The loop looks at :attr:`requested` after each step, saves, and exits with :attr:`exit_status`.
    A second Ctrl-C interrupts at once. Outside the main thread, where Python allows no handlers,
    nothing is changed.
    """

    def __init__(self) -> None:
        self.signal: int | None = None
        self._previous: dict[int, Any] = {}

    @property
    def requested(self) -> bool:
        """Whether a signal has come."""
        return self.signal is not None

    @property
    def exit_status(self) -> int:
        """130 after Ctrl-C, 143 after SIGTERM, 0 when no signal has come."""
        return 0 if self.signal is None else 128 + self.signal

    def __enter__(self) -> GracefulStop:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.requested and number == signal.SIGINT:
            raise KeyboardInterrupt
        if not self.requested:
            self.signal = number
            # Not print, which must not be entered again if the signal came in the middle of one.
            with contextlib.suppress(OSError):
                os.write(2, b"\nstopping after this step; Ctrl-C stops at once\n")
