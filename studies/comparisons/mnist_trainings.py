"""Several trainings of mnist_pixelvae.py from one command line: its options, and the command of each."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from pixelvae.machine.console.command import path, path_or_name, positive_int
from pixelvae.models.registry import MNIST
from studies.publishing.records import ROOT


def add_options(parser: argparse.ArgumentParser, out: str, one_run: str) -> None:
    """What all trainings have alike, and where they go; ``one_run`` says what each folder in ``out`` is of."""
    parser.add_argument(
        "--preset",
        choices=list(MNIST.presets),
        default="paper",
        help="of all trainings (default: paper)",
    )
    parser.add_argument(
        "--data",
        type=path_or_name,
        default="binarized_mnist",
        help="a data set's name (default: binarized_mnist)",
    )
    parser.add_argument("--out", type=path, default=out, help=f"a folder with one run a {one_run}")
    parser.add_argument("--jobs", type=positive_int, default=1, help="trainings at the same time")
    parser.add_argument("options", nargs="*", help="after --: more options for each training")


def training(arguments: argparse.Namespace, model: str, name: str, *words: Any) -> list[str]:
    """The command that trains a model in the folder ``name`` of ``--out``; the user's own options go last."""
    script = ROOT / "experiments" / "mnist_pixelvae.py"
    out = arguments.out / name
    line = [sys.executable, script, "train", "--model", model, "--preset", arguments.preset]
    return [*map(str, [*line, "--data", arguments.data, "--out", out, *words, *arguments.options])]
