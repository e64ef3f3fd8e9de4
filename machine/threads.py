"""What threads and forked processes of other people's programs may do with compiled functions.

Theano's functions keep inputs and outputs in storage of their own, and its compiler is one for the
whole process, so that calls from several threads have to queue. Of OpenMP's threads none but the
one that forks is left in its child.
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar, cast

Function = TypeVar("Function", bound=Callable[..., Any])

_turn = threading.RLock()


def queued(function: Function) -> Function:
    """A function that waits until no other thread is in one that is queued, too."""

    @wraps(function)
    def call(*arguments: Any, **named: Any) -> Any:
        with _turn:
            return function(*arguments, **named)

    return cast(Function, call)


def _restore_in_child() -> None:
    _turn.release()
    try:
        openmp = ctypes.CDLL("libgomp.so.1", mode=os.RTLD_NOLOAD)
    except OSError:  # not loaded yet: it has no threads to lose
        return
    # Else the first parallel loop would wait for ever for threads that the fork has left behind.
    openmp.omp_set_num_threads(1)


# So that no call of another thread is under way at a fork, which its child would wait for.
os.register_at_fork(
    before=_turn.acquire, after_in_parent=_turn.release, after_in_child=_restore_in_child
)
