#!/usr/bin/env python
"""Figure 4: PixelVAE against PixelCNN with few autoregressive layers, all trained equally long.

python studies/mnist_layers.py train --layers 0 1 2 3 4 6 8 --seeds 0 1 2 --out runs/layers
python studies/mnist_layers.py record runs/layers
python studies/mnist_layers.py plot

The 7×7 input layer is autoregressive too: L = 0 has one such layer. None at all is the
convolutional VAE, which has the same decoder and independent pixels.
"""

from __future__ import annotations

import itertools
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from pixelvae.experiments.mnist_pixelvae import EXPERIMENT
from pixelvae.machine.console.command import ArgumentParser, main, non_negative_int
from studies.comparisons.finished import finished_folders, finished_run
from studies.comparisons.mnist_trainings import PaperFigure, Runs, training
from studies.publishing.records import groups, over_seeds

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MODELS = ("gated-pixelvae", "gated-pixelcnn")


def parse(argv: list[str]):
    """The command line."""
    parser = ArgumentParser(prog="mnist_layers.py", description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)

    p = FIGURE.add_commands(commands, "runs/layers", "model, L and seed", train)
    p.add_argument(
        "--layers",
        type=non_negative_int,
        nargs="+",
        default=[0, 1, 2, 4, 6, 8, 10, 12, 14],
        metavar="L",
        help="of the PixelCNN, after the first",
    )
    return parser.parse_args(argv)


def train(arguments) -> int:
    """Trains the convolutional VAE, and both models for each L, with each seed; records, plots."""
    wanted = [("conv-vae", None)] + [(m, layers) for layers in arguments.layers for m in MODELS]
    commands = []
    for seed, (model, layers) in itertools.product(arguments.seeds, wanted):
        name, depth = (
            (model, []) if layers is None else (f"{model}-L{layers}", ["--layers", layers])
        )
        commands.append(training(arguments, model, f"{name}-seed{seed}", "--seed", seed, *depth))
    return FIGURE.train(commands, arguments)


def finished(out: Path, into: Path, before: Runs) -> Runs:
    """All finished runs in the folder ``out``. Raises UserError where there are none."""
    runs = [
        finished_run(folder, EXPERIMENT, ("model", "layers")) for folder in finished_folders(out)
    ]
    for run in runs:
        run["autoregressive_layers"] = 0 if run["model"] == "conv-vae" else run["layers"] + 1
    return runs


def draw(runs: Runs, into: Path) -> Figure:
    """Figures 4a and 4b."""
    from matplotlib.figure import Figure

    vae = [run for run in runs if run["model"] != "gated-pixelcnn"]
    cnn = [run for run in runs if run["model"] == "gated-pixelcnn"]

    def line(axes, chosen, value, label):
        """Through the mean of the seeds.

        Each of them is a dot with the standard error over images.
        """
        if chosen:
            layers = [run["autoregressive_layers"] for run in chosen]
            tests = [run["test"][value] for run in chosen]
            means, errors = [test["mean"] for test in tests], [test["se"] for test in tests]
            dots = axes.errorbar(layers, means, errors, fmt=".", capsize=3)
            seeds = dict(groups(chosen, "autoregressive_layers"))
            means = [over_seeds(same, value)["mean"] for same in seeds.values()]
            axes.plot([n for (n,) in seeds], means, color=dots[0].get_color(), label=label)

    figure = Figure(figsize=(10, 4))
    left, right = figure.subplots(1, 2)
    line(left, vae, "bound", "PixelVAE (upper bound)")
    line(left, cnn, "bound", "PixelCNN")
    line(right, [run for run in vae if "kl" in run["test"]], "kl", "KL")
    line(right, vae, "reconstruction", "reconstruction")
    for axes, title in ((left, "4a: −log p(x), test set"), (right, "4b: PixelVAE's bound, split")):
        axes.set(xlabel="autoregressive layers", ylabel="nats an image", title=title)
        axes.legend()
    figure.tight_layout()
    return figure


FIGURE = PaperFigure("figure4", finished, draw)


if __name__ == "__main__":
    options = parse(sys.argv[1:])
    sys.exit(main(options.function, options))
