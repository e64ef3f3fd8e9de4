"""Options that several subcommands share, and what they mean."""

from __future__ import annotations

import argparse
from pathlib import Path

from pixelvae.experiments.experiment import Experiment
from pixelvae.machine.console.command import flag, non_negative_int, path, path_or_name

TRAINED = "what the weights were trained on"


def add_trained(parser: argparse.ArgumentParser) -> None:
    """The weights."""
    parser.add_argument(
        "weights",
        type=path_or_name,
        metavar="RUN|WEIGHTS.npz|NAME",
        help="a run's folder, a weights file, or the name of trained weights in pretrained/",
    )


def add_weights(parser: argparse.ArgumentParser, experiment: Experiment) -> None:
    """The weights, the seed of what is drawn with them, and the modes of the family."""
    add_trained(parser)
    parser.add_argument("--seed", type=non_negative_int, default=0, help="of the noise")
    for mode in experiment.family.modes:
        parser.add_argument(
            flag(mode.name), choices=mode.words, default=mode.words[0], help=mode.about
        )


def add_split(parser: argparse.ArgumentParser) -> None:
    """The part of the data."""
    parser.add_argument(
        "--split", choices=("train", "valid", "test"), default="test", help="the part of the data"
    )


def add_picture(parser: argparse.ArgumentParser) -> None:
    """How a picture is drawn, and where it goes."""
    parser.add_argument(
        "--sampler",
        choices=("cached", "naive"),
        default="cached",
        help="compute each value once (cached, the default), or the whole network for each pixel",
    )
    parser.add_argument(
        "--out",
        type=path,
        metavar="FILE.png",
        help="the picture's file (default: beside the weights)",
    )


def picture_path(options: argparse.Namespace, name: str) -> Path:
    """Where a picture goes: ``--out``, or into the run's folder or that of the weights file.

    A picture of trained weights that were named goes into the current folder, under their name.
    """
    from pixelvae.models.weights import is_name

    if options.out:
        return options.out
    if is_name(options.weights):
        return Path(f"{options.weights}-{name}")
    folder = Path(options.weights)
    return (folder if folder.is_dir() else folder.parent) / name
