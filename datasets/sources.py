"""Source files: where they are looked for, how they are read, and how they are checked."""

from __future__ import annotations

import contextlib
import fnmatch
import gzip
import hashlib
import io
import os
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from lib.errors import UserError
from lib.files.atomic import open_ordinary, user_errors

_DATA = Path(__file__).resolve().parent.parent / "data"
_CHUNK = 1 << 20
_SAMPLES = 256  # pieces of a large source that stand for its content


@dataclass(frozen=True)
class SourceFile:
    """One of the files that a data set is made of; it may lie there plain or gzipped.

    Parameters
    ----------
    name
        What the converter calls it; with `.gz` at the end if the converter wants it gzipped.
    pattern
        What the plain file is called where it is looked for, as in a shell.
    problem
        Says what is wrong with the file at a path ("has 783 values in line 7"), or None.
    size, md5
        Of the published plain content; None for data of the user's own.
    urls
        Where it is published: the first one that answers is taken.
    large
        It is read where it lies, never copied or gunzipped, and its content is known by a sample
        of it; the converter says what is wrong with it. It may be the folder of an LMDB.
    """

    name: str
    pattern: str
    problem: Callable[[Path], str | None] = lambda path: None
    size: int | None = None
    md5: str | None = None
    urls: Sequence[str] = ()
    large: bool = False

    @property
    def wanted(self) -> str:
        """What to look for, in words."""
        return self.pattern if self.large else f"{self.pattern} (or .gz)"


def source_folder(name: str) -> Path:
    """Where the sources of a data set are looked for: `$PIXELVAE_DATA/NAME`, or `data/NAME`."""
    root = os.environ.get("PIXELVAE_DATA")
    if root and not Path(root).expanduser().is_dir():
        raise UserError(f"PIXELVAE_DATA names {root}, which is no folder: correct it or unset it")
    return (Path(root).expanduser() if root else _DATA) / name


def converted_folder() -> Path:
    """Where converted files are kept: the first folder of `$FUEL_DATA_PATH`, or `data/fuel`."""
    first = os.environ.get("FUEL_DATA_PATH", "").split(os.pathsep)[0]
    return Path(first).expanduser() if first else _DATA / "fuel"


def download_folder(name: str) -> Path:
    """Where downloads go: beside the converted files, for `$PIXELVAE_DATA` may be read-only."""
    return converted_folder() / "downloads" / name


def find(files: Sequence[SourceFile], folders: Sequence[Path]) -> dict[str, Path]:
    """Paths of those source files that are there, by name; the first folder that has one counts."""
    found: dict[str, Path] = {}
    for folder in folders:
        entries = _entries(folder)
        for file in files:
            matches = [
                entry
                for suffix in ([""] if file.large else ["", ".gz"])
                for entry in sorted(fnmatch.filter(entries, file.pattern + suffix))
            ]
            if len({match[:-3] if match.endswith(".gz") else match for match in matches}) > 1:
                raise UserError(f"{folder} has {' and '.join(matches)}: keep the one that is meant")
            if matches:
                found.setdefault(file.name, folder / matches[0])
    return found


def _entries(folder: Path) -> list[str]:
    with user_errors(f"cannot read the folder {folder}"):
        try:
            return os.listdir(folder)
        except FileNotFoundError:
            return []


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


def plain_md5(path: Path) -> str:
    """MD5 of the plain content in hexadecimal digits."""
    digest = hashlib.md5()
    for chunk in plain_chunks(path):
        digest.update(chunk)
    return digest.hexdigest()


def sampled_md5(path: Path) -> str:
    """MD5 of evenly spaced pieces of a large source: enough to tell another one, and soon read."""
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
    return path / "data.mdb" if path.is_dir() else path


def stage(file: SourceFile, path: Path, folder: Path) -> str:
    """Put a source into `folder` as the converter wants it, and return its MD5.

    A large one becomes a link, and the converter checks it; the MD5 is :func:`sampled_md5`. Others
    are copied and checked; the MD5 is that of the plain content.

    Raises
    ------
    UserError
        The file is not the published one, or not of its format; the message names it and says where
        it goes wrong, as far as that can be told.
    """
    target = folder / file.name
    if file.large:
        target.symlink_to(path.resolve())
        return sampled_md5(path)
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
    """Raise UserError if a file with this plain MD5 is not what `file` says it has to be."""
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
        same_file = {**known, **stamp(path)} == known
        md5 = sampled_md5 if file.large else plain_md5
        if not same_file and md5(path) != known.get("md5"):
            return True
    return False


def stamp(path: Path) -> dict[str, int]:
    """Size and time of a file: a file that has kept both is not read again."""
    content = _content(path)
    with user_errors(f"cannot read {content}"):
        status = content.stat()
    return {"size": status.st_size, "mtime_ns": status.st_mtime_ns}
