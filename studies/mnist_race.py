#!/usr/bin/env python
"""A race of settings: a model of table 1 in several sizes, for the same processor time each.

python studies/mnist_race.py --model gated-pixelvae-noup --out runs/race --minutes 20 \
    --try="--layers 4"
python studies/mnist_race.py --model gated-pixelvae-noup --out runs/general --minutes 90 \
    --try="--dropout 0.1" --try="--weight-decay 0.01" -- --from gated-pixelvae-noup --dim-pix 32
"""

from __future__ import annotations

import sys

from pixelvae.experiments.mnist_pixelvae import EXPERIMENT
from pixelvae.machine.console.command import ArgumentParser, main
from pixelvae.models.mnist.table1 import VARIANTS
from studies.comparisons import equal_cost
from studies.publishing.records import RACES


def parse(argv: list[str]):
    """The command line."""
    parser = ArgumentParser(prog="mnist_race.py", description=__doc__.splitlines()[0])
    parser.add_argument(
        "--model", required=True, choices=list(VARIANTS), help="the model that is raced"
    )
    equal_cost.add_tries(parser)
    equal_cost.add_options(parser, EXPERIMENT, "few-cores", "binarized_mnist")
    return parser.parse_args(argv)


def race(arguments) -> int:
    """Trains the preset and each variation of its options, then writes record and pages."""
    raced = arguments.model
    of_model = ["--model", raced]
    first = ["mnist_race.py", *of_model]
    return equal_cost.race(arguments, EXPERIMENT, RACES, raced, first, words=of_model)


if __name__ == "__main__":
    sys.exit(main(race, parse(sys.argv[1:])))
