"""Data sets: download → verify → convert (Fuel HDF5) → stream. They know nothing of models.

Each data set is a module with its `RECIPE`; `python -m datasets` lists and prepares them.
"""

from __future__ import annotations

import os
import re
from importlib import import_module
from os import PathLike
from pathlib import Path

import pixelvae.lib  # noqa: F401  (repairs Fuel before it is imported)
from pixelvae.datasets.conversion import Recipe, open_recipe
from pixelvae.datasets.decoding import DamagedPicture
from pixelvae.datasets.download import Unavailable
from pixelvae.datasets.memory import InMemory
from pixelvae.datasets.places import exists, is_directory, source_folder
from pixelvae.datasets.sources import find
from pixelvae.lib.data import SPLITS, Dataset
from pixelvae.machine.console.progress import say
from pixelvae.machine.errors import UserError, did_you_mean
from pixelvae.machine.threads import queued

__all__ = [
    "RECIPES",
    "SPLITS",
    "DamagedPicture",
    "Dataset",
    "InMemory",
    "Recipe",
    "find_recipe",
    "named_recipe",
    "open_dataset",
]

#: The module of each data set, and the name of its recipe there.
RECIPES = {
    "binarized_mnist": ("binarized_mnist", "RECIPE"),
    "mnist": ("mnist", "RECIPE"),
    "mnist_256": ("mnist", "RECIPE_256"),
    "mnist_dynamic": ("mnist_dynamic", "RECIPE"),
    "digits": ("digits", "RECIPE"),
    "cifar10": ("cifar10", "RECIPE"),
    "imagenet64": ("imagenet64", "RECIPE"),
    "imagenet64_2017": ("imagenet64_2017", "RECIPE"),
    "lsun_bedrooms": ("lsun_bedrooms", "RECIPE"),
    "lsun_bedrooms_32": ("lsun_bedrooms", "RECIPE_32"),
}


def named_recipe(name: str) -> Recipe:
    """The recipe of one of `RECIPES`; of all data sets, only its module is imported."""
    module, recipe = RECIPES[name]
    return getattr(import_module(f"pixelvae.datasets.{module}"), recipe)


@queued
def open_dataset(
    name: str | PathLike[str],
    source: str | PathLike[str] | None = None,
    image_size: int | None = None,
    skip_damaged: bool = False,
) -> Dataset:
    """Open a data set, after downloading and converting it on first use.

    Prints its `remarks`, which belong beside every number measured on it, a line each.

    Parameters
    ----------
    name
        One of `RECIPES`; the name of a folder of your own in `$PIXELVAE_DATA`; the path of an
        `.npz` file, or of a folder or zip of pictures; or "auto": `binarized_mnist` if it is there
        or can be downloaded, else `digits`.
    source
        The folder with the source files, if it is not `$PIXELVAE_DATA/NAME`: the data set is
        converted from there unless that has been done. Only for those of `RECIPES` that have
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
    name = _text(name)
    source = Path(_text(source)) if source else None
    if isinstance(image_size, bool) or not isinstance(image_size, (int, type(None))):
        raise UserError(
            f"the image size must be a whole number, not {image_size!r:.50}", "image_size"
        )
    if name == "auto" or name.endswith(".npz"):
        for given, setting in ((source, "source"), (skip_damaged, "skip_damaged")):
            if given:
                raise UserError(f"this does not go with {name}: leave it out", setting)
    if name == "auto":
        dataset = _open_auto()
    elif name.endswith(".npz"):
        from pixelvae.datasets.own import open_npz

        dataset = open_npz(Path(name))
    else:
        recipe = find_recipe(name, source, image_size, skip_damaged)
        dataset = open_recipe(recipe, source)
    for remark in dataset.remarks:
        say(f"data: {dataset.name}: {remark}")
    return dataset


def _text(path: object) -> str:
    if not isinstance(path, (str, PathLike)):
        raise UserError(f"a data set is named by text or a path, and this is {path!r:.50}")
    return os.fsdecode(path)


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
        return named_recipe(name)
    plain = re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", name)
    if plain and not name.lower().endswith(".zip"):
        from pixelvae.datasets.binarized_mnist import amat_recipe

        recipe = amat_recipe(name)
        folder = source or source_folder(name)
        if exists(recipe.path) or find(recipe.files, [folder]):
            return recipe
    if name.lower().endswith(".zip") or "/" in name or name and is_directory(Path(name)):
        if source:
            raise UserError(f"{name} is itself the source: name no other", setting="source")
        from pixelvae.datasets import pictures

        return pictures.recipe_of(name, image_size or pictures.IMAGE_SIZE)
    if not plain:
        raise UserError(
            f"{name!r} is not a valid data set name: use letters, digits, '_', '-' and '.'"
        )
    raise UserError(
        f"unknown data set {name!r}{did_you_mean(name, RECIPES) or ':'} choose auto, "
        f"{', '.join(RECIPES)}, an .npz file or a folder or zip of pictures, or put .amat files into "
        f"{folder}"
    )


def _open_auto() -> Dataset:
    recipe = named_recipe("binarized_mnist")
    try:
        dataset = open_recipe(recipe)
    except Unavailable as problem:
        say(f"data: digits, because binarized_mnist cannot be had: {problem}")
        return open_recipe(named_recipe("digits"))
    say(f"data: binarized_mnist, because it is there ({recipe.path})")
    return dataset
