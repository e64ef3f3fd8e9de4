"""Draw a picture of originals beside reconstructions."""

from __future__ import annotations

import argparse

from pixelvae.experiments import figures
from pixelvae.experiments.commands.arguments import (
    TRAINED,
    add_picture,
    add_split,
    add_weights,
    picture_path,
)
from pixelvae.experiments.experiment import Experiment
from pixelvae.machine.console.command import picture_int


def add(parser: argparse.ArgumentParser, experiment: Experiment) -> None:
    """The weights, the originals, and the picture."""
    usual = experiment.family.pictured
    add_weights(parser, experiment)
    experiment.add_data_options(parser, TRAINED)
    add_split(parser)
    parser.add_argument(
        "--count", type=picture_int, default=usual.originals, help="originals, evenly spaced"
    )
    parser.add_argument("--draws", type=picture_int, default=usual.draws, help="draws beside each")
    parser.add_argument("--level", choices=("top", "bottom"), default="top", help="latents kept")
    add_picture(parser)


def run(experiment: Experiment, options: argparse.Namespace) -> None:
    """Draw the picture and print its path."""
    weights = experiment.load(options)
    drawer = figures.of(weights, options.sampler)
    dataset = experiment.open_data_of(options, weights)
    originals = figures.chosen_images(dataset, options.split, options.count)
    drawn = drawer.reconstructions(originals, options.seed, options.draws, options.level)
    print(drawn.save(picture_path(options, "reconstructions.png"), weights))
