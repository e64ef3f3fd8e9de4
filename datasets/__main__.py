"""`python -m datasets list | prepare NAME [--source DIR] | verify NAME`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from datasets import RECIPES, SPLITS, Dataset, Recipe, find_recipe, open_dataset
from datasets.conversion import prepare, verify
from datasets.sources import converted_folder, download_folder, find, source_folder
from lib.console.command import ArgumentParser, main
from lib.errors import UserError


def _list(arguments: argparse.Namespace) -> None:
    for recipe in RECIPES.values():
        print(f"{recipe.name:16} {_state(recipe):11} {recipe.about}")
    for path in sorted(converted_folder().glob("*.hdf5")):
        if path.stem not in RECIPES:
            print(f"{path.stem:16} {'converted':11} {path}")


def _state(recipe: Recipe) -> str:
    if recipe.path.exists():
        return "converted"
    sources = find(recipe.files, [source_folder(recipe.folder), download_folder(recipe.folder)])
    if len(sources) == len(recipe.files):
        return "source here"
    return "to download" if all(file.urls for file in recipe.files) else "no source"


def _prepare(arguments: argparse.Namespace) -> None:
    name, source = arguments.name, arguments.source
    if name != "auto" and not name.endswith(".npz"):  # which is used as it is
        prepare(find_recipe(name, source), source, replace=True)
    _describe(open_dataset(name, source))


def _verify(arguments: argparse.Namespace) -> None:
    path = find_recipe(arguments.name).path
    if not path.exists():
        raise UserError(f"{path} is not there: run `python -m datasets prepare {path.stem}`")
    print(f"{path} is whole: its content has SHA-256 {verify(path).checksum}")


def _describe(dataset: Dataset) -> None:
    sizes = " / ".join(str(dataset.size(split)) for split in SPLITS)
    shape = "×".join(map(str, dataset.image_shape))
    print(f"{dataset.name}: {sizes} images of {shape}, {dataset.levels} values")
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
