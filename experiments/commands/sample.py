"""Draw a picture of samples."""

from __future__ import annotations

import argparse

from pixelvae.experiments import figures
from pixelvae.experiments.commands.arguments import add_picture, add_weights, picture_path
from pixelvae.experiments.experiment import Experiment
from pixelvae.machine.console.command import picture_int


def add(parser: argparse.ArgumentParser, experiment: Experiment) -> None:
    """The weights, how many samples, and the picture."""
    add_weights(parser, experiment)
    count = experiment.family.pictured.samples
    parser.add_argument("--count", type=picture_int, default=count, help="samples")
    add_picture(parser)


def run(experiment: Experiment, options: argparse.Namespace) -> None:
    """Draw the picture and print its path."""
    weights = experiment.load(options)
    drawn = figures.of(weights, options.sampler).samples(options.count, options.seed)
    print(drawn.save(picture_path(options, "samples.png"), weights))
