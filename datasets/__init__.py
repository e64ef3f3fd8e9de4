"""Data sets: download → verify → convert (Fuel HDF5) → stream. They know nothing of models.

Each data set is a module with its `RECIPE`; `python -m datasets` lists and prepares them.
"""

from __future__ import annotations

import re
from pathlib import Path

import pixelvae.lib  # noqa: F401  (repairs Fuel before it is imported)
from pixelvae.datasets import (
    binarized_mnist,
    cifar10,
    digits,
    imagenet64,
    imagenet64_2017,
    lsun_bedrooms,
    mnist,
    pictures,
)
from pixelvae.datasets.conversion import Recipe, open_recipe
from pixelvae.datasets.decoding import DamagedPicture
from pixelvae.datasets.download import Unavailable
from pixelvae.datasets.memory import InMemory
from pixelvae.datasets.own import open_npz
from pixelvae.datasets.places import exists, is_directory, source_folder
from pixelvae.datasets.sources import find
from pixelvae.lib.data import SPLITS, Dataset
from pixelvae.machine.console.progress import say
from pixelvae.machine.errors import UserError
from pixelvae.machine.parallel.world import in_turn

__all__ = [
    "RECIPES", "SPLITS", "DamagedPicture", "Dataset", "InMemory", "Recipe", "find_recipe",
    "open_dataset",
]  # fmt: skip

RECIPES = {
    recipe.name: recipe
    for recipe in (
        binarized_mnist.RECIPE,
        mnist.RECIPE,
        mnist.RECIPE_256,
        digits.RECIPE,
        cifar10.RECIPE,
        imagenet64.RECIPE,
        imagenet64_2017.RECIPE,
        lsun_bedrooms.RECIPE,
        lsun_bedrooms.RECIPE_32,
    )
}


@in_turn
def open_dataset(
    name: str,
    source: Path | None = None,
    image_size: int | None = None,
    skip_damaged: bool = False,
) -> Dataset:
    """Open a data set, after downloading and converting it on first use, which one rank does for all.

    What has to be said beside its numbers (`remarks`) is printed, a line each.

    Parameters
    ----------
    name
        One of `RECIPES`; the name of a folder of your own in `$PIXELVAE_DATA`; the path of an
        `.npz` file, or of a folder or zip of pictures; or "auto": `binarized_mnist` if it is there
        or can be downloaded, else `digits`.
    source
        The folder with the source files, if it is not `$PIXELVAE_DATA/NAME`: the data set is
        converted from there unless that has been done. Only for names of `RECIPES` that have
        source files, and for data of your own.
    image_size
        Height and width that a folder or zip of pictures is converted to, a multiple of 16
        (default 64); other data have their own.
    skip_damaged
        Leave out and count damaged pictures, of which the first is an error otherwise.

    Raises
    ------
    DamagedPicture
        A picture in it cannot be used.
    UserError
        It is unknown, damaged, or cannot be had.
    """
    if name == "auto" or name.endswith(".npz"):
        for given, setting in ((source, "source"), (skip_damaged, "skip_damaged")):
            if given:
                raise UserError(f"this does not go with {name}: leave it out", setting)
    if name == "auto":
        dataset = _open_auto()
    elif name.endswith(".npz"):
        dataset = open_npz(Path(name))
    else:
        recipe = find_recipe(name, source, image_size, skip_damaged)
        dataset = open_recipe(recipe, source)
    for remark in dataset.remarks:
        say(f"data: {dataset.name}: {remark}")
    return dataset


def find_recipe(
    name: str,
    source: Path | None = None,
    image_size: int | None = None,
    skip_damaged: bool = False,
) -> Recipe:
    """The recipe of a known data set, or of one's own; see :func:`open_dataset`."""
    if source and not is_directory(source):
        raise UserError(
            f"{source} is not a directory: name the one with the source files", setting="source"
        )
    recipe = _recipe(name, source, image_size)
    return recipe.skipping_damaged() if skip_damaged else recipe


def _recipe(name: str, source: Path | None, image_size: int | None) -> Recipe:
    if name in RECIPES:
        return RECIPES[name]
    plain = re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", name)
    if plain and not name.lower().endswith(".zip"):
        recipe = binarized_mnist.amat_recipe(name)
        folder = source or source_folder(name)
        if exists(recipe.path) or find(recipe.files, [folder]):
            return recipe
    if name.lower().endswith(".zip") or "/" in name or name and is_directory(Path(name)):
        if source:
            raise UserError(f"{name} is itself the source: name no other", setting="source")
        return pictures.recipe_of(name, image_size or pictures.IMAGE_SIZE)
    if not plain:
        raise UserError(f"{name!r} is no name of a data set: use letters, digits, '_', '-' and '.'")
    raise UserError(
        f"unknown data set {name!r}: choose auto, {', '.join(RECIPES)}, an .npz file or a folder "
        f"or zip of pictures, or put .amat files into {folder}"
    )


def _open_auto() -> Dataset:
    try:
        dataset = open_recipe(binarized_mnist.RECIPE)
    except Unavailable as problem:
        say(f"data: digits, because binarized_mnist cannot be had: {problem}")
        return open_recipe(digits.RECIPE)
    say("data: binarized_mnist, because it is there")
    return dataset
