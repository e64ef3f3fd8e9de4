"""`python -m datasets list | prepare NAME [--source DIR] | verify NAME`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from datasets import RECIPES, SPLITS, Recipe, find_recipe
from datasets.conversion import open_recipe, prepare, verify
from datasets.sources import converted_folder, download_folder, find, source_folder
from lib.console import ArgumentParser, main
from lib.errors import UserError


def _list(arguments: argparse.Namespace) -> None:
    for recipe in RECIPES.values():
        print(f"{recipe.name:16} {_state(recipe):10} {recipe.about}")
    for path in sorted(converted_folder().glob("*.hdf5")):
        if path.stem not in RECIPES:
            print(f"{path.stem:16} {'converted':10} {path}")


def _state(recipe: Recipe) -> str:
    if recipe.path.exists():
        return "converted"
    sources = find(recipe.files, [source_folder(recipe.name), download_folder(recipe.name)])
    return "there" if len(sources) == len(recipe.files) else "not there"


def _prepare(arguments: argparse.Namespace) -> None:
    recipe = find_recipe(arguments.name, arguments.source)
    if arguments.source and not recipe.files:
        raise UserError(f"{recipe.name} needs no --source: leave it out")
    if arguments.source and not arguments.source.is_dir():
        raise UserError(
            f"--source {arguments.source} is no folder: name the one with the source files"
        )
    prepare(recipe, arguments.source, replace=True)
    _describe(recipe)


def _verify(arguments: argparse.Namespace) -> None:
    recipe = find_recipe(arguments.name)
    if not recipe.path.exists():
        raise UserError(
            f"{recipe.path} is not there: run `python -m datasets prepare {recipe.name}`"
        )
    verify(recipe.path)
    _describe(recipe)


def _describe(recipe: Recipe) -> None:
    dataset = open_recipe(recipe)
    sizes = " / ".join(str(dataset.size(split)) for split in SPLITS)
    shape = "×".join(map(str, dataset.image_shape))
    print(f"{recipe.name}: {sizes} images of {shape}, {dataset.levels} values, in {recipe.path}")
    print(f"SHA-256 of the content: {dataset.checksum}")


def _parser() -> ArgumentParser:
    parser = ArgumentParser(prog="python -m datasets", description="Prepare and check data sets.")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    listing = commands.add_parser("list", help="the data sets, and whether they are there")
    listing.set_defaults(run=_list)
    preparing = commands.add_parser("prepare", help="download where needed, check and convert")
    preparing.add_argument("name", metavar="NAME", help=f"{', '.join(RECIPES)}, or one of your own")
    preparing.add_argument(
        "--source", type=Path, metavar="DIR", help="folder with the source files (no download)"
    )
    preparing.set_defaults(run=_prepare)
    verifying = commands.add_parser("verify", help="compare a converted file with its checksum")
    verifying.add_argument("name", metavar="NAME")
    verifying.set_defaults(run=_verify)
    return parser


def run(argv: Sequence[str] | None = None) -> None:
    """Carry out the command; UserError where it cannot be done."""
    arguments = _parser().parse_args(argv)
    arguments.run(arguments)


if __name__ == "__main__":
    sys.exit(main(run))
