"""Pictures of a model while it is trained, as often as they cost little."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from pixelvae.machine.console.progress import quietly

SHARE = 0.05  #: of the time since the training began


class Pictures:
    """Draws pictures, unless drawing has taken more than :data:`SHARE` of all time so far.

    Parameters
    ----------
    draw
        Gives PNG files by name; called with the weights that were just evaluated.
    clock
        Seconds, the same wherever the pictures are drawn together.
    """

    def __init__(
        self,
        draw: Callable[[], Mapping[str, bytes]],
        clock: Callable[[], float] = time.monotonic,
    ):
        self._draw, self._clock = draw, clock
        self._begin, self._spent = clock(), 0.0

    def __call__(self) -> Mapping[str, bytes]:
        """The pictures, or none if they would cost too much."""
        start = self._clock()
        if self._spent > SHARE * (start - self._begin):
            return {}
        with quietly():
            pictures = self._draw()
        self._spent += self._clock() - start
        return pictures
