"""Write a page to look at: settings, curves, numbers and pictures of a run."""

from __future__ import annotations

import argparse

from pixelvae.experiments.experiment import Experiment
from pixelvae.machine.console.command import path
from pixelvae.machine.parallel.world import on_rank_0


def add(parser: argparse.ArgumentParser, experiment: Experiment) -> None:
    """The run."""
    parser.add_argument("run", metavar="RUN", type=path, help="a run's folder")


def run(experiment: Experiment, options: argparse.Namespace) -> None:
    """Write report.html into the run's folder and print its path."""
    from pixelvae.experiments.pages.run_report import write_report

    print(on_rank_0(write_report)(experiment, options.run))
