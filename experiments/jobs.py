"""Several trainings, each a process of its own, some at the same time."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Sequence

from lib.console.progress import say
from lib.console.stop import GracefulStop


def run_all(commands: Sequence[Sequence[str]], jobs: int) -> int:
    """Runs commands, ``jobs`` at a time, and gives the first exit status that is not 0.

    After a failure none is started any more; Ctrl-C and SIGTERM are passed on, and those that run save and end.
    """
    threads = str(max(1, (os.cpu_count() or 1) // jobs))
    environment = {"PIXELVAE_THREADS": threads, **os.environ}
    running: list[subprocess.Popen] = []
    waiting, status = list(commands), 0
    with GracefulStop() as stop:
        while running or (waiting and not status):
            while waiting and len(running) < jobs and not status:
                say(" ".join(waiting[0]))
                running.append(subprocess.Popen(waiting.pop(0), env=environment))
            time.sleep(0.2)
            if stop.requested and not status:
                status = stop.exit_status
                for process in running:
                    process.terminate()
            status = status or next((p.returncode for p in running if p.poll()), 0)
            running = [p for p in running if p.poll() is None]
    return status
