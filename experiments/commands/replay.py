"""Look at the step that was not finite."""

from __future__ import annotations

import argparse

from pixelvae.experiments.experiment import Experiment
from pixelvae.machine.console.command import path_or_name
from pixelvae.machine.parallel.world import on_rank_0


def add(parser: argparse.ArgumentParser, experiment: Experiment) -> None:
    """The report."""
    parser.add_argument(
        "report",
        type=path_or_name,
        metavar="RUN|TROUBLE.npz",
        help="a run's folder, or the report that it left",
    )


@on_rank_0
def run(experiment: Experiment, options: argparse.Namespace) -> None:
    """Take the step again and print what is not finite."""
    from pixelvae.models.weights import replay

    for line in replay(options.report):
        print(line)
