"""Data sets: download → verify → convert (Fuel HDF5) → stream. They know nothing of models.

Each data set is a module with its `RECIPE`; `python -m datasets` lists and prepares them.
"""

from __future__ import annotations

import re
from pathlib import Path

import lib  # noqa: F401  (repairs Fuel before it is imported)
from datasets import binarized_mnist, digits, imagenet64, lsun_bedrooms, mnist
from datasets.base import SPLITS, Dataset
from datasets.conversion import Recipe, open_recipe
from datasets.download import Unavailable
from datasets.own import open_npz
from datasets.sources import find, source_folder
from lib.console.progress import say
from lib.errors import UserError

__all__ = ["RECIPES", "SPLITS", "Dataset", "Recipe", "find_recipe", "open_dataset"]

RECIPES = {
    recipe.name: recipe
    for recipe in (
        binarized_mnist.RECIPE,
        mnist.RECIPE,
        mnist.RECIPE_256,
        digits.RECIPE,
        imagenet64.RECIPE,
        lsun_bedrooms.RECIPE,
        lsun_bedrooms.RECIPE_32,
    )
}


def open_dataset(name: str, source: Path | None = None) -> Dataset:
    """Open a data set, after downloading and converting it on first use.

    Parameters
    ----------
    name
        One of `RECIPES`; the name of a folder of your own in `$PIXELVAE_DATA`; the path of an
        `.npz` file; or "auto": `binarized_mnist` where it is there or can be downloaded, else
        `digits`.
    source
        The folder with the source files, where it is not `$PIXELVAE_DATA/NAME`: the data set is
        converted from there unless that has been done. Only for names of `RECIPES` that have
        source files, and for data of your own.

    Raises
    ------
    UserError
        It is unknown, damaged, or cannot be had.
    """
    if source and (name == "auto" or name.endswith(".npz")):
        raise UserError(f"--source does not go with {name}: leave it out, or name a data set")
    if name == "auto":
        return _open_auto()
    if name.endswith(".npz"):
        return open_npz(Path(name))
    return open_recipe(find_recipe(name, source), source)


def find_recipe(name: str, source: Path | None = None) -> Recipe:
    """The recipe of a known data set, or of one's own, in `source` or `$PIXELVAE_DATA/NAME`."""
    if source and not source.is_dir():
        raise UserError(f"--source {source} is no folder: name the one with the source files")
    if name in RECIPES:
        return RECIPES[name]
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", name):
        raise UserError(f"{name!r} is no name of a data set: use letters, digits, '_', '-' and '.'")
    recipe = binarized_mnist.amat_recipe(name)
    folder = source or source_folder(name)
    if not recipe.path.exists() and not find(recipe.files, [folder]):
        raise UserError(
            f"unknown data set {name!r}: choose auto, {', '.join(RECIPES)} or an .npz file, "
            f"or put .amat files into {folder}"
        )
    return recipe


def _open_auto() -> Dataset:
    try:
        dataset = open_recipe(binarized_mnist.RECIPE)
    except Unavailable as problem:
        say(f"data: digits, because binarized_mnist cannot be had: {problem}")
        return open_recipe(digits.RECIPE)
    say("data: binarized_mnist, because it is there")
    return dataset
