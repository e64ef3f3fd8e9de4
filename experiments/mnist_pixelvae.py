#!/usr/bin/env python
"""Section 4.1 and table 1: PixelVAE on binarized MNIST.

python experiments/mnist_pixelvae.py train --model gated-pixelvae-noup --out runs/noup
python experiments/mnist_pixelvae.py evaluate runs/noup --importance-samples 5000 --images 100
python experiments/mnist_pixelvae.py sample runs/noup
python experiments/mnist_pixelvae.py reconstruct runs/noup
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any

from lib.console.command import (
    ArgumentParser,
    add_device_options,
    fraction,
    main,
    non_negative_int,
    picture_int,
    positive_float,
    positive_int,
    run,
)
from lib.console.progress import say
from lib.errors import UserError
from lib.files.atomic import to_json
from models import MNIST_MODELS

# The paper's recipe and sizes; a recipe that gets further on few cores (smaller batches, a learning rate that falls,
# averaged weights) at a size that they can train; and one for some minutes on a laptop's CPU.
PRESETS: dict[str, dict[str, Any]] = {
    "paper": dict(
        layers=12, dim_pix=32, latent_dim=64, filter_size=5, iterations=200_000, batch_size=100,
        learning_rate=1e-3, kl_warmup=10_000, eval_every=500, decay_after=None, average_decay=None,
    ),
    "few-cores": dict(
        layers=8, dim_pix=16, latent_dim=32, filter_size=5, iterations=50_000, batch_size=16,
        learning_rate=2e-3, kl_warmup=5_000, eval_every=3_125, decay_after=5_000, average_decay=0.999,
    ),
    "quick": dict(
        layers=2, dim_pix=16, latent_dim=16, filter_size=5, iterations=4_000, batch_size=50,
        learning_rate=1.5e-3, kl_warmup=2_000, eval_every=1_000, decay_after=None, average_decay=None,
    ),
}  # fmt: skip

WEIGHTS_HELP = "a run's folder, a weights file, or the name of trained weights in pretrained/"


def parse(words: list[str]):
    """The command line; no command means ``train``."""
    known = ("train", "evaluate", "sample", "reconstruct", "replay", "-h", "--help")
    if not words or words[0] not in known:
        words = ["train", *words]
    parser = ArgumentParser(prog="mnist_pixelvae.py", description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)

    p = commands.add_parser("train", help="train a model, then evaluate and sample")
    p.add_argument("--model", choices=MNIST_MODELS, default="gated-pixelvae-noup")
    p.add_argument("--preset", choices=sorted(PRESETS), default="paper")
    p.add_argument("--data", default="auto", help="a data set's name, a .npz file, or auto")
    p.add_argument("--out", help="the run's folder (default: runs/MODEL-PRESET)")
    p.add_argument("--iterations", type=positive_int)
    p.add_argument("--batch-size", type=positive_int)
    p.add_argument("--layers", type=non_negative_int, help="PixelCNN layers after the first (L)")
    p.add_argument("--dim-pix", type=positive_int, help="their width (D)")
    p.add_argument("--latent-dim", type=positive_int, help="dimensions of z (K)")
    p.add_argument("--filter-size", type=positive_int, help="their filter size, odd (k)")
    p.add_argument("--learning-rate", type=positive_float)
    p.add_argument("--decay-after", type=positive_int, metavar="T",
                   help="from iteration T on, the learning rate falls as sqrt(T / t)")  # fmt: skip
    p.add_argument("--average-decay", type=fraction, metavar="DECAY",
                   help="evaluate the exponential moving average of the weights")  # fmt: skip
    p.add_argument("--kl-warmup", type=positive_int, help="iterations until the KL counts in full")
    p.add_argument("--eval-every", type=positive_int)
    p.add_argument("--seed", type=non_negative_int, default=0)
    p.add_argument("--resume", dest="resume", action="store_true", default=True)
    p.add_argument("--no-resume", dest="resume", action="store_false")
    p.add_argument("--tensorboard", action="store_true", help="write event files too")
    p.add_argument("--on-nan", choices=("stop", "skip"), default="stop",
                   help="what to do with a step that is not finite")  # fmt: skip
    p.set_defaults(function=train)

    p = commands.add_parser("evaluate", help="bound and importance-weighted likelihood")
    p.add_argument("weights", metavar="RUN|WEIGHTS.npz|NAME", help=WEIGHTS_HELP)
    p.add_argument("--data", help="default: what the weights were trained on")
    p.add_argument("--split", choices=("train", "valid", "test"), default="test")
    p.add_argument("--importance-samples", type=positive_int, metavar="S")
    p.add_argument("--images", type=positive_int, metavar="M", help="only M images, evenly spaced")
    p.add_argument("--samples", type=positive_int, default=1, help="posterior samples of the bound")
    p.add_argument("--batch-size", type=positive_int, default=100)
    p.add_argument("--seed", type=non_negative_int, default=0)
    p.add_argument("--json", action="store_true", help="one JSON object on the last line")
    p.set_defaults(function=evaluate)

    p = commands.add_parser("sample", help="a picture of samples (figure 9)")
    p.add_argument("weights", metavar="RUN|WEIGHTS.npz|NAME", help=WEIGHTS_HELP)
    p.add_argument("--count", type=picture_int, default=100)
    p.add_argument("--seed", type=non_negative_int, default=0)
    p.add_argument("--sampler", choices=("cached", "naive"), default="cached")
    p.add_argument("--out", metavar="FILE.png")
    p.set_defaults(function=sample)

    p = commands.add_parser("reconstruct", help="originals beside reconstructions (figure 10)")
    p.add_argument("weights", metavar="RUN|WEIGHTS.npz|NAME", help=WEIGHTS_HELP)
    p.add_argument("--data", help="default: what the weights were trained on")
    p.add_argument("--split", choices=("train", "valid", "test"), default="test")
    p.add_argument("--count", type=picture_int, default=50)
    p.add_argument("--seed", type=non_negative_int, default=0)
    p.add_argument("--sampler", choices=("cached", "naive"), default="cached")
    p.add_argument("--out", metavar="FILE.png")
    p.set_defaults(function=reconstruct)

    p = commands.add_parser("replay", help="look at the step that was not finite")
    p.add_argument("report", metavar="RUN|TROUBLE.npz")
    p.set_defaults(function=replay)

    for p in commands.choices.values():
        add_device_options(p)
    arguments = parser.parse_args(words)
    if arguments.command == "train":
        for name, value in PRESETS[arguments.preset].items():
            if getattr(arguments, name) is None:
                setattr(arguments, name, value)
        if arguments.filter_size % 2 == 0:
            parser.error(f"--filter-size must be odd, not {arguments.filter_size}")
    return arguments


def schedule_of(training: Mapping[str, Any]) -> Callable[[int], dict[str, float]]:
    """The learning rate and α at iteration t, from a preset's ``learning_rate``, ``decay_after`` and ``kl_warmup``.

    Neither depends on how long the training will be, so that it can be prolonged.
    """

    def schedule(t: int) -> dict[str, float]:
        after = training["decay_after"]
        falling = min(1.0, after / t) ** 0.5 if after else 1.0
        return {
            "learning_rate": training["learning_rate"] * falling,
            "alpha": min(1.0, t / training["kl_warmup"]),
        }

    return schedule


def recipe_of(training: Mapping[str, Any], on_nan: str = "stop"):
    """The :class:`lib.training.step.Recipe` of a preset with a ``seed``, or of the settings in a run's config."""
    from lib.training.step import Recipe

    return Recipe(
        training["iterations"], training["batch_size"], training["eval_every"], training["seed"],
        schedule_of(training), clip_entry=1.0, average_decay=training["average_decay"], on_nan=on_nan,
    )  # fmt: skip


def train(arguments) -> int:
    from datasets import open_dataset
    from lib.backend.summary import summary
    from lib.runs.environment import environment_record
    from lib.runs.folder import Run
    from lib.training.loop import Trainer
    from models.mnist import MnistModel, Settings

    dataset = open_dataset(arguments.data)
    channels, height, width = dataset.image_shape
    if channels != 1 or dataset.levels != 2:
        raise UserError(f"{dataset.name} is not a set of binary images, which these models are for")
    settings = Settings(
        arguments.model, arguments.layers, arguments.dim_pix, arguments.latent_dim,
        arguments.filter_size, height, width,
    )  # fmt: skip
    training = {
        name: getattr(arguments, name)
        for name in (
            "iterations", "batch_size", "learning_rate", "decay_after", "average_decay", "kl_warmup",
            "eval_every", "seed",
        )
    }  # fmt: skip
    data = {"name": dataset.name, "checksum": dataset.checksum}
    config = {
        "settings": {"model": vars(settings), **training, "data": data},
        "environment": {**environment_record(), "backend": summary(), "preset": arguments.preset},
    }
    out = arguments.out or f"runs/{arguments.model}-{arguments.preset}"
    with Run.open(out, config, arguments.resume, tensorboard=arguments.tensorboard) as run:
        say(summary())
        model = MnistModel(settings, seed=arguments.seed)
        say(
            f"{settings.model}: {model.parameters.count():,} parameters, "
            f"L = {settings.layers}, D = {settings.dim_pix}, K = {model.latent_dim}, on {dataset.name}"
        )
        status = Trainer(model, dataset, recipe_of(training, arguments.on_nan), run).run()
        if status == 0:
            finish(run, dataset)
        return status


def finish(run, dataset) -> None:
    """Evaluates the best weights on the validation and the test set, and draws the pictures."""
    from datasets.spread import Spread
    from lib.evaluation import Bound
    from lib.files.pictures import save_grid, side_by_side
    from lib.sampling import reconstruct_images, sample_images

    model, header = load(str(run.folder))
    bound = Bound(model, seed=0)
    results = {"iteration": header["iteration"]}
    for split in ("valid", "test"):
        results[split] = report(model, split, bound(dataset, split))
        say(describe(results[split]))
    run.write_json("results.json", results)
    save_grid(run.path("samples.png"), sample_images(model, 100, seed=0), model.levels)
    if model.latent_dim:
        originals = Spread(dataset, "test", min(50, dataset.size("test"))).images("test")
        pairs = side_by_side(originals, reconstruct_images(model, originals, seed=0))
        save_grid(run.path("reconstructions.png"), pairs, model.levels, columns=10)
    say(f"results, samples and reconstructions are in {run.folder}")


def load(path: str):
    """The model of a run or a weights file, and the file's header."""
    from experiments.weights import load_weights, model_of

    arrays, header = load_weights(path)
    return model_of(path, arrays, header, _model), header


def _model(header):
    """The model that a header describes. Raises what comes of one that describes none."""
    from models.mnist import MnistModel, Settings

    settings = Settings(**header["model"])
    if settings.model not in MNIST_MODELS:
        raise UserError(f"there is no model {settings.model!r} here")
    return MnistModel(settings)


def report(model, split: str, bound, weighted=None, samples: int | None = None) -> dict:
    """The numbers as JSON (the format of results.json)."""
    numbers = {
        "model": model.settings.model,
        "split": split,
        "images": len(bound.values["bound"]),
        "unit": "nats/image",
        "bound": bound.summary("bound"),
        "reconstruction": bound.summary("reconstruction"),
    }
    if model.latent_dim:
        numbers["kl"] = bound.summary("kl")
    else:
        numbers["bound"]["exact"] = True
    if weighted is not None:
        numbers["importance_weighted"] = {
            **weighted.summary("importance_weighted"),
            "samples": samples,
        }
    return numbers


def describe(numbers: dict) -> str:
    """The same numbers as one line."""
    keys = ("bound", "reconstruction", "kl", "importance_weighted")
    parts = [
        f"{k.replace('_', '-')} {numbers[k]['mean']:.2f} ± {numbers[k]['se']:.2f}"
        for k in keys
        if k in numbers
    ]
    if numbers["bound"].get("exact"):
        parts[0] += " (exact)"
    return f"{numbers['model']}, {numbers['images']:,} {numbers['split']} images: " + ", ".join(
        parts
    )


def evaluate(arguments) -> None:
    from experiments.weights import open_data
    from lib.evaluation import Bound, ImportanceWeighted

    model, header = load(arguments.weights)
    dataset = open_data(arguments.data, header, model)
    bound = Bound(model, arguments.seed, arguments.batch_size)(
        dataset, arguments.split, arguments.images, arguments.samples
    )
    weighted = None
    if arguments.importance_samples and model.latent_dim:
        weighted = ImportanceWeighted(model, arguments.seed, arguments.batch_size)(
            dataset, arguments.split, arguments.importance_samples, arguments.images
        )
    elif arguments.importance_samples:
        say(f"{model.settings.model} has no latent: its likelihood is exact")
    numbers = report(model, arguments.split, bound, weighted, arguments.importance_samples)
    print(describe(numbers) + " (nats/image, ± standard error)")
    if arguments.json:
        print(to_json(numbers))


def sample(arguments) -> None:
    from experiments.weights import beside
    from lib.files.pictures import save_grid
    from lib.sampling import sample_images

    model, _ = load(arguments.weights)
    images = sample_images(model, arguments.count, arguments.seed, arguments.sampler)
    out = arguments.out or beside(arguments.weights, "samples.png")
    save_grid(out, images, model.levels)
    print(out)


def reconstruct(arguments) -> None:
    from datasets.spread import Spread
    from experiments.weights import beside, open_data
    from lib.files.pictures import save_grid, side_by_side
    from lib.sampling import reconstruct_images

    model, header = load(arguments.weights)
    if not model.latent_dim:
        raise UserError(f"{model.settings.model} has no latent, so there is nothing to reconstruct")
    dataset = open_data(arguments.data, header, model)
    originals = Spread(dataset, arguments.split, arguments.count).images(arguments.split)
    again = reconstruct_images(model, originals, arguments.seed, arguments.sampler)
    out = arguments.out or beside(arguments.weights, "reconstructions.png")
    save_grid(out, side_by_side(originals, again), model.levels, columns=10)
    print(out)


def replay(arguments) -> None:
    from experiments.weights import show_report

    show_report(arguments.report, _model, recipe_of)


if __name__ == "__main__":
    options = parse(sys.argv[1:])
    sys.exit(main(run, options))
