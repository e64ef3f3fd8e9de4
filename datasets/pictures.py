"""Pictures of one's own: a folder or a zip of JPEG, PNG or WebP files.

Each is cropped to the square in its centre, which becomes `image_size` pixels wide and high by the
mean over areas (Pillow's BOX filter), turned as the camera noted. Grey and palette pictures become
colour, 16 bits 8, and transparent pixels white. They are converted once, and then streamed from the
disk. Which files count and how they are split: :mod:`pixelvae.datasets.picture_files`.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from pixelvae.datasets.conversion import Recipe
from pixelvae.datasets.decoding import (
    DamagedPicture,
    UnusablePicture,
    centre_square,
    channels_first,
    decode,
)
from pixelvae.datasets.picture_files import listed, reader, split
from pixelvae.datasets.places import exists, is_directory, source_folder
from pixelvae.datasets.sources import SourceFile
from pixelvae.datasets.streaming import Split, streamed_part, write_images
from pixelvae.lib.data import SPLITS
from pixelvae.machine.console.progress import say
from pixelvae.machine.errors import UserError

IMAGE_SIZE = 64  # by default
_MULTIPLE, _MOST = 16, 1024


def recipe_of(name: str, image_size: int = IMAGE_SIZE) -> Recipe:
    """The recipe of the pictures in the folder or zip `name`, as squares of `image_size` pixels.

    A relative path that leads to nothing here is taken from `$PIXELVAE_DATA`, so that weights can
    name what they were trained on wherever that lies.

    Raises
    ------
    UserError
        It is not there, has no pictures, or the size is not a multiple of 16.
    """
    if image_size % _MULTIPLE or not 0 < image_size <= _MOST:
        raise UserError(
            f"the image size is {image_size}: choose a multiple of {_MULTIPLE} up to {_MOST}",
            setting="image_size",
        )
    place = Path(os.path.abspath(name))
    if not exists(place):
        elsewhere = Path(os.path.abspath(source_folder(name)))
        place = elsewhere if exists(elsewhere) else place
    look = functools.lru_cache(maxsize=1)(listed)  # a large folder takes seconds
    recipe = Recipe(
        name=name,
        about="pictures of your own",
        levels=256,
        convert=partial(_convert, place=place, size=image_size),
        files=[
            SourceFile(
                "pictures",
                "JPEG, PNG or WebP pictures",
                large=True,
                fingerprint=lambda path: look(path).stamp,
                whole=lambda path: exists(path) and bool(look(path).names),
            )
        ],
        part=streamed_part,
        stored_as=_stored_as(place, image_size),
        pictures=True,
        place=place,
    )
    if not exists(recipe.path):
        if not exists(place):
            raise UserError(f"{name} is not there: name a folder or a zip of pictures")
        if not look(place).names:
            seen = "".join(f"{remark}; " for remark in look(place).left_out)
            raise UserError(f"{name} has no pictures: {seen}put JPEG, PNG or WebP files there")
    return recipe


def _stored_as(place: Path, image_size: int) -> str:
    """What the converted file is called: by the place's name, and by where it is."""
    stem = place.name if is_directory(place) else place.stem
    plain = re.sub(r"[^A-Za-z0-9_.-]+", "_", stem).strip(".")[:80]
    where = hashlib.sha256(os.fsencode(os.path.realpath(place))).hexdigest()[:8]
    return f"{plain}-{image_size}px-{where}"


def _convert(
    folder: Path, path: Path, place: Path, size: int, skip_damaged: bool = False
) -> Mapping[str, int]:
    found = listed(place)
    for remark in found.left_out:
        say(f"{place}: {remark}")
    splits = split(found.names)
    for remark in splits.remarks:
        say(f"{place}: {remark}")
    return write_images(
        path,
        (3, size, size),
        {
            name: Split(
                len(splits.names[name]),
                partial(_images, place, splits.names[name], size),
                splits.labels[name] if splits.labels else None,
            )
            for name in SPLITS
        },
        {"classes": json.dumps(splits.classes)} if splits.labels else None,
        skip_damaged,
    )


def _images(
    place: Path, names: list[str], size: int, start: int
) -> Iterator[np.ndarray | DamagedPicture]:
    """Images number `start` and following of those names."""
    with reader(place) as read:
        for name in names[start:]:
            try:
                yield channels_first(square(read(name), size))
            except UnusablePicture as problem:
                yield DamagedPicture(f"{place}: {name!r}", problem)


def square(content: bytes, size: int) -> Image.Image:
    """A picture's file as size×size pixels, upright. Raises `UnusablePicture`."""
    image = centre_square(decode(content, "JPEG", "PNG", "WEBP", least=size), size)
    if "exif" in image.info:
        # Nonsense in a camera's notes is not a reason to refuse its picture.
        with contextlib.suppress(Exception):
            ImageOps.exif_transpose(image, in_place=True)
    return image
