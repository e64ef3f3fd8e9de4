"""Print the bound and its parts, and the importance-weighted likelihood."""

from __future__ import annotations

import argparse
from typing import Any

from pixelvae.experiments.commands.arguments import TRAINED, add_split, add_weights
from pixelvae.experiments.experiment import Experiment
from pixelvae.machine.console.command import positive_int
from pixelvae.machine.console.progress import say
from pixelvae.machine.errors import UserError


def add(parser: argparse.ArgumentParser, experiment: Experiment) -> None:
    """The weights, the images and how many samples."""
    add_weights(parser, experiment)
    experiment.add_data_options(parser, TRAINED)
    add_split(parser)
    parser.add_argument(
        "--importance-samples",
        type=positive_int,
        metavar="S",
        help="also estimate −log p(x) by importance weighting, from S posterior samples per image",
    )
    parser.add_argument(
        "--images", type=positive_int, metavar="M", help="only M images, evenly spaced"
    )
    parser.add_argument(
        "--few-samples",
        type=positive_int,
        metavar="F",
        help="importance-weight in two stages: F samples of all images, S of the M images",
    )
    parser.add_argument(
        "--samples", type=positive_int, default=1, help="posterior samples per image of the bound"
    )
    batch = experiment.family.evaluation_batch
    parser.add_argument("--batch-size", type=positive_int, default=batch, help="images at a time")
    parser.add_argument("--json", action="store_true", help="one JSON object on the last line")


def complete(experiment: Experiment, options: argparse.Namespace) -> None:
    """Set ``options.stages``, None for one stage.

    Raises UserError if half of two stages is missing.
    """
    from pixelvae.experiments.summaries import checked_sizes

    options.stages = None
    if options.few_samples is None:
        return
    if options.importance_samples is None or options.images is None:
        raise UserError(
            "two stages need a number of importance samples, and of images that get them: name both",
            setting="few_samples",
        )
    options.stages = checked_sizes(options.few_samples, options.importance_samples, options.images)


def run(experiment: Experiment, options: argparse.Namespace) -> None:
    """Print the numbers as a line, and as JSON if asked for."""
    from pixelvae.experiments.summaries import describe, summarise
    from pixelvae.lib.evaluation import Bound, ImportanceWeighted
    from pixelvae.lib.runs.settings import remarks_on_data
    from pixelvae.machine.files.atomic import to_json

    weights = experiment.load(options)
    model: Any = weights.model
    split = options.split
    dataset = experiment.open_data_of(options, weights)
    stages = options.stages
    images = None if stages else options.images
    bound = Bound(model, options.seed, options.batch_size)(dataset, split, images, options.samples)
    weighted, two_stages, samples = None, None, options.importance_samples
    if samples and not model.latents:
        say(f"{model.name} has no latent: its likelihood is exact")
    elif samples:
        estimate = ImportanceWeighted(model, options.seed, options.batch_size)
        if stages:
            two_stages = estimate.in_two_stages(dataset, split, *stages).measured_in(model.unit)
        else:
            weighted = estimate(dataset, split, samples, images)
    remarks = remarks_on_data(weights.trained, dataset)
    for remark in remarks[len(dataset.remarks) :]:  # opening it has printed the others
        say(f"data: {remark}")
    modes = experiment.modes(options)
    numbers = summarise(weights, split, bound, weighted, samples, modes, remarks)
    if two_stages:
        numbers["two_stages"] = two_stages.summary()
    print(f"{describe(numbers)} (± standard error)")
    if options.json:
        print(to_json(numbers))
