"""Source files: where they are looked for, how they are read, and how they are checked."""

from __future__ import annotations

import contextlib
import difflib
import fnmatch
import gzip
import hashlib
import io
import os
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from pixelvae.datasets.places import entries, is_directory
from pixelvae.machine.errors import UserError
from pixelvae.machine.files.atomic import open_ordinary, user_errors

_CHUNK = 1 << 20
_SAMPLES = 256  # pieces of a large source that stand for its content


@dataclass(frozen=True)
class SourceFile:
    """One of the files that a data set is made of; it may lie there plain or gzipped.

    Parameters
    ----------
    name
        Its name for the converter; with `.gz` at the end if the converter wants it gzipped.
    pattern
        The plain file's name where it is looked for, as in a shell; for a whole source, its name
        in words.
    problem
        What is wrong with the file at a path ("has 783 values in line 7"), or None.
    size, md5
        The published plain content's, for a large file those of the file as it lies there; None
        for the user's own data.
    urls
        Where it is published: the first one that answers is taken.
    large
        It is read where it lies, never copied or gunzipped, and its content is known by a sample
        of it; the converter checks it. It may be the folder of an LMDB.
    fingerprint
        Identifies the content of a large source, if a sample of its bytes does not.
    whole
        The source is the place itself in which it is looked for, a folder or a file, if this finds
        it there.
    """

    name: str
    pattern: str
    problem: Callable[[Path], str | None] = lambda path: None
    size: int | None = None
    md5: str | None = None
    urls: Sequence[str] = ()
    large: bool = False
    fingerprint: Callable[[Path], str] | None = None
    whole: Callable[[Path], bool] | None = None

    @property
    def title(self) -> str:
        """The plain file's name, in words."""
        return self.pattern.replace("[-.]", "-")

    @property
    def wanted(self) -> str:
        """What to look for, in words."""
        return self.title if self.large else f"{self.title} (or .gz)"

    def identify(self, path: Path) -> str:
        """What identifies the content at a path, in hexadecimal digits."""
        if self.fingerprint:
            return self.fingerprint(path)
        return sampled_md5(path) if self.large else plain_md5(path)


def find(files: Sequence[SourceFile], folders: Sequence[Path]) -> dict[str, Path]:
    """Paths of those source files that are there, by name; the first folder that has one counts."""
    found: dict[str, Path] = {}
    for folder in folders:
        names: Sequence[str] | None = None
        for file in files:
            if file.whole:
                if file.whole(folder):
                    found.setdefault(file.name, folder)
                continue
            names = entries(folder) if names is None else names
            matches = [
                entry
                for suffix in ([""] if file.large else ["", ".gz"])
                for entry in sorted(fnmatch.filter(names, file.pattern + suffix))
            ]
            if len({match[:-3] if match.endswith(".gz") else match for match in matches}) > 1:
                raise UserError(f"{folder} has {' and '.join(matches)}: keep the one that is meant")
            if matches:
                found.setdefault(file.name, folder / matches[0])
    return found


def nearly(file: SourceFile, folder: Path) -> str:
    """A hint at a file in the folder with nearly the name of `file`; empty if there is none."""
    if file.whole:
        return ""
    names = {name.lower(): name for name in entries(folder)}
    wanted = file.title.lower()
    close = fnmatch.filter(names, f"{wanted}?*")  # packed in another way, or copied: "x (1).tar"
    close += difflib.get_close_matches(wanted.replace("*", ""), names, n=1, cutoff=0.85)
    return f"; it has {names[close[0]]!r}: rename that if it is the one" if close else ""


def plain_chunks(path: Path) -> Iterator[bytes]:
    """The plain content of a file, gunzipped where its name ends in `.gz`, in pieces."""
    with reading(path) as file:
        yield from iter(partial(file.read, _CHUNK), b"")


@contextlib.contextmanager
def reading(path: Path) -> Iterator[io.BufferedIOBase]:
    """Open a plain or gzipped file; whatever is wrong with it is one clear line."""
    with user_errors(f"cannot read {path}"):
        with open_ordinary(path) as raw:
            if path.suffix != ".gz":
                yield raw
                return
            if raw.read(2) != b"\x1f\x8b":
                raise UserError(
                    f"{path} is not a gzip file: get it again, or rename it if it is plain"
                )
            raw.seek(0)
            try:
                with gzip.GzipFile(fileobj=raw, mode="rb") as file:
                    yield file
            except EOFError as problem:
                raise UserError(f"{path} is truncated (no end): get it again") from problem
            except (gzip.BadGzipFile, zlib.error) as problem:
                raise UserError(f"{path} is damaged ({problem}): get it again") from problem


@contextlib.contextmanager
def open_zip(path: Path) -> Iterator[zipfile.ZipFile]:
    """Open a zip; whatever is wrong with its directory is one clear line."""
    with user_errors(f"cannot read {path}"), open_ordinary(path) as file:
        try:
            archive = zipfile.ZipFile(file)
        except (zipfile.BadZipFile, ValueError, NotImplementedError, struct.error) as problem:
            raise UserError(
                f"{path} is truncated, damaged or no zip file ({problem}): get it again"
            ) from problem
        yield archive


def plain_md5(path: Path) -> str:
    """MD5 of the plain content in hexadecimal digits."""
    digest = hashlib.md5()
    for chunk in plain_chunks(path):
        digest.update(chunk)
    return digest.hexdigest()


def file_md5(path: Path) -> str:
    """MD5 of a file as it lies there, in hexadecimal digits."""
    digest = hashlib.md5()
    with user_errors(f"cannot read {path}"), open_ordinary(path) as file:
        for chunk in iter(partial(file.read, _CHUNK), b""):
            digest.update(chunk)
    return digest.hexdigest()


def sampled_md5(path: Path) -> str:
    """MD5 of evenly spaced pieces of a large source: enough to recognise it, and soon read."""
    content = _content(path)
    digest = hashlib.md5()
    with user_errors(f"cannot read {content}"), open_ordinary(content) as file:
        size = file.seek(0, os.SEEK_END)
        for sample in range(_SAMPLES):
            file.seek(size * sample // _SAMPLES)
            digest.update(file.read(1 << 12))
    return digest.hexdigest()


def _content(path: Path) -> Path:
    """The file that has the content of a source: an LMDB is a folder with one."""
    return path / "data.mdb" if is_directory(path) else path


def stage(file: SourceFile, path: Path, folder: Path) -> str:
    """Put a source into `folder` as the converter wants it, and return its MD5.

    A large one becomes a link, and the converter checks it, unless its MD5 is known; what is
    returned is what :meth:`SourceFile.identify` gives. Others are copied and checked; the MD5 is
    that of the plain content.

    Raises
    ------
    UserError
        The file is not the published one, or not of its format; the message names it and, if
        possible, the place.
    """
    target = folder / file.name
    if file.large:
        target.symlink_to(path.resolve())
        if file.md5 is not None:
            check(file, path, file_md5(path))
        return file.identify(path)
    if file.md5 is None:
        check(file, path, "")  # of any size, so that nothing is copied of what is wrong
    digest, size = hashlib.md5(), 0
    with (
        gzip.open(target, "wb", compresslevel=1) if target.suffix == ".gz" else open(target, "wb")
    ) as out:
        for chunk in plain_chunks(path):
            digest.update(chunk)
            size += len(chunk)
            if file.size is not None and size > file.size:
                break  # what is wrong must not fill the disk
            out.write(chunk)
    if file.md5 is not None:
        check(file, path, digest.hexdigest())
    return digest.hexdigest()


def check(file: SourceFile, path: Path, md5: str) -> None:
    """Raise UserError if a file with this plain MD5 is not what `file` requires."""
    if file.md5 == md5:
        return
    problem = file.problem(path)
    if problem is None and file.md5 is not None:
        problem = f"has another content than the published file (MD5 {md5}, not {file.md5})"
    if problem:
        raise UserError(f"{path} {problem}: " + ("get it again" if file.md5 else "correct it"))


def changed(
    recorded: Mapping[str, Mapping[str, object]],
    files: Sequence[SourceFile],
    sources: Mapping[str, Path],
) -> bool:
    """Whether the sources that are there have another content than those that were converted."""
    for file in files:
        if file.name not in sources:
            continue
        known, path = recorded.get(file.name, {}), sources[file.name]
        now = stamp(file, path)
        same_file = bool(now) and {**known, **now} == known
        if not same_file and file.identify(path) != known.get("md5"):
            return True
    return False


def stamp(file: SourceFile, path: Path) -> dict[str, int]:
    """Size and time of a source; unless they change, it is not read again. Empty for a folder."""
    if file.fingerprint and is_directory(path):
        return {}
    content = _content(path)
    with user_errors(f"cannot read {content}"):
        status = content.stat()
    return {"size": status.st_size, "mtime_ns": status.st_mtime_ns}
