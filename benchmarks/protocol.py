"""The protocol of worker processes: one JSON object a line, on standard input and output.

On ``{"job": …, "weights": …, …}`` it gets ready, on ``{"repeat": k}`` it does its job k times;
both may come in one message. It answers with the seconds of each repetition, with its memory (MiB,
now and at its peak), and with what the last repetition returned, if that is a dictionary. In
between it is blocked, reading a pipe.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any


def serve(jobs: Mapping[str, Callable]) -> None:
    """Obeys until the input ends.

    A job takes the message's other entries and returns the function that is to be repeated.
    """
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # whatever else is printed must not get between the answers
    repeat: Any = None
    while line := sys.stdin.readline():
        message, seconds, returned = json.loads(line), [], None
        times = message.pop("repeat", 0)
        if message:
            repeat = jobs[message.pop("job")](**message)
        for _ in range(times):
            start = time.perf_counter()
            returned = repeat()
            seconds.append(time.perf_counter() - start)
        # Its own memory, wherever the system keeps it; pages of libraries come and go.
        memory = {"memory": _mib("RssAnon", "VmSwap"), "peak_memory": _mib("VmHWM")}
        more = returned if isinstance(returned, dict) else {}
        answers.write(json.dumps({"seconds": seconds, **memory, **more}) + "\n")


def _mib(*fields: str) -> float:
    with open("/proc/self/status") as status:
        kib = [int(line.split()[1]) for line in status if line.partition(":")[0] in fields]
    return sum(kib) / 1024
