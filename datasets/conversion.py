"""From source files to a Fuel HDF5 file: whole or not there, with the checksum of its content."""

from __future__ import annotations

import contextlib
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

import h5py
from fuel.datasets import H5PYDataset

from datasets.base import LABELS, Dataset
from datasets.download import download
from datasets.sources import (
    SourceFile,
    changed,
    converted_folder,
    download_folder,
    find,
    source_folder,
    stage,
    stamp,
)
from lib.console.progress import phase, say
from lib.errors import UserError
from lib.files.atomic import user_errors

FORMAT = 1  # raised whenever the same sources would be converted to something else
_PREFIX = "pixelvae_"


class UnusableFile(UserError):
    """A converted file is damaged or of another format: converting again mends it."""


def hdf5_part(
    path: Path,
    split: str,
    source: str,
    subset: slice | None = None,
    in_memory: bool = True,
    kind: type[H5PYDataset] = H5PYDataset,
) -> H5PYDataset:
    """One source of one split of a converted file; `subset` takes part of the split."""
    with _damage(path):
        with h5py.File(path, "r") as file:
            if source == LABELS and LABELS not in file:
                raise UserError(f"{path.stem} has no labels: choose a data set that has")
        return kind(str(path), (split,), subset=subset, sources=(source,), load_in_memory=in_memory)


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
        the Fuel HDF5 file to write. Where sources are large, the file's folder may hold what an
        interrupted call has left.
    files
        The source files; none where the data come with a library.
    part
        Called with the converted file's path, a split and a source; gives Fuel's data set of it.
    estimate_s
        About how long the conversion takes, in seconds.
    stored_as
        The data set whose sources and converted file are those of this one, which then differs in
        `part` alone.
    """

    name: str
    about: str
    levels: int
    convert: Callable[[Path, Path], None]
    files: Sequence[SourceFile] = ()
    part: Callable[[Path, str, str], Any] = hdf5_part
    estimate_s: float | None = None
    stored_as: str | None = None

    @property
    def folder(self) -> str:
        """Name of the folder with the sources, and of the converted file."""
        return self.stored_as or self.name

    @property
    def resumable(self) -> bool:
        """Whether a conversion goes on where it was interrupted: those of large sources do."""
        return any(file.large for file in self.files)

    @property
    def path(self) -> Path:
        """Where the converted file is, or is to be."""
        return converted_folder() / f"{self.folder}.hdf5"


@dataclass(frozen=True)
class Header:
    """What a converted file says about itself: SHA-256 of its content, and its sources by name."""

    checksum: str
    sources: Mapping[str, Mapping[str, Any]]


def open_recipe(recipe: Recipe, source: Path | None = None) -> Dataset:
    """The data set, downloaded and converted where needed; UserError where it cannot be had."""
    header = prepare(recipe, source)
    return Dataset(recipe.name, header.checksum, recipe.levels, partial(recipe.part, recipe.path))


def prepare(recipe: Recipe, source: Path | None = None, replace: bool = False) -> Header:
    """See to it that the converted file is there and made from the sources as they are now.

    Parameters
    ----------
    source
        The folder with the source files. By default they are looked for in `$PIXELVAE_DATA/NAME`,
        then among the downloads, and what is missing is downloaded.
    replace
        Convert again where the converted file is damaged or of another format, which is an error
        otherwise.
    """
    if source and not recipe.files:
        raise UserError(f"{recipe.name} needs no --source: leave it out")
    folders = [source] if source else [source_folder(recipe.folder), download_folder(recipe.folder)]
    sources = find(recipe.files, folders)
    missing = [file for file in recipe.files if file.name not in sources]
    if source and missing:
        raise UserError(f"{source} has no {missing[0].wanted}: name the folder that has")
    header = _converted(recipe, sources, replace)
    if header:
        return header
    for file in missing:
        sources[file.name] = download(file, download_folder(recipe.folder), folders[0])
    target = Path(os.path.realpath(recipe.path))  # a symbolic link stays one
    with user_errors(f"cannot create the folder {target.parent}"):
        target.parent.mkdir(parents=True, exist_ok=True)
    with user_errors(f"cannot write {target}"), _brief_errors():
        work = target.with_name(f".{target.name}.work")
        with _work_folder(work, keep=recipe.resumable):
            # Another process may have finished while this one waited for the folder.
            header = _converted(recipe, sources, replace)
            return header or _convert(recipe, sources, work, target)


def _converted(recipe: Recipe, sources: Mapping[str, Path], replace: bool) -> Header | None:
    """Header of the converted file, or None where it is to be made (again)."""
    if not recipe.path.exists():
        return None
    try:
        header = read_header(recipe.path)
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
                **stamp(sources[file.name]),
                "md5": stage(file, sources[file.name], staged),
            }
            for file in recipe.files
        }
        result = _place(recipe, records, work) / target.name
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Fuel 0.2 uses what NumPy has deprecated since
            recipe.convert(staged, result)
            header = _write_header(result, records)
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
        fcntl.flock(file, fcntl.LOCK_EX)
        if path.exists() and os.path.samestat(os.fstat(file.fileno()), os.stat(path)):
            return file
        file.close()


def _write_header(path: Path, records: Mapping[str, Mapping[str, Any]]) -> Header:
    with h5py.File(path, "r+") as file:
        header = Header(content_checksum(file), records)
        file.attrs[_PREFIX + "format"] = FORMAT
        file.attrs[_PREFIX + "checksum"] = header.checksum
        file.attrs[_PREFIX + "sources"] = json.dumps(header.sources)
    return header


def read_header(path: Path) -> Header:
    """Header of a converted file.

    Raises
    ------
    UnusableFile
        It is damaged, or of another format than this program's.
    UserError
        It cannot be read, or another program has written it.
    """
    with user_errors(f"cannot read {path}"), open(path, "rb"):
        pass
    with _damage(path), h5py.File(path, "r") as file:
        found = file.attrs.get(_PREFIX + "format")
        if found is None:
            raise UserError(
                f"{path} was not written by this program: move it away, or set FUEL_DATA_PATH to "
                "another folder"
            )
        if found != FORMAT:
            raise UnusableFile(f"{path} has format {found}, not {FORMAT}: {_advice(path)}")
        sources = json.loads(file.attrs[_PREFIX + "sources"])
        return Header(str(file.attrs[_PREFIX + "checksum"]), sources)


def verify(path: Path) -> Header:
    """Compare a converted file's content with its recorded checksum; UserError if they differ."""
    header = read_header(path)
    with _damage(path), h5py.File(path, "r") as file:
        checksum = content_checksum(file)
    if checksum != header.checksum:
        raise UnusableFile(
            f"{path} is damaged (its content has SHA-256 {checksum}, not {header.checksum}): "
            f"{_advice(path)}"
        )
    return header


def content_checksum(file: h5py.File) -> str:
    """SHA-256 of all that counts in a Fuel HDF5 file: names, shapes, types, values, splits."""
    digest = hashlib.sha256()
    for name in sorted(file):
        array = file[name]
        digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
        rows = max(1, (1 << 20) * len(array) // array.nbytes)  # about a megabyte at a time
        for start in range(0, len(array), rows):
            digest.update(array[start : start + rows])
    rows = file.attrs["split"][["split", "source", "start", "stop"]].tolist()
    digest.update(str(sorted(rows)).encode())
    return digest.hexdigest()


@contextlib.contextmanager
def _brief_errors() -> Iterator[None]:
    try:
        yield
    except OSError as problem:  # HDF5 tells of buffers and offsets where the disk is full
        if problem.errno is None:
            raise
        raise OSError(problem.errno, os.strerror(problem.errno)) from problem


@contextlib.contextmanager
def _damage(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, KeyError, ValueError, RuntimeError, AttributeError, TypeError) as problem:
        raise UnusableFile(
            f"{path} is damaged or no HDF5 file ({problem}): {_advice(path)}"
        ) from problem


def _advice(path: Path) -> str:
    return f"run `python -m datasets prepare {path.stem}` to convert again"
