"""Draw a picture of samples."""

from __future__ import annotations

import argparse

from experiments import figures
from experiments.commands.arguments import add_picture, add_weights, picture_path
from experiments.experiment import Experiment
from lib.console.command import picture_int


def add(parser: argparse.ArgumentParser, experiment: Experiment) -> None:
    """The weights, how many samples, and the picture."""
    add_weights(parser, experiment)
    count = figures.kind_of(experiment.family).SAMPLES
    parser.add_argument("--count", type=picture_int, default=count)
    add_picture(parser)


def run(experiment: Experiment, options: argparse.Namespace) -> None:
    """Draw the picture and print its path."""
    weights = experiment.load(options)
    drawn = figures.of(weights, options.sampler).samples(options.count, options.seed)
    print(drawn.save(picture_path(options, "samples.png"), weights))
