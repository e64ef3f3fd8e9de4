"""Pictures of one's own in a folder or a zip: which files count, and how they are split.

A picture is a file whose name ends as those of JPEG, PNG and WebP do. Hidden files, thumbnails and
what else other systems leave behind are not pictures, nor is a link or a name in a zip that leads
out of it. In a folder links are followed: tools that keep data elsewhere (DVC, git-annex) fill it
with them. Pictures have the same names, and so the same order and the same splits, in a folder and
in a zip of it.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import stat
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Callable

import numpy as np

from pixelvae.datasets.decoding import UnusablePicture
from pixelvae.datasets.places import is_companion, is_directory
from pixelvae.datasets.sources import open_zip
from pixelvae.lib.data import SPLITS
from pixelvae.machine.errors import UserError
from pixelvae.machine.files.atomic import open_ordinary, user_errors

SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp")
_SPLIT_NAMES = {
    "train": "train", "training": "train", "valid": "valid", "val": "valid",
    "validation": "valid", "test": "test", "testing": "test",
}  # fmt: skip
_LARGEST = 1 << 28  # bytes of a picture's file

#: Reads a picture's file by its name.
Reader = Callable[[str], bytes]


@dataclass(frozen=True)
class Listing:
    """The pictures at a place.

    Parameters
    ----------
    names
        Their names inside it, in order, with "/" between folders.
    stamp
        MD5 of names, sizes and times (in a zip: checksums): another one, another content.
    others, astray
        How many files are not pictures by their names, and how many links or names lead nowhere, in
        a circle or out of a zip.
    """

    names: list[str]
    stamp: str
    others: int
    astray: int

    @property
    def left_out(self) -> list[str]:
        """What does not count, in words."""
        reasons = [
            (self.others, "their names do not end as those of JPEG, PNG and WebP do"),
            (self.astray, "they lead nowhere, in a circle or out of a zip"),
        ]
        return [f"files left out because {why}: {count:,}" for count, why in reasons if count]


def listed(place: Path) -> Listing:
    """The pictures in a folder or a zip, unread. Raises UserError if they cannot be listed."""
    found = _in_folder(place) if is_directory(place) else _in_zip(place)
    names, others, astray, digest = [], 0, 0, hashlib.md5()
    for name, inside, mark in sorted(found):
        if is_companion(name):
            continue
        if not inside:
            astray += 1
        elif name.lower().endswith(SUFFIXES):
            names.append(name)
            digest.update(f"{name}\0{mark}\0".encode(errors="surrogateescape"))
        else:
            others += 1
    return Listing(names, digest.hexdigest(), others, astray)


def _in_folder(folder: Path) -> Iterator[tuple[str, bool, str]]:
    """Name, whether it leads somewhere, and size and time, of every file; follows links."""

    def walk(
        here: Path, inner: str, above: set[tuple[int, int]]
    ) -> Iterator[tuple[str, bool, str]]:
        for entry in os.scandir(here):
            name = inner + entry.name
            if is_companion(name):
                continue
            try:
                status = os.stat(entry.path)
            except OSError as problem:  # a link to nowhere or to itself, or deleted since
                if problem.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                    raise
                yield name, False, ""
                continue
            if stat.S_ISREG(status.st_mode):
                yield name, True, f"{status.st_size} {status.st_mtime_ns}"
            elif stat.S_ISDIR(status.st_mode):
                place = (status.st_dev, status.st_ino)
                if place in above:
                    yield name, False, ""
                else:
                    yield from walk(here / entry.name, f"{name}/", above | {place})

    with user_errors(f"cannot read {folder}"):
        root = os.stat(folder)
        yield from walk(folder, "", {(root.st_dev, root.st_ino)})


def _in_zip(path: Path) -> Iterator[tuple[str, bool, str]]:
    """Name, whether it is inside, and size and checksum, of every file."""
    with open_zip(path) as archive:
        members = _members(archive)
    for name, member in members.items():
        outside = name.startswith("/") or ".." in name.split("/") or re.match("[A-Za-z]:", name)
        link = stat.S_ISLNK(member.external_attr >> 16)
        yield name, not (outside or link), f"{member.file_size} {member.CRC}"


def _members(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """The files in a zip by their names, with "/" between folders; the later one of two counts."""
    return {
        str(PurePosixPath(member.filename.replace("\\", "/"))): member
        for member in archive.infolist()
        if not member.is_dir()
    }


@contextlib.contextmanager
def reader(place: Path) -> Iterator[Reader]:
    """A function that reads pictures at a place by their names.

    It raises `UnusablePicture` if a picture's place in a zip is damaged, and `UserError` if the
    system does not let it be read.
    """
    if is_directory(place):
        yield lambda name: _read_file(place / name)
        return
    with open_zip(place) as archive:
        members = _members(archive)

        def read(name: str) -> bytes:
            if members[name].file_size > _LARGEST:
                raise UnusablePicture("has too many bytes for a picture")
            try:
                return archive.read(members[name])
            except (zipfile.BadZipFile, zlib.error, EOFError, ValueError) as problem:
                raise UnusablePicture(f"is damaged in the zip ({problem})") from problem
            except NotImplementedError as problem:  # a way of packing that Python does not know
                raise UnusablePicture(f"cannot be unpacked ({problem})") from problem
            except RuntimeError as problem:
                raise UnusablePicture("is encrypted in the zip") from problem

        yield read


def _read_file(path: Path) -> bytes:
    with user_errors(f"cannot read {path}"), open_ordinary(path) as file:
        if os.fstat(file.fileno()).st_size > _LARGEST:
            raise UnusablePicture("has too many bytes for a picture")
        return file.read()


@dataclass(frozen=True)
class Splits:
    """Names of pictures by split; their classes, if each lies in the folder of one; what to say."""

    names: Mapping[str, list[str]]
    labels: Mapping[str, np.ndarray] | None
    classes: list[str]
    remarks: list[str]


def split(names: list[str]) -> Splits:
    """Split pictures by their folders; what has none by a hash of the names, 90 / 5 / 5.

    Raises
    ------
    UserError
        There are too few of them, or training images are missing.
    """
    by_split: dict[str, list[tuple[str, str]]] = {name: [] for name in SPLITS}
    outside: list[tuple[str, str]] = []
    for name in names:
        parts = name.split("/")
        folders = [_SPLIT_NAMES.get(part.lower()) for part in parts[:-1]]
        at = next((i for i, folder in enumerate(folders) if folder), None)
        if at is None:
            outside.append((name, name))
        else:
            by_split[folders[at] or ""].append((name, "/".join(parts[at + 1 :])))
    remarks = []
    if not any(by_split.values()):
        top = os.path.commonpath([os.path.dirname(name) for name, _ in outside] or [""])
        by_split["train"] = [(name, name[len(top) :].lstrip("/")) for name, _ in outside]
    elif outside:
        remarks.append(
            f"pictures left out because they are outside train, valid and test: {len(outside):,}"
        )
    if not by_split["train"]:
        raise UserError("no pictures for training: put some into a folder train")
    missing = [name for name in SPLITS if not by_split[name]]
    if missing:
        pool = sorted(by_split["train"], key=lambda some: _hash(some[1]))
        share = max(1, round(len(pool) / 20))
        if len(pool) <= share * len(missing):
            raise UserError(f"{len(pool)} pictures are too few to be split: take more")
        for number, name in enumerate(missing):
            by_split[name] = sorted(pool[number * share : (number + 1) * share])
        by_split["train"] = sorted(pool[len(missing) * share :])
        sizes = " / ".join(f"{len(by_split[name]):,}" for name in SPLITS)
        remarks.append(
            f"without a folder {' or '.join(missing)}, pictures are split by a hash of their "
            f"names: {sizes}"
        )
    used = {name: {_class(inner) for _, inner in some} for name, some in by_split.items()}
    classes = sorted(used["train"])
    labels = None
    # Folders that are not classes: one alone, or others for training than for testing.
    if (
        1 < len(classes) <= 1 << 16
        and "" not in classes
        and used["train"].issuperset(used["valid"] | used["test"])
    ):
        order = {name: i for i, name in enumerate(classes)}
        kind = np.uint8 if len(classes) <= 256 else np.uint16
        labels = {
            name: np.array([order[_class(inner)] for _, inner in some], kind)
            for name, some in by_split.items()
        }
    found = {name: [outer for outer, _ in some] for name, some in by_split.items()}
    return Splits(found, labels, classes if labels is not None else [], remarks)


def _class(inner: str) -> str:
    """The folder that a picture lies in, below its split; empty if it lies in none."""
    return inner.rpartition("/")[0].partition("/")[0]


def _hash(name: str) -> bytes:
    return hashlib.sha256(os.fsencode(name)).digest()
