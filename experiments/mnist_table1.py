#!/usr/bin/env python
"""Table 1 whole: trains the models, ships their best weights, and records what they reach.

python experiments/mnist_table1.py train --preset few-cores --out runs/table1
python experiments/mnist_table1.py ship runs/table1/*-vae runs/table1/gated-pixelcnn
python experiments/mnist_table1.py measure conv-vae pixelvae
"""

from __future__ import annotations

import sys
from pathlib import Path

from experiments.jobs import run_all
from experiments.mnist_trainings import add_options, training
from experiments.report import Stages, checked_stages
from experiments.results import write_pages
from experiments.shipping import add_into_option, measure_again, ship_run, table1
from lib.console.command import ArgumentParser, add_device_options, main, positive_int, use_device
from models.table1 import VARIANTS

ROOT = Path(__file__).resolve().parents[1]


def parse(argv: list[str]):
    """The command line."""
    parser = ArgumentParser(prog="mnist_table1.py", description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)

    p = commands.add_parser("train", help="train the models, one after another, and evaluate them")
    p.add_argument("--model", dest="models", action="append", choices=list(VARIANTS),
                   help="only this one (can be given again)")  # fmt: skip
    add_options(p, "runs/table1", "model")
    _evaluation_options(p)
    add_device_options(p)
    p.set_defaults(function=train)

    p = commands.add_parser("ship", help="best weights into pretrained/, records, tables")
    p.add_argument("runs", nargs="+", metavar="RUN")
    add_into_option(p)
    _evaluation_options(p)
    p.set_defaults(function=ship)

    p = commands.add_parser("measure", help="numbers of shipped weights anew: records, tables")
    p.add_argument("names", nargs="+", metavar="NAME", choices=list(VARIANTS))
    add_into_option(p)
    _evaluation_options(p)
    p.set_defaults(function=measure)

    return parser.parse_args(argv)


def _evaluation_options(parser) -> None:
    parser.add_argument("--few-samples", type=positive_int, default=Stages().few, metavar="F",
                        help="importance samples of each test image")  # fmt: skip
    parser.add_argument("--importance-samples", type=positive_int, default=Stages().samples, metavar="S",
                        help="more of them, of some images")  # fmt: skip
    parser.add_argument("--images", type=positive_int, default=Stages().images, metavar="M",
                        help="of how many images, evenly spaced")  # fmt: skip


def _stages(arguments) -> Stages:
    return checked_stages(arguments.few_samples, arguments.importance_samples, arguments.images)


def train(arguments) -> int:
    """Trains the models in folders of their own, each resumed where it stopped, then ships them into ``--out``."""
    where = [f"--device={arguments.device}"] if arguments.device else []
    where += ["--tf32"] if arguments.tf32 else []
    models = arguments.models or list(VARIANTS)
    status = run_all([training(arguments, m, m, *where) for m in models], arguments.jobs)
    if status:
        return status
    out = Path(arguments.out)
    arguments.runs, arguments.into = [out / model for model in models], out
    use_device(arguments)  # not before: the trainings are processes of their own
    ship(arguments)
    return 0


def ship(arguments) -> None:
    """Copies each run's best weights to ``pretrained/NAME.npz``, evaluates them, and writes record, pictures and pages.

    Raises UserError where a folder is no run of a model of table 1.
    """
    for run in arguments.runs:
        ship_run(Path(run), arguments.into, table1(_stages(arguments)))
    write_pages(arguments.into)


def measure(arguments) -> None:
    """Evaluates shipped weights anew, and writes their records and pages."""
    for name in arguments.names:
        measure_again(name, arguments.into, table1(_stages(arguments)))
    write_pages(arguments.into)


if __name__ == "__main__":
    options = parse(sys.argv[1:])
    sys.exit(main(options.function, options))
