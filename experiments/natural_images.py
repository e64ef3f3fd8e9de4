#!/usr/bin/env python
"""Section 4.2 on photographs: ships a trained model with its record, and compares it with the ablations at equal cost.

python experiments/natural_images.py ship runs/photos
python experiments/natural_images.py ablations --out runs/ablations --minutes 15
python experiments/natural_images.py race --out runs/race --minutes 4 --try="--learning-rate 1e-3"
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments import figures
from experiments.equal_cost import EqualCost
from experiments.invocations import command
from experiments.jobs import add_seeds_option
from experiments.photographs_page import ABLATIONS, RACE
from experiments.pictures import EXPERIMENT
from experiments.results import write_pages
from experiments.shipping import Shipped, add_into_option, bound_commands, ship_run
from lib.console.command import ArgumentParser, main, positive_int
from lib.data import SPLITS
from lib.parallel.world import on_rank_0

DATA = "photos64/photos64.zip"


def parse(argv: list[str]):
    """The command line."""
    parser = ArgumentParser(prog="natural_images.py", description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)

    p = commands.add_parser("ship", help="best weights into pretrained/, record, pictures, page")
    p.add_argument("run", type=Path, metavar="RUN")
    add_into_option(p)
    p.set_defaults(function=ship)

    p = commands.add_parser(
        "ablations", help="train the models of section 4.2 and record what they reach"
    )
    _comparison_options(p)
    p.set_defaults(function=ablations)

    p = commands.add_parser(
        "race", help="train a preset with other settings, and record which is ahead"
    )
    _comparison_options(p)
    p.add_argument("--try", dest="tries", action="append", required=True, metavar="OPTIONS",
                   help='one more training: --try="--learning-rate 1e-3"; the one without it comes first')  # fmt: skip
    p.set_defaults(function=race)
    return parser.parse_args(argv)


def _comparison_options(p: ArgumentParser) -> None:
    p.add_argument("--out", required=True, type=Path, metavar="FOLDER",
                   help="a folder with one run a training and seed")  # fmt: skip
    p.add_argument("--minutes", required=True, type=positive_int, metavar="M",
                   help="processor time of each training")  # fmt: skip
    add_seeds_option(p)
    p.add_argument(
        "--preset", choices=list(EXPERIMENT.presets), default="32px_few_cores", help="of two levels"
    )
    p.add_argument("--data", default=DATA, help="a folder or zip of pictures")
    p.add_argument("options", nargs="*", help="after --: more options for each training")
    add_into_option(p)


def ship(arguments) -> None:
    """Copies a run's best weights to ``pretrained/photos-SIZEpx.npz``, and writes record, pictures and pages.

    Raises UserError where the folder is not a run of a model for larger images.
    """
    ship_run(arguments.run, arguments.into, PHOTOGRAPHS)
    write_pages(arguments.into)


def _name(weights) -> str:
    return f"photos-{weights.model.image_shape[1]}px"


def _more(weights, dataset, numbers) -> dict[str, Any]:
    """The commands that print the bounds, and how many photographs each split has."""
    bound = command(EXPERIMENT, "evaluate", _name(weights))
    return {
        "commands": bound_commands(bound, dataset),
        "photographs": {split: dataset.size(split) for split in SPLITS},
    }


def _draw(weights, dataset, folder: Path, prefix: str) -> None:
    """The pictures of a finished run, and reconstructions from z₁ beside those from z₂."""
    figures.draw_all(weights, dataset, folder, prefix)
    drawer = figures.of(weights)
    originals = figures.evenly_spaced(dataset, "test", min(6, dataset.size("test")))
    again = drawer.reconstructions(originals, seed=0, level="bottom")
    again.save(folder / f"{prefix}reconstructions-z1.png", weights)


PHOTOGRAPHS = Shipped(
    EXPERIMENT,
    folder="photographs",
    name=_name,
    size=("stages", "top_stages", "latents", "pixel_width", "latent_width"),
    more=_more,
    subset=64,
    draw=_draw,
)


#: The options that make each model out of a preset of two levels; the others are compared with the first.
MODELS: Mapping[str, Sequence[str]] = {
    "two-level-pixelvae": (),
    "two-level-vae": ("--pixel-decoder", "gaussian", "--top-decoder", "gaussian"),
    "one-level-pixelvae": ("--one-level",),
    "gaussian-top-decoder": ("--top-decoder", "gaussian"),
}


def ablations(arguments) -> int:
    """Trains the models of section 4.2, each resumed where it stopped, then writes record and pages."""
    return _compare(arguments, MODELS, ABLATIONS)


def race(arguments) -> int:
    """Trains a preset as it is and with each of some options, then writes record and pages."""
    tries = [("as it is", ()), *((words, shlex.split(words)) for words in arguments.tries)]
    told = [f"--try={words}" for words in arguments.tries]
    return _compare(arguments, dict(tries), RACE, told)


def _compare(arguments, options, record: Path, told: Sequence[str] = ()) -> int:
    words = ["--preset", arguments.preset, "--data", arguments.data, *arguments.options]
    comparison = EqualCost(
        EXPERIMENT, options, words, arguments.out, arguments.minutes, arguments.seeds
    )
    status = comparison.train()
    if not status:
        _record(comparison, arguments, told, record)
    return status


@on_rank_0
def _record(comparison: EqualCost, arguments, told: Sequence[str], record: Path) -> None:
    """Writes the record and the pages. Raises UserError if a training is not finished."""
    from lib.files.atomic import user_errors, write_json

    line = [arguments.command, "--out", f"runs/{record.stem}", "--minutes", arguments.minutes]
    line += ["--seeds", *arguments.seeds, "--preset", arguments.preset]
    line += ["--data", arguments.data, *told]
    line += ["--", *arguments.options] if arguments.options else []
    command_line = f"python experiments/natural_images.py {shlex.join(map(str, line))}"
    file = arguments.into / record
    with user_errors(f"cannot write {file}"):
        file.parent.mkdir(parents=True, exist_ok=True)
    write_json(file, {"command": command_line, "preset": arguments.preset, **comparison.record()})
    write_pages(arguments.into)


if __name__ == "__main__":
    options = parse(sys.argv[1:])
    sys.exit(main(options.function, options))
