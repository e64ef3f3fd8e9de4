"""`python -m datasets list | prepare NAME [--source DIR] | verify NAME`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any

from pixelvae.datasets import (
    RECIPES,
    SPLITS,
    Dataset,
    Recipe,
    find_recipe,
    named_recipe,
    open_dataset,
)
from pixelvae.datasets.conversion import prepare
from pixelvae.datasets.hdf5 import verify
from pixelvae.datasets.places import (
    converted_folder,
    download_folder,
    exists,
    is_companion,
    source_folder,
)
from pixelvae.datasets.sources import find
from pixelvae.machine.console.command import ArgumentParser, main, path, path_or_name, positive_int
from pixelvae.machine.errors import UserError
from pixelvae.machine.parallel.world import on_rank_0

_NAME = "a data set's name, or a folder or zip of pictures"


def _list(arguments: argparse.Namespace) -> None:
    for recipe in map(named_recipe, RECIPES):
        print(f"{recipe.name:16} {_state(recipe):11} {recipe.about}")
    for file in sorted(converted_folder().glob("*.hdf5")):
        if file.stem not in RECIPES and not is_companion(file.name):
            print(f"{file.stem:16} {'converted':11} {file}")


def _state(recipe: Recipe) -> str:
    if exists(recipe.path):
        return "converted"
    sources = find(recipe.files, [source_folder(recipe.folder), download_folder(recipe.folder)])
    if len(sources) == len(recipe.files):
        return "source here"
    return "to download" if all(file.urls for file in recipe.files) else "no source"


def _prepare(arguments: argparse.Namespace) -> None:
    name, source, skip = arguments.name, arguments.source, arguments.skip_damaged
    if name != "auto" and not name.endswith(".npz"):  # which is used as it is
        prepare(_recipe(arguments, source=source, skip_damaged=skip), source, replace=True)
    _describe(open_dataset(name, source, arguments.image_size, skip))


def _recipe(arguments: argparse.Namespace, **options: Any) -> Recipe:
    recipe = find_recipe(arguments.name, image_size=arguments.image_size, **options)
    if arguments.image_size and not recipe.place:
        raise UserError(f"{recipe.name} has images of a size of its own", setting="image_size")
    return recipe


def _verify(arguments: argparse.Namespace) -> None:
    recipe = _recipe(arguments)
    if not exists(recipe.path):
        raise UserError(
            f"{recipe.path} is not there: run `python -m datasets prepare {recipe.name}`"
        )
    checksum = verify(recipe.path, recipe.name).checksum
    print(f"{recipe.path} is whole: its content has SHA-256 {checksum}")


def _describe(dataset: Dataset) -> None:
    sizes = " / ".join(str(dataset.size(split)) for split in SPLITS)
    shape = "×".join(map(str, dataset.image_shape))
    print(f"{dataset.name}: {sizes} images of {shape}, {dataset.levels} values")
    print(f"SHA-256 of the content: {dataset.checksum}")


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = ArgumentParser(prog="python -m datasets", description="Prepare and check data sets.")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    listing = commands.add_parser("list", help="the data sets, and whether they are there")
    listing.set_defaults(run=_list)
    preparing = commands.add_parser("prepare", help="download if needed, check and convert")
    preparing.add_argument("name", type=path_or_name, metavar="NAME", help=_NAME)
    preparing.add_argument(
        "--source", type=path, metavar="DIR", help="folder with the source files (no download)"
    )
    preparing.add_argument(
        "--skip-damaged", action="store_true", help="leave damaged pictures out, and count them"
    )
    preparing.set_defaults(run=_prepare)
    verifying = commands.add_parser("verify", help="compare a converted file with its checksum")
    verifying.add_argument("name", type=path_or_name, metavar="NAME", help=_NAME)
    verifying.set_defaults(run=_verify)
    for command in (preparing, verifying):
        command.add_argument("--image-size", type=positive_int, help="of pictures of your own (64)")
    return parser.parse_args(argv)


def command(argv: Sequence[str] | None = None) -> int:
    """Carry out a command line; the exit status, 2 if it cannot be done."""
    arguments = parse(argv)
    return main(on_rank_0(arguments.run), arguments)


if __name__ == "__main__":
    sys.exit(command())
