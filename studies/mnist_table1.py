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

from pixelvae.experiments import together
from pixelvae.experiments.invocations import command
from pixelvae.experiments.mnist_pixelvae import EXPERIMENT
from pixelvae.experiments.summaries import SampleSizes, summarise
from pixelvae.lib.runs.settings import remarks_on_data
from pixelvae.machine.console.command import (
    ArgumentParser,
    add_device_options,
    main,
    path,
    use_device,
)
from pixelvae.models.mnist.table1 import VARIANTS
from studies.comparisons.jobs import run_all
from studies.comparisons.mnist_trainings import add_options, training
from studies.publishing.pages import write_pages
from studies.publishing.records import DYNAMIC
from studies.publishing.shipping import (
    Shipped,
    add_into_option,
    add_sample_sizes,
    evaluation_commands,
    measure_again,
    paper_gap,
    sample_sizes,
    ship_run,
    weighted,
)

if TYPE_CHECKING:
    from pixelvae.models.weights import Weights

#: The data that weights of a name of their own are trained on, and those of table 1.
DYNAMIC_DATA, FIXED_DATA = "mnist_dynamic", "binarized_mnist"


def parse(argv: list[str]):
    """The command line."""
    parser = ArgumentParser(prog="mnist_table1.py", description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)

    p = commands.add_parser("train", help="train the models, one after another, and evaluate them")
    p.add_argument("--model", dest="models", action="append", choices=list(VARIANTS),
                   help="only this one (can be given again)")  # fmt: skip
    add_options(p, "runs/table1", "model")
    add_sample_sizes(p, SampleSizes())
    add_device_options(p)
    p.set_defaults(function=train)

    p = commands.add_parser("ship", help="best weights into pretrained/, records, tables")
    p.add_argument("runs", nargs="+", type=path, metavar="RUN", help="the folder of a finished run")
    add_into_option(p)
    add_sample_sizes(p, SampleSizes())
    p.set_defaults(function=ship)

    p = commands.add_parser("measure", help="measure shipped weights again: records, tables")
    p.add_argument(
        "names",
        nargs="+",
        metavar="NAME",
        choices=[name + end for end in ("", DYNAMIC) for name in VARIANTS],
        help="shipped weights",
    )
    add_into_option(p)
    add_sample_sizes(p, SampleSizes())
    p.set_defaults(function=measure)

    return parser.parse_args(argv)


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
        ship_run(run, arguments.into, shipped_rows(sample_sizes(arguments)))
    write_pages(arguments.into)


def measure(arguments) -> None:
    """Evaluates shipped weights again, and writes their records and pages."""
    for name in arguments.names:
        measure_again(name, arguments.into, shipped_rows(sample_sizes(arguments)))
    write_pages(arguments.into)


def name_of(weights: Weights) -> str:
    """What weights are called: as the model, and after the data if these are not table 1's."""
    return weights.model.name + (DYNAMIC if weights.data == DYNAMIC_DATA else "")


def shipped_rows(sizes: SampleSizes) -> Shipped:
    """The models of table 1, with importance-weighted estimates in two stages.

    Those trained on other data than table 1's have these beside them, under ``fixed``.
    """

    def more(weights, dataset, numbers: Mapping[str, Any]) -> dict[str, Any]:
        from pixelvae.lib.evaluation import Bound

        model = weights.model
        record: dict[str, Any] = {"model": model.name, **weighted(weights, dataset, sizes)}
        bound = command(EXPERIMENT, "evaluate", name_of(weights))
        record["commands"] = evaluation_commands(bound, weights, sizes, dataset)
        paper = VARIANTS[model.name].paper
        if weights.data == DYNAMIC_DATA:
            fixed = together.open_data(FIXED_DATA)
            values = Bound(model, 0, EXPERIMENT.family.evaluation_batch)(fixed, "test")
            remarks = remarks_on_data(weights.trained, fixed)
            test = summarise(weights, "test", values, remarks=remarks)
            record["fixed"] = {"test": test, **weighted(weights, fixed, sizes)}
        elif paper is not None:
            record["paper"] = paper_gap(paper, numbers["test"]["bound"])
        return record

    size = ("layers", "dim_pix", "latent_dim", "filter_size")
    return Shipped(EXPERIMENT, "mnist", name_of, size, more)


if __name__ == "__main__":
    options = parse(sys.argv[1:])
    sys.exit(main(options.function, options))
