#!/usr/bin/env python
"""Table 1 whole: trains the models, ships their best weights, and records what they reach.

python studies/mnist_table1.py train --preset few-cores --out runs/table1
python studies/mnist_table1.py ship runs/table1/*-vae runs/table1/gated-pixelcnn
python studies/mnist_table1.py measure conv-vae pixelvae
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pixelvae.experiments.mnist_pixelvae import EXPERIMENT
from pixelvae.experiments.summaries import SampleSizes, checked_sizes, describe_two_stages
from pixelvae.machine.console.command import (
    ArgumentParser,
    add_device_options,
    main,
    path,
    positive_int,
    use_device,
)
from pixelvae.machine.console.progress import say
from pixelvae.models.mnist.table1 import VARIANTS
from studies.comparisons.jobs import run_all
from studies.comparisons.mnist_trainings import add_options, training
from studies.publishing.pages import write_pages
from studies.publishing.shipping import (
    Shipped,
    add_into_option,
    bound_commands,
    measure_again,
    paper_gap,
    ship_run,
)

if TYPE_CHECKING:
    from pixelvae.lib.data import Dataset


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
    p.add_argument("runs", nargs="+", type=path, metavar="RUN", help="the folder of a finished run")
    add_into_option(p)
    _evaluation_options(p)
    p.set_defaults(function=ship)

    p = commands.add_parser("measure", help="measure shipped weights again: records, tables")
    p.add_argument(
        "names", nargs="+", metavar="NAME", choices=list(VARIANTS), help="a model of table 1"
    )
    add_into_option(p)
    _evaluation_options(p)
    p.set_defaults(function=measure)

    return parser.parse_args(argv)


def _evaluation_options(parser) -> None:
    parser.add_argument("--few-samples", type=positive_int, default=SampleSizes().few, metavar="F",
                        help="importance samples of each test image")  # fmt: skip
    parser.add_argument("--importance-samples", type=positive_int, default=SampleSizes().samples, metavar="S",
                        help="more of them, of some images")  # fmt: skip
    parser.add_argument("--images", type=positive_int, default=SampleSizes().images, metavar="M",
                        help="of how many images, evenly spaced")  # fmt: skip


def _stages(arguments) -> SampleSizes:
    return checked_sizes(arguments.few_samples, arguments.importance_samples, arguments.images)


def train(arguments) -> int:
    """Trains the models in folders of their own, each resumed where it stopped, then ships them."""
    where = [f"--device={arguments.device}"] if arguments.device else []
    where += ["--tf32"] if arguments.tf32 else []
    models = arguments.models or list(VARIANTS)
    status = run_all([training(arguments, m, m, *where) for m in models], arguments.jobs)
    if status:
        return status
    out = arguments.out
    arguments.runs, arguments.into = [out / model for model in models], out
    use_device(arguments)  # not before: the trainings are processes of their own
    ship(arguments)
    return 0


def ship(arguments) -> None:
    """Ships each run's best weights to ``pretrained/NAME.npz``, with record, pictures and pages.

    Raises UserError if a folder is not a run of a model of table 1.
    """
    for run in arguments.runs:
        ship_run(run, arguments.into, shipped_rows(_stages(arguments)))
    write_pages(arguments.into)


def measure(arguments) -> None:
    """Evaluates shipped weights again, and writes their records and pages."""
    for name in arguments.names:
        measure_again(name, arguments.into, shipped_rows(_stages(arguments)))
    write_pages(arguments.into)


def evaluation_commands(name: str, stages: SampleSizes, dataset: Dataset) -> dict[str, str]:
    """The commands that print the record's numbers.

    An exact likelihood needs no importance weighting.
    """
    command = f"python experiments/mnist_pixelvae.py evaluate {name}"
    commands = bound_commands(command, dataset)
    if VARIANTS[name].latent:
        commands["weighted"] = (
            f"{command} --importance-samples {stages.samples} --images {stages.images} "
            f"--few-samples {stages.few}"
        )
    return commands


def shipped_rows(stages: SampleSizes) -> Shipped:
    """The models of table 1, with importance-weighted estimates in two stages."""

    def more(weights, dataset, numbers: Mapping[str, Any]) -> dict[str, Any]:
        from pixelvae.lib.evaluation import ImportanceWeighted

        model, few = weights.model, stages._replace(images=min(stages.images, dataset.size("test")))
        record: dict[str, Any] = {}
        if model.latents:
            weigh = ImportanceWeighted(model, seed=0).in_two_stages
            record["weighted"] = weigh(dataset, "test", *few).summary()
            say(describe_two_stages(record["weighted"], model.unit.name))
        record["commands"] = evaluation_commands(model.name, few, dataset)
        paper = VARIANTS[model.name].paper
        if paper is not None:
            record["paper"] = paper_gap(paper, numbers["test"]["bound"])
        return record

    size = ("layers", "dim_pix", "latent_dim", "filter_size")
    return Shipped(EXPERIMENT, "mnist", lambda weights: weights.model.name, size, more)


if __name__ == "__main__":
    options = parse(sys.argv[1:])
    sys.exit(main(options.function, options))
