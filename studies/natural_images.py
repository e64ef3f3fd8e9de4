#!/usr/bin/env python
"""Section 4.2 on photographs: ships a trained model, and compares ablations at equal cost.

python studies/natural_images.py ship runs/photos
python studies/natural_images.py ablations --out runs/ablations --minutes 15
python studies/natural_images.py race --out runs/race --minutes 4 --try="--learning-rate 1e-3"
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pixelvae.experiments import figures
from pixelvae.experiments.invocations import command
from pixelvae.experiments.pictures import EXPERIMENT
from pixelvae.experiments.summaries import SampleSizes
from pixelvae.lib.data import SPLITS
from pixelvae.machine.console.command import ArgumentParser, main, path
from studies.comparisons import equal_cost
from studies.publishing.pages import write_pages
from studies.publishing.records import ABLATIONS, PHOTOGRAPHS_RACES
from studies.publishing.shipping import (
    Shipped,
    add_into_option,
    add_sample_sizes,
    evaluation_commands,
    measure_again,
    sample_sizes,
    ship_run,
    weighted,
)

DATA = "photos64/photos64.zip"
#: A sample of a photograph costs as much as hundreds of a digit.
SAMPLES = SampleSizes(few=5, samples=500, images=50)


def parse(argv: list[str]):
    """The command line."""
    parser = ArgumentParser(prog="natural_images.py", description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)

    p = commands.add_parser("ship", help="best weights into pretrained/, record, pictures, page")
    p.add_argument("run", type=path, metavar="RUN", help="the folder of a finished run")
    add_into_option(p)
    add_sample_sizes(p, SAMPLES)
    p.set_defaults(function=ship)

    p = commands.add_parser("measure", help="measure shipped weights again: record, page")
    p.add_argument("names", nargs="+", metavar="NAME", help="shipped weights")
    add_into_option(p)
    add_sample_sizes(p, SAMPLES)
    p.set_defaults(function=measure)

    p = commands.add_parser(
        "ablations", help="train the models of section 4.2 and record what they reach"
    )
    equal_cost.add_options(p, EXPERIMENT, "32px_few_cores", DATA)
    p.set_defaults(function=ablations)

    p = commands.add_parser(
        "race", help="train a preset with other settings, and record which is ahead"
    )
    equal_cost.add_options(p, EXPERIMENT, "32px_few_cores", DATA)
    equal_cost.add_tries(p)
    p.set_defaults(function=race)
    return parser.parse_args(argv)


def ship(arguments) -> None:
    """Ships a run's best weights to ``pretrained/photos-SIZEpx.npz``, with record and pictures.

    Raises UserError where the folder is not a run of a model for larger images.
    """
    ship_run(arguments.run, arguments.into, shipped_photographs(sample_sizes(arguments)))
    write_pages(arguments.into)


def measure(arguments) -> None:
    """Evaluates shipped weights again, and writes their records and pages."""
    for name in arguments.names:
        measure_again(name, arguments.into, shipped_photographs(sample_sizes(arguments)))
    write_pages(arguments.into)


def _name(weights) -> str:
    return f"photos-{weights.model.image_shape[1]}px"


def _draw(drawer: figures.Figures, weights, dataset, folder: Path, prefix: str) -> None:
    """The pictures of a finished run, and reconstructions from z₁ beside those from z₂."""
    figures.draw_all(drawer, weights, dataset, folder, prefix)
    originals = figures.chosen_images(dataset, "test", min(6, dataset.size("test")))
    again = drawer.reconstructions(originals, seed=0, level="bottom")
    again.save(folder / f"{prefix}reconstructions-z1.png", weights)


def shipped_photographs(sizes: SampleSizes) -> Shipped:
    """The models of photographs, with importance-weighted estimates in two stages."""

    def more(weights, dataset, numbers: Mapping[str, Any]) -> dict[str, Any]:
        bound = command(EXPERIMENT, "evaluate", _name(weights))
        return {
            **weighted(weights, dataset, sizes),
            "commands": evaluation_commands(bound, weights, sizes, dataset),
            "photographs": {split: dataset.size(split) for split in SPLITS},
        }

    return Shipped(
        EXPERIMENT,
        folder="photographs",
        name=_name,
        size=("stages", "top_stages", "latents", "pixel_width", "latent_width"),
        more=more,
        subset=64,
        draw=_draw,
    )


#: The options that make each model out of a preset of two levels; the others are compared with the
#: first.
MODELS: Mapping[str, Sequence[str]] = {
    "two-level-pixelvae": (),
    "two-level-vae": ("--pixel-decoder", "gaussian", "--top-decoder", "gaussian"),
    "one-level-pixelvae": ("--one-level",),
    "gaussian-top-decoder": ("--top-decoder", "gaussian"),
}


def ablations(arguments) -> int:
    """Trains the models of section 4.2, each resumed where it stopped; writes record and pages."""
    first = ["natural_images.py", "ablations"]
    return equal_cost.compare(arguments, EXPERIMENT, MODELS, ABLATIONS, first)


def race(arguments) -> int:
    """Trains a preset as it is and with each of some options, then writes record and pages."""
    first = ["natural_images.py", "race"]
    return equal_cost.race(arguments, EXPERIMENT, PHOTOGRAPHS_RACES, arguments.preset, first)


if __name__ == "__main__":
    options = parse(sys.argv[1:])
    sys.exit(main(options.function, options))
