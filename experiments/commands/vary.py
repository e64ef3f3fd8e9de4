"""Draw a picture in which one level's noise is varied (figures 6 and 11)."""

from __future__ import annotations

import argparse

from pixelvae.experiments import figures
from pixelvae.experiments.commands.arguments import add_picture, add_weights, picture_path
from pixelvae.experiments.experiment import Experiment
from pixelvae.machine.console.command import picture_int


def add(parser: argparse.ArgumentParser, experiment: Experiment) -> None:
    """The weights, what is varied, and the picture."""
    add_weights(parser, experiment)
    parser.add_argument(
        "--level",
        choices=(*figures.LEVELS, "all"),
        default="all",
        help="whose noise is varied (default: all, a row each)",
    )
    parser.add_argument("--count", type=picture_int, default=8, help="variations in a row")
    parser.add_argument("--scenes", type=picture_int, default=1, help="noises that are varied")
    add_picture(parser)


def run(experiment: Experiment, options: argparse.Namespace) -> None:
    """Draw the picture and print its path."""
    weights = experiment.load(options)
    drawer = figures.of(weights, options.sampler)
    drawn = drawer.variations(options.level, options.count, options.scenes, options.seed)
    print(drawn.save(picture_path(options, "vary.png"), weights))
