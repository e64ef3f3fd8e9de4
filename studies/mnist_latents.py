#!/usr/bin/env python
"""Figure 5: digits in a latent space of two dimensions, PixelVAE against the convolutional VAE.

python studies/mnist_latents.py train --seeds 0 1 2 3 4 --out runs/latents
python studies/mnist_latents.py record runs/latents
python studies/mnist_latents.py plot
python studies/mnist_latents.py explore runs/latents/gated-pixelvae-seed0

The fixed binarized MNIST has no labels and another order than MNIST. So the latent means are those
of MNIST's own labelled images (50,000 / 10,000 / 10,000), each pixel binarized once with its grey
value as the probability.
"""

from __future__ import annotations

import itertools
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pixelvae.experiments.mnist_pixelvae import EXPERIMENT
from pixelvae.machine.console.command import ArgumentParser, main, path, path_or_name
from pixelvae.machine.console.progress import say
from pixelvae.machine.errors import UserError
from pixelvae.machine.parallel.world import on_rank_0
from pixelvae.models.mnist.presets import MNIST
from studies.comparisons.finished import finished_folders, finished_run
from studies.comparisons.mnist_trainings import PaperFigure, Runs, order, training

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MODELS = ("conv-vae", "gated-pixelvae")
NEIGHBOURS = (1, 3, 5, 10, 20, 30, 50, 100, 200)


def parse(argv: list[str]):
    """The command line."""
    parser = ArgumentParser(prog="mnist_latents.py", description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)

    FIGURE.add_commands(commands, "runs/latents", "model and seed", train)
    p = commands.add_parser(
        "explore", help="a page of one model's latent plane: images in it, and what is drawn there"
    )
    p.add_argument("run", metavar="RUN", type=path, help="the run's folder")
    p.add_argument("--data", type=path_or_name, default="mnist", help="labelled images")
    p.set_defaults(function=explore)
    return parser.parse_args(argv)


def train(arguments) -> int:
    """Trains both models with each seed, then records and plots."""
    commands = [
        training(arguments, model, f"{model}-seed{seed}", "--seed", seed, "--latent-dim", 2)
        for seed, model in itertools.product(arguments.seeds, MODELS)
    ]
    return FIGURE.train(commands, arguments)


def labelled_images(split: str, name: str = "mnist") -> tuple[np.ndarray, np.ndarray]:
    """A data set's images, binarized with a fixed seed: uint8 (N, 1, H, W).

    And their digits, uint8 (N,).
    """
    from pixelvae.datasets import open_dataset
    from pixelvae.lib.noise import uniform

    data = open_dataset(name)
    grey = data.images(split)
    draws = uniform(0, f"binarize {split}", 0, grey.shape)
    return (draws < grey / np.float32(data.levels - 1)).astype("uint8"), data.labels(split)


def latent_means(model, images: np.ndarray, batch_size: int = 500) -> np.ndarray:
    """Means of q(z|x): float32 (N, K)."""
    import theano
    import theano.tensor as T

    x = T.tensor4("x", dtype="uint8")
    encode = theano.function([x], model.posteriors(T.cast(x, theano.config.floatX))["z"].mean)
    return np.concatenate(
        [encode(images[n : n + batch_size]) for n in range(0, len(images), batch_size)]
    )


def neighbour_errors(latents, labels) -> dict[str, float]:
    """Errors (0 to 1) of k-nearest neighbours among the training images, k chosen on validation.

    Both arguments have the keys train, valid and test: arrays (N, K) and (N,). Returns k,
    valid_error, test_error.
    """
    from sklearn.neighbors import KNeighborsClassifier

    def error(k: int, split: str) -> float:
        classifier = KNeighborsClassifier(k).fit(latents["train"], labels["train"])
        return float(np.mean(classifier.predict(latents[split]) != labels[split]))

    errors = {k: error(k, "valid") for k in NEIGHBOURS if k <= len(labels["train"])}
    best = min(errors, key=lambda k: errors[k])
    return {"k": best, "valid_error": errors[best], "test_error": error(best, "test")}


def load_plane(folder: Path) -> Any:
    """The model of a run. Raises UserError unless it has two latent dimensions."""
    from pixelvae.models.weights import load

    model: Any = load(str(folder), MNIST).model
    dimensions = [math.prod(latent.shape) for latent in model.latents]
    if dimensions != [2]:
        raise UserError(f"{folder} has {sum(dimensions)} latent dimensions: this is for two")
    return model


def finished(out: Path, into: Path, before: Runs) -> Runs:
    """All finished runs in the folder ``out``; writes the test set's latent means into ``into``.

    The means are of each model's first run, and stay where that is among those ``before``.

    Raises UserError if a model has no finished run.
    """
    from pixelvae.machine.files.atomic import atomic_write

    folders = finished_folders(out)
    runs = [finished_run(folder, EXPERIMENT, ("model", "layers")) for folder in folders]
    missing = set(MODELS) - {run["model"] for run in runs}
    if missing:
        raise UserError(f"{out} holds no finished run of {sorted(missing)[0]}")
    images = {split: labelled_images(split) for split in ("train", "valid", "test")}
    labels = {split: pair[1] for split, pair in images.items()}
    everything = [*before, *runs]
    first = [min(order(run) for run in everything if run["model"] == model) for model in MODELS]
    points: dict[str, np.ndarray] = {}
    for run, folder in zip(runs, folders):
        model = load_plane(folder)
        latents = {split: latent_means(model, pair[0]) for split, pair in images.items()}
        run.update(neighbour_errors(latents, labels), bound=run["test"]["bound"])
        say(f"{folder.name}: k = {run['k']}, test error {100 * run['test_error']:.1f} %")
        if order(run) in first:
            points[run["model"]] = latents["test"]
    for name, means in points.items():
        with atomic_write(into / f"{name}.npz") as file:
            np.savez_compressed(
                file, latents=means.astype("float32"), labels=labels["test"].astype("uint8")
            )
    return runs


def draw(runs: Runs, into: Path) -> Figure:
    """Figure 5 from errors and latent means, each model with its first run.

    Raises UserError where there are no means.
    """
    from matplotlib.figure import Figure

    from pixelvae.machine.files.atomic import user_errors

    first = {run["model"]: run for run in reversed(runs)}
    figure = Figure(figsize=(6 * len(MODELS), 5.5))
    for axes, name in zip(figure.subplots(1, len(MODELS)), MODELS):
        path = into / f"{name}.npz"
        with user_errors(f"cannot read {path}"), np.load(path, allow_pickle=False) as arrays:
            points, digits = arrays["latents"], arrays["labels"]
        drawn = axes.scatter(*points.T, c=digits, cmap="tab10", vmin=-0.5, vmax=9.5, s=2)
        error = 100 * first[name]["test_error"]
        axes.set(title=f"{name}: {error:.1f} % error", xlabel="z₁", ylabel="z₂")
    figure.colorbar(drawn, ticks=range(10), label="digit")
    figure.tight_layout()
    return figure


@on_rank_0
def explore(arguments) -> None:
    """Writes ``explore.html`` into a run's folder.

    Raises UserError if it has not two latent dimensions.
    """
    from studies.latent_plane import write_plane

    if not arguments.run.is_dir():
        raise UserError(f"{arguments.run} is not a run's folder")
    model = load_plane(arguments.run)
    images, labels = labelled_images("test", arguments.data)
    if images.shape[1:] != model.image_shape or labels.max(initial=0) > 9:
        raise UserError(
            f"{arguments.data} does not hold digits of {model.image_shape}", setting="data"
        )
    about = f"{len(images):,} test images of {arguments.data}"
    print(
        write_plane(
            arguments.run / "explore.html", model, latent_means(model, images), labels, about
        )
    )


FIGURE = PaperFigure("figure5", finished, draw)


if __name__ == "__main__":
    options = parse(sys.argv[1:])
    sys.exit(main(options.function, options))
