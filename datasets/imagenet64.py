"""ImageNet at 64×64 (van den Oord et al. 2016a): 1,281,149 training and 49,999 validation images.

Source: the tar files `train_64x64.tar` and `valid_64x64.tar`, as published, of PNG files inside a
folder. They are read as a stream, never unpacked; images keep the order of the tar file. There is
no test split: "test" is the validation split.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from pixelvae.datasets.conversion import Recipe
from pixelvae.datasets.decoding import DamagedPicture, UnusablePicture, channels_first, decode
from pixelvae.datasets.places import is_companion
from pixelvae.datasets.sources import SourceFile
from pixelvae.datasets.streaming import Split, streamed_part, write_images
from pixelvae.machine.console.progress import Progress
from pixelvae.machine.errors import UserError
from pixelvae.machine.files.atomic import user_errors

_SHAPE = (3, 64, 64)
_LARGEST = 1 << 20  # bytes: more than any PNG of a 64×64 image, less than memory


def _convert(folder: Path, path: Path, skip_damaged: bool = False) -> dict[str, int]:
    splits = {}
    for split in ("train", "valid"):
        tar = (folder / f"{split}_64x64.tar").resolve()
        with Progress(None, unit="files") as progress:
            for _ in _members(tar):
                progress.update()
        if not progress.count:
            raise UserError(f"{tar} has no images: get it again")
        splits[split] = Split(progress.count, partial(_images, tar))
    return write_images(path, _SHAPE, splits, skip_damaged=skip_damaged)


def _images(path: Path, start: int) -> Iterator[np.ndarray | DamagedPicture]:
    """Images number `start` and following of a tar file."""
    with user_errors(f"cannot read {path}"), open(path, "rb") as file:
        for number, member in enumerate(_members(path)):
            if number < start:
                continue
            file.seek(member.offset_data)
            content = file.read(member.size)
            try:
                image = decode(content, "PNG")
                if image.size != _SHAPE[:0:-1]:
                    raise UnusablePicture(f"has {image.width}×{image.height} pixels, not 64×64")
            except UnusablePicture as problem:
                yield DamagedPicture(f"{path}: {_brief(member)}, number {number + 1},", problem)
            else:
                yield channels_first(image)


def _members(path: Path) -> Iterator[tarfile.TarInfo]:
    """The files in a tar file, by their headers alone.

    Raises
    ------
    UserError
        It is damaged or truncated, or has something in it that the published files do not have.
    """
    with user_errors(f"cannot read {path}"), open(path, "rb") as file:
        try:
            tar = tarfile.open(fileobj=file, mode="r:")
            for member in iter(tar.next, None):
                tar.members.clear()  # type: ignore[attr-defined]  # it would keep them all
                wrong = _problem(member)
                if wrong:
                    raise UserError(f"{path}: {_brief(member)} {wrong}: get the tar file again")
                if member.isfile() and not is_companion(member.name):
                    yield member
            file.seek(tar.offset)
            if file.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
                # The module takes a header without sense, and a missing one, for the end.
                raise tarfile.ReadError(f"neither a header nor the end at byte {tar.offset}")
        except (tarfile.TarError, ValueError) as problem:
            raise UserError(
                f"{path} is truncated, damaged or no tar file ({problem}): get it again"
            ) from problem


def _problem(member: tarfile.TarInfo) -> str | None:
    if member.name.startswith("/") or ".." in member.name.split("/"):
        return "points out of its folder"
    if not (member.isdir() or member.type in (tarfile.REGTYPE, tarfile.AREGTYPE)):
        return "is not an ordinary file (but a link, a device or the like)"
    if member.size > _LARGEST:
        return f"has {member.size} bytes, too many for an image of 64×64"
    return None


def _brief(member: tarfile.TarInfo) -> str:
    return repr(member.name[:100])


RECIPE = Recipe(
    name="imagenet64",
    about="ImageNet, 64×64, colour (test: the validation split); from its two tar files",
    levels=256,
    convert=_convert,
    files=[SourceFile(name, name, large=True) for name in ("train_64x64.tar", "valid_64x64.tar")],
    part=streamed_part,
    splits=("train", "valid"),
    published={"train": 1_281_149, "valid": 49_999},
    pictures=True,
)
