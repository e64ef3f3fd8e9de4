"""Several trainings, each a process of its own, some at the same time."""

from __future__ import annotations

import argparse
import os
import subprocess
import time
from collections.abc import Iterable, Sequence

from pixelvae.machine.console.command import non_negative_int, path_or_name
from pixelvae.machine.console.progress import say
from pixelvae.machine.console.stop import GracefulStop, exit_status
from pixelvae.machine.parallel.world import world


def add_training_options(
    parser: argparse.ArgumentParser, presets: Iterable[str], preset: str, data: str
) -> None:
    """What all trainings begin with; the last two arguments are the defaults."""
    parser.add_argument("--preset", choices=[*presets], default=preset, help="of all trainings")
    parser.add_argument("--data", type=path_or_name, default=data, help="a data set's name or path")
    parser.add_argument("options", nargs="*", help="after --: more options for each training")


def add_seeds_option(parser: argparse.ArgumentParser) -> None:
    """Seeds that everything is trained with."""
    parser.add_argument("--seeds", type=non_negative_int, nargs="+", default=[0], metavar="N",
                        help="one run for each (default: 0)")  # fmt: skip


def run_all(commands: Sequence[Sequence[str]], jobs: int) -> int:
    """Runs commands, ``jobs`` at a time on each rank; gives the first exit status that is not 0.

    Each command goes to the rank that has fewest. After a failure none is started any more; Ctrl-C
    and SIGTERM are passed on, and those that run save and end.
    """
    ranks = world()
    threads = max(1, int(os.environ["OMP_NUM_THREADS"]) // jobs)
    environment = {"PIXELVAE_THREADS": str(threads), **os.environ}
    running: list[subprocess.Popen] = []
    waiting, status = list(commands), 0
    with GracefulStop() as stop:
        while True:
            # What all know, so that all come to the same decisions.
            known = ranks.gather((len(running), status, stop.signal))
            status = next((failed for _, failed, _ in known if failed), 0)
            signal = max(number for _, _, number in known)
            if signal and not status:
                status = exit_status(signal)
                for process in running:
                    process.terminate()
            busy = [count for count, _, _ in known]
            while waiting and min(busy) < jobs and not status:
                command, rank = waiting.pop(0), busy.index(min(busy))
                busy[rank] += 1
                say(" ".join(command))
                if rank == ranks.rank:
                    running.append(subprocess.Popen(command, env=environment))
            if not any(busy):
                return status
            time.sleep(0.2)
            status = status or next((p.returncode for p in running if p.poll()), 0)
            running = [p for p in running if p.poll() is None]
