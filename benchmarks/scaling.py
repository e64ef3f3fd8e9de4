"""Training on several machines: measured on one, calculated for more (docs/scaling.md).

python -m benchmarks.scaling measure     # one rank beside two on this machine, into docs/scaling.json; needs make mpi
python -m benchmarks.scaling steps       # steps of the larger presets, into the same file
python -m benchmarks.scaling             # the page, from that file alone
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from pixelvae.machine.console.command import ArgumentParser, main
from pixelvae.machine.console.progress import say
from pixelvae.machine.errors import UserError

DOCS = Path(__file__).resolve().parents[1] / "docs"
NODES = (1, 2, 4, 8, 16, 32, 64)
FLOAT_BYTES = 4


@dataclass(frozen=True)
class Network:
    """A network between machines: seconds until a message's first byte is there, and bits a second after it."""

    name: str
    latency: float
    bits_per_second: float


NETWORKS = (Network("10 Gbit/s", 30e-6, 10e9), Network("100 Gbit/s", 5e-6, 100e9))


@dataclass(frozen=True)
class Step:
    """What a training step costs a machine: ``fixed`` seconds, and ``image`` seconds for each image of its slice.

    parameters: how many there are, which is how many numbers a step adds up. batch: images of all slices.
    """

    name: str
    parameters: int
    batch: int
    fixed: float
    image: float

    @classmethod
    def fitted(cls, name: str, measured: Mapping[str, Any]) -> Step:
        """From seconds of batch sizes: ``{"parameters": …, "batch": …, "seconds": {"8": …, "16": …}}``.

        The fixed part is 0 if the timings, which have noise, would make it negative.
        """
        (few, short), (many, long) = sorted((int(n), s) for n, s in measured["seconds"].items())
        image = (long - short) / (many - few)
        fixed = max(0.0, short - few * image)
        image = (long - fixed) / many
        return cls(name, measured["parameters"], measured["batch"], fixed, image)

    def compute(self, nodes: int, speed: float = 1.0) -> float:
        """Seconds that the machine with the largest slice computes, each being ``speed`` times as fast as measured."""
        return (self.fixed + self.image * math.ceil(self.batch / nodes)) / speed

    def overlap_speed(self, nodes: int, network: Network, share: float = 0.1) -> float:
        """How many times as fast a machine must be for the sum to take that share of a step."""
        return (
            share / (1 - share) * self.compute(nodes) / allreduce(self.parameters, nodes, network)
        )

    def rate(self, nodes: int, network: Network, speed: float = 1.0) -> float:
        """Steps a second, communication not overlapped."""
        return 1 / (self.compute(nodes, speed) + allreduce(self.parameters, nodes, network))


def allreduce(parameters: int, nodes: int, network: Network) -> float:
    """Seconds of adding up a vector around a ring.

    2(N − 1) messages of 1/N of the vector, one after another: 2(N − 1)·latency + 2(N − 1)/N·bits/bandwidth. The
    additions themselves are left out: memory is faster than the networks.
    """
    bits = 8 * FLOAT_BYTES * parameters
    messages = 2 * (nodes - 1)
    return messages * (network.latency + bits / nodes / network.bits_per_second)


_PAGE = """\
# One machine and many

Written by `python -m benchmarks.scaling` from [`scaling.json`](scaling.json). [cluster.md](cluster.md) says what runs
on several ranks, and how.

## Measured: one rank with two threads beside two ranks with one

`python -m benchmarks.scaling measure` on {processor}, by turns; medians of seconds. {model}. {remark}

{measured}

A step on two ranks should take {predicted:.3f} s by the calculation below: what one thread takes for half a batch, and
the measured {allreduce:.1f} ms for the sum. It took {found:.3f} s.

## Calculated: steps on 1 to 64 machines

A step takes what the largest slice of the batch takes on its machine, *fixed + image · ⌈B / N⌉*, and then the sum of
the gradients around a ring, *2(N − 1) · (latency + 32 P / (N · bandwidth))*. One machine is this one, with both cores
(`python -m benchmarks.scaling steps`). The networks are assumed, not measured: {networks}.
The fixed part is a line's through two sizes.

{steps}

Steps an hour, and in brackets how many times as many as on one machine:

{rates}

## Where overlap would begin to pay

The sum waits for the whole gradient, though it could begin with the part that is there first. That would save the
time of the sum at most. The table says how many times as fast as this one a machine has to be for the sum to take a
tenth of a step; with machines slower than that, overlap would gain less than a tenth.

{overlap}
"""


def page(record: Mapping[str, Any]) -> str:
    """docs/scaling.md."""
    steps = [Step.fitted(name, measured) for name, measured in record["steps"].items()]
    pairs = [(network, step) for network in NETWORKS for step in steps]
    nodes = [f"{n} machines" for n in NODES[1:]]
    predicted, found = predicted_pair(record)
    return _PAGE.format(
        **record["machine"],
        model=record["model"],
        predicted=predicted,
        found=found,
        allreduce=1e3 * record["allreduce"],
        networks=", ".join(f"{n.name} with a latency of {n.latency * 1e6:.0f} µs" for n in NETWORKS),
        measured=_table(
            ["", "1 rank × 2 threads", "2 ranks × 1 thread", "ratio"],
            ([n, f"{a:.3f} s", f"{b:.3f} s", f"{a / b:.2f}"] for n, (a, b) in record["measured"].items()),
        ),
        steps=_table(
            ["", "parameters P", "batch B", "fixed", "an image", "measured with"],
            (
                [f"`{s.name}`", f"{s.parameters / 1e6:.2f} M", str(s.batch), f"{s.fixed:.2f} s", f"{s.image:.3f} s",
                 " and ".join(sorted(record["steps"][s.name]["seconds"], key=int)) + " images"]
                for s in steps
            ),
        ),
        rates=_table(
            ["network", "model", "1 machine", *nodes],
            (
                [network.name, f"`{step.name}`",
                 *(f"{3600 * step.rate(n, network):,.0f} ({step.rate(n, network) / step.rate(1, network):.1f})"
                   for n in NODES)]
                for network, step in pairs
            ),
        ),
        overlap=_table(
            ["network", "model", *nodes],
            (
                [network.name, f"`{step.name}`", *(f"{step.overlap_speed(n, network):,.1f}" for n in NODES[1:])]
                for network, step in pairs
            ),
        ),
    )  # fmt: skip


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    left = 2 if head[0] else 1  # columns of words
    rule = ["---" if column < left else "---:" for column in range(len(head))]
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, rule, *rows))


def predicted_pair(record: Mapping[str, Any]) -> tuple[float, float]:
    """Seconds of a training step on two ranks of one machine: calculated, and measured."""
    return record["half_batch_one_thread"] + record["allreduce"], record["measured"][
        "training step"
    ][1]


def read(path: Path = DOCS / "scaling.json") -> dict[str, Any]:
    """The record. Raises UserError if there is none."""
    if not path.exists():
        raise UserError(f"{path} is not there: python -m benchmarks.scaling measure writes it")
    return json.loads(path.read_text())


def _update(more: Mapping[str, Any], path: Path = DOCS / "scaling.json") -> None:
    from pixelvae.machine.files.atomic import write_json

    old = json.loads(path.read_text()) if path.exists() else {}
    write_json(path, {**old, **more})


def measure(options) -> None:
    """Measure one rank beside two, and what the calculation needs to know of them."""
    from benchmarks.harness import alternate, ours
    from benchmarks.report import processor
    from benchmarks.rows import batch_files
    from pixelvae.models.mnist.model import Settings

    settings = Settings("gated-pixelvae-noup", layers=4, dim_pix=16, latent_dim=16)
    one = ["env", "PIXELVAE_THREADS=2", *ours()]
    half = ["env", "PIXELVAE_THREADS=1", *ours()]
    two = ["env", "PIXELVAE_THREADS=1", options.mpiexec, "-n", "2", *ours()]
    jobs: dict[str, dict[str, Any]] = {
        "training step": {"job": "training_step"},
        "importance weighting, 8 images with 300 samples": {"job": "importance", "samples": 300, "images": 8},
        "200 samples": {"job": "samples", "count": 200},
    }  # fmt: skip
    measured: dict[str, tuple[float, float]] = {}
    if not Path(options.mpiexec).exists():
        raise UserError(f"there is no {options.mpiexec}: make mpi installs it")
    with batch_files(settings) as files:
        for name, job in jobs.items():
            say(name)
            seconds, _ = alternate([one, two], [{**job, **files}] * 2, options.turns, 1.5)
            measured[name] = (median(seconds[0]), median(seconds[1]))
        parts = ({"job": "training_step", "images": 50}, {"job": "allreduce"})
        seconds, _ = alternate([half, two], [{**p, **files} for p in parts], options.turns, 1.5)
    _update(
        {
            "machine": {"processor": processor(), "remark": options.remark},
            "model": "`gated-pixelvae-noup`, L = 4, D = 16, K = 16, batches of 100",
            "measured": measured,
            "half_batch_one_thread": median(seconds[0]),
            "allreduce": median(seconds[1]),
        }
    )


def steps(options) -> None:
    """Time steps of the presets at two small batch sizes on this machine, with all its cores."""
    import time

    import numpy as np

    from pixelvae.lib.model import draw_noise
    from pixelvae.lib.training.step import TrainingStep
    from pixelvae.models.registry import HIERARCHICAL, MNIST

    record: dict[str, Any] = read().get("steps", {})
    wanted = {
        "gated-pixelvae-noup": (MNIST, "paper"),
        **{n: (HIERARCHICAL, n) for n in ("64px_small", "64px_big")},
    }
    for name in options.names or wanted:
        family, preset = wanted[name][0], wanted[name][0].presets[wanted[name][1]]
        model, recipe = family.build(preset.settings, seed=0), preset.training.recipe(seed=0)
        step = TrainingStep(model, recipe)
        seconds = {}
        for size in options.sizes:
            images = (
                np.random.RandomState(0)
                .randint(0, model.levels, (size, *model.image_shape))
                .astype("uint8")
            )
            times = []
            for t in range(1, options.repeat + 2):
                start = time.perf_counter()
                step(images, draw_noise(model, 0, "training", t, size), recipe.schedule(1))
                times.append(time.perf_counter() - start)
            seconds[str(size)] = min(times[1:])  # the least disturbed
            say(f"{name}, {size} images: {seconds[str(size)]:.3f} s")
        record[name] = {
            "parameters": int(model.parameters.count()),
            "batch": recipe.batch_size,
            "seconds": seconds,
        }
        _update({"steps": record})


def write(options) -> None:
    """Write the page."""
    from pixelvae.machine.files.atomic import atomic_write

    with atomic_write(DOCS / "scaling.md") as file:
        file.write(page(read()).encode())
    print(DOCS / "scaling.md")


def parse(argv: list[str]):
    """The command line."""
    parser = ArgumentParser(
        prog="python -m benchmarks.scaling", description=(__doc__ or "").splitlines()[0]
    )
    parser.set_defaults(function=write)
    commands = parser.add_subparsers(dest="command")
    p = commands.add_parser("measure", help="one rank beside two, on this machine")
    p.add_argument("--turns", type=int, default=5, help="of each side")
    p.add_argument(
        "--mpiexec", default=str(Path(sys.executable).parent / "mpiexec"), help="the launcher"
    )
    p.add_argument("--remark", default="", help="what else the machine was doing")
    p.set_defaults(function=measure)
    p = commands.add_parser("steps", help="steps of the larger presets, on this machine")
    p.add_argument("names", nargs="*", help="presets (default: all)")
    p.add_argument("--sizes", type=int, nargs=2, default=(1, 2), help="of two batches")
    p.add_argument("--repeat", type=int, default=2, help="steps that are timed")
    p.set_defaults(function=steps)
    return parser.parse_args(argv)


if __name__ == "__main__":
    parsed = parse(sys.argv[1:])
    sys.exit(main(parsed.function, parsed))
