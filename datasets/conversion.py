"""From source files to a Fuel HDF5 file: whole or not there, with the checksum of its content."""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import hashlib
import json
import os
import shutil
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from pixelvae.datasets.base import FuelDataset, brief_errors
from pixelvae.datasets.download import download
from pixelvae.datasets.duplicates import overlap
from pixelvae.datasets.hdf5 import (
    FORMAT,
    Header,
    UnusableFile,
    content_checksum,
    hdf5_part,
    read_header,
    write_header,
)
from pixelvae.datasets.places import converted_folder, download_folder, exists, source_folder
from pixelvae.datasets.sources import SourceFile, changed, find, nearly, stage, stamp
from pixelvae.lib.data import SPLITS
from pixelvae.machine.console.progress import phase, say
from pixelvae.machine.errors import UserError
from pixelvae.machine.files.atomic import user_errors


@dataclass(frozen=True)
class Recipe:
    """How a data set is made.

    Parameters
    ----------
    name, about
        What it is called, and what it is, in a line.
    levels
        Number of values of a pixel.
    convert
        Called with the folder that holds the source files under their names, and with the path of
        the Fuel HDF5 file to write. If sources are large, the file's folder may hold what an
        interrupted call has left. What it left out, if anything, is what it returns; see
        :class:`pixelvae.datasets.hdf5.Header`.
    files
        The source files; none if the data come with a library.
    part
        Called with the converted file's path, a split and a source; gives Fuel's data set of it.
    draw
        Called with the path, a seed and an epoch, if training images are drawn anew in each epoch;
        gives Fuel's data set of them.
    estimate_s
        About how long the conversion takes, in seconds.
    stored_as
        The data set whose sources and converted file are those of this one, which then differs in
        `part` and `draw` alone.
    splits
        Those that it has of its own. A set without test images is tested on the validation split.
    published
        How many images the splits of the published set have, if sources with others are taken too.
    remark
        A remark that belongs beside every number measured on it.
    pictures
        Its source holds each image as a picture's file, of which single ones may be damaged;
        `convert` takes `skip_damaged` then.
    place
        Where its source lies, if not in the usual folders.
    """

    name: str
    about: str
    levels: int
    convert: Callable[..., Mapping[str, int] | None]
    files: Sequence[SourceFile] = ()
    part: Callable[[Path, str, str], Any] = hdf5_part
    draw: Callable[[Path, int, int], Any] | None = None
    estimate_s: float | None = None
    stored_as: str | None = None
    splits: Sequence[str] = SPLITS
    published: Mapping[str, int] | None = None
    remark: str | None = None
    pictures: bool = False
    place: Path | None = None

    @property
    def folder(self) -> str:
        """Name of the folder with the sources, and of the converted file."""
        return self.stored_as or self.name

    @property
    def resumable(self) -> bool:
        """Whether an interrupted conversion resumes: those of large sources do."""
        return any(file.large for file in self.files)

    @property
    def path(self) -> Path:
        """Where the converted file is, or is to be."""
        return converted_folder() / f"{self.folder}.hdf5"

    def skipping_damaged(self) -> Recipe:
        """The same, but that damaged pictures are left out and counted."""
        if not self.pictures:
            raise UserError(
                f"{self.name} has no pictures of which damaged ones could be left out",
                setting="skip_damaged",
            )
        return dataclasses.replace(self, convert=partial(self.convert, skip_damaged=True))

    def opened(self, path: Path, header: Header | None = None) -> FuelDataset:
        """The data set in a converted file at `path`."""

        def part(split: str, source: str) -> Any:
            return self.part(path, split if split in self.splits else "valid", source)

        if header is None:
            return FuelDataset(self.name, "", self.levels, part)
        sizes = FuelDataset(self.name, "", self.levels, part).size
        remarks = _remarks(self, header, {split: sizes(split) for split in self.splits})
        draw = partial(self.draw, path) if self.draw else None
        return FuelDataset(self.name, header.checksum, self.levels, part, tuple(remarks), draw)


def _remarks(recipe: Recipe, header: Header, sizes: Mapping[str, int]) -> Iterator[str]:
    left_out = {split: header.left_out.get(split, 0) for split in recipe.splits}
    if recipe.published:
        found = {split: sizes[split] + left_out[split] for split in sizes}
        found["train"] += header.left_out.get("duplicates", 0)
        if found != recipe.published:
            yield (
                f"a stand-in, with {_counts(found)} images, not the {_counts(recipe.published)} "
                f"of the published set: numbers on it are not those of {recipe.name}"
            )
    if recipe.remark:
        yield recipe.remark
    for split, count in left_out.items():
        if count:
            yield f"damaged pictures left out of the {split} split: {count:,}"
    if header.overlap:
        yield header.overlap


def _counts(sizes: Mapping[str, int]) -> str:
    return " / ".join(f"{size:,}" for size in sizes.values())


def open_recipe(recipe: Recipe, source: Path | None = None) -> FuelDataset:
    """The data set, downloaded and converted if needed; UserError if it cannot be had."""
    return recipe.opened(recipe.path, prepare(recipe, source))


def prepare(recipe: Recipe, source: Path | None = None, replace: bool = False) -> Header:
    """See to it that the converted file is there and made from the sources as they are now.

    Parameters
    ----------
    source
        The folder with the source files. By default they are looked for in `$PIXELVAE_DATA/NAME`,
        then among the downloads, and what is missing is downloaded.
    replace
        Convert again if the converted file is damaged or of another format, which is an error
        otherwise.
    """
    if source and not recipe.files:
        raise UserError(f"{recipe.name} needs no source files: leave them out", setting="source")
    source = source or recipe.place
    folders = [source] if source else [source_folder(recipe.folder), download_folder(recipe.folder)]
    sources = find(recipe.files, folders)
    missing = [file for file in recipe.files if file.name not in sources]
    if source and missing and not recipe.place:
        hint = nearly(missing[0], source)
        raise UserError(f"{source} has no {missing[0].wanted}: name the folder that has{hint}")
    header = _converted(recipe, sources, replace)
    if header:
        return header
    for file in missing:
        hint = nearly(file, folders[0])
        sources[file.name] = download(file, download_folder(recipe.folder), folders[0], hint)
    target = Path(os.path.realpath(recipe.path))  # a symbolic link stays one
    with user_errors(f"cannot create the folder {target.parent}"):
        target.parent.mkdir(parents=True, exist_ok=True)
    with user_errors(f"cannot write {target}"), brief_errors():
        work = target.with_name(f".{target.name}.work")
        with _work_folder(work, keep=recipe.resumable):
            # Another process may have finished while this one waited for the folder.
            header = _converted(recipe, sources, replace)
            return header or _convert(recipe, sources, work, target)


def _converted(recipe: Recipe, sources: Mapping[str, Path], replace: bool) -> Header | None:
    """Header of the converted file, or None if it is to be made (again)."""
    if not exists(recipe.path):
        return None
    try:
        header = read_header(recipe.path, recipe.name if recipe.place else None)
    except UnusableFile:
        if not replace:
            raise
        return None
    return None if changed(header.sources, recipe.files, sources) else header


def _convert(recipe: Recipe, sources: Mapping[str, Path], work: Path, target: Path) -> Header:
    """Convert in the folder `work`, and put the result in the target's place when it is whole."""
    if target.exists():
        say(f"{target} is not of these sources, or not usable: it is replaced")
    staged = work / "sources"
    shutil.rmtree(staged, ignore_errors=True)
    staged.mkdir()
    with phase(f"converting {recipe.name} to {target}, once", recipe.estimate_s):
        records = {
            file.name: {
                **stamp(file, sources[file.name]),
                "md5": stage(file, sources[file.name], staged),
            }
            for file in recipe.files
        }
        result = _place(recipe, records, work) / target.name
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Fuel 0.2 uses what NumPy has deprecated since
            left_out = recipe.convert(staged, result) or {}
            duplicates = overlap(recipe.opened(result), recipe.splits)
            header = Header(content_checksum(result), records, left_out, duplicates)
            write_header(result, header)
        with open(result, "rb") as file:
            os.fsync(file.fileno())
        os.replace(result, target)
    return header


def _place(recipe: Recipe, records: Mapping[str, Mapping[str, Any]], work: Path) -> Path:
    """The folder in which to convert: empty, or as an interrupted conversion left it.

    What is left is of use for the same content only, so the folder is named after the content.
    """
    content = json.dumps([FORMAT, {name: record["md5"] for name, record in records.items()}])
    place = work / hashlib.md5(content.encode()).hexdigest()
    for old in work.glob("?" * len(place.name)):
        if old != place or not recipe.resumable:
            shutil.rmtree(old)
    place.mkdir(exist_ok=True)
    return place


@contextlib.contextmanager
def _work_folder(folder: Path, keep: bool) -> Iterator[None]:
    """Make a folder for this process alone; delete it in the end, unless the body fails: `keep`."""
    with _lock(folder):
        try:
            yield
        except BaseException:
            if not keep:
                shutil.rmtree(folder)
            raise
        shutil.rmtree(folder)


def _lock(folder: Path) -> BinaryIO:
    """Make a folder, and hold it until the returned file is closed; waits for who holds it now."""
    path = folder / "lock"
    while True:
        folder.mkdir(exist_ok=True)
        try:
            file = open(path, "wb")
        except FileNotFoundError:  # deleted with its folder between these lines
            continue
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"waiting for another process, which is converting in {folder}")
            fcntl.flock(file, fcntl.LOCK_EX)
        if path.exists() and os.path.samestat(os.fstat(file.fileno()), os.stat(path)):
            return file
        file.close()
