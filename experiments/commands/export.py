"""Write weights as safetensors, for PyTorch and others."""

from __future__ import annotations

import argparse

from pixelvae.experiments import together
from pixelvae.experiments.commands.arguments import add_trained
from pixelvae.experiments.experiment import Experiment
from pixelvae.machine.console.command import path
from pixelvae.machine.parallel.world import on_rank_0


def add(parser: argparse.ArgumentParser, experiment: Experiment) -> None:
    """The weights and the file."""
    add_trained(parser)
    parser.add_argument(
        "out", type=path, metavar="OUT.safetensors", help="the file, which is replaced"
    )


def run(experiment: Experiment, options: argparse.Namespace) -> None:
    """Write the file and print its path."""
    on_rank_0(together.load(options.weights, experiment.family).export)(options.out)
    print(options.out)
