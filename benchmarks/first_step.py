#!/usr/bin/env python
"""The time to the end of the first training step, with Theano's compile cache empty and full.

    python -m benchmarks.first_step
    PIXELVAE_DEVICE=cuda python -m benchmarks.first_step

The model is ``gated-pixelvae-noup`` at the paper's size. Seconds of processors stand beside those
of the clock, since on a busy machine the clock includes the others' work: those of the process
itself, and those of the compilers that it started.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator
from typing import NamedTuple

from benchmarks.harness import Worker, ours
from benchmarks.rows import BATCH, PAPER, batch_files
from pixelvae.machine.backend.flags import joined
from pixelvae.machine.console.command import ArgumentParser, main, positive_int


class Part(NamedTuple):
    """What a part of a start took, in seconds."""

    clock: float
    process: float
    compilers: float


def measure(options: argparse.Namespace) -> None:
    """Prints the table."""
    print("| compile cache | up to | s | processor s, the process | processor s, compilers |")
    print("| --- | --- | ---: | ---: | ---: |")
    with batch_files(PAPER) as files, tempfile.TemporaryDirectory() as cache:
        for state in ("empty", "full"):
            for what, part in first_step(files, cache, options.images):
                numbers = " | ".join(f"{seconds:.1f}" for seconds in part)
                print(f"| {state} | {what} | {numbers} |", flush=True)


def first_step(files: dict, cache: str, images: int) -> Iterator[tuple[str, Part]]:
    """One start with Theano's compile folder below ``cache``, up to the end of the first step."""
    with Worker(ours(), {"THEANO_FLAGS": joined({"base_compiledir": str(cache)})}) as worker:
        worker.ask(job="training_step", **files, images=images)
        yield "the compiled step", _so_far(worker)
        worker.repeat(1)
        yield "the end of the first step", _so_far(worker)


def _so_far(worker: Worker) -> Part:
    return Part(time.perf_counter() - worker.started, *worker.cpu_seconds_of_both())


def parse(words: list[str]):
    """The command line."""
    parser = ArgumentParser(
        prog="python -m benchmarks.first_step", description=__doc__.splitlines()[0]
    )
    parser.add_argument(
        "--images",
        type=positive_int,
        default=BATCH,
        help=f"in the batch (default: {BATCH}); compiling does not depend on it, the step does",
    )
    return parser.parse_args(words)


if __name__ == "__main__":
    sys.exit(main(measure, parse(sys.argv[1:])))
