"""Downloads that resume where they broke off, and are checked when they are whole."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from threading import Thread
from typing import BinaryIO

import requests  # type: ignore[import-untyped]

from pixelvae.datasets.sources import SourceFile, check, file_md5, plain_md5
from pixelvae.machine.console.progress import Progress, say
from pixelvae.machine.errors import UserError
from pixelvae.machine.files.atomic import user_errors

_CONNECT_S, _ANSWER_S, _READ_S = 3, 10, 30  # short: without a network the user should not wait
_CHUNK = 1 << 16


class Unavailable(UserError):
    """A source file is neither there nor to be had from the network now."""


def download(file: SourceFile, folder: Path, source: Path, hint: str = "") -> Path:
    """Fetch a source file into `folder`, check it, and return its path.

    What has arrived is kept in `folder/partial` until the file is whole, and a later call resumes
    from there. `source` is the folder to name to those who want to put the file there by hand, and
    `hint` what else to say to them.

    Raises
    ------
    Unavailable
        No address answers, the connection broke, or what came is not the published file.
    UserError
        It cannot be written.
    """
    problems = []
    for url in file.urls:
        name = url.rsplit("/", 1)[-1]
        try:
            return _download(file, url, folder / "partial" / name, folder / name)
        except Unavailable as problem:
            problems.append(str(problem))
    reason = f" ({'; '.join(problems)})" if problems else ""
    raise Unavailable(
        f"{file.title} is not in {source} and cannot be downloaded{reason}: "
        "put it there" + ("" if file.large else ", plain or gzipped") + hint
    )


def _download(file: SourceFile, url: str, partial: Path, target: Path) -> Path:
    with user_errors(f"cannot write {partial}"):
        partial.parent.mkdir(parents=True, exist_ok=True)
        with open(partial, "ab") as out:
            fcntl.flock(out, fcntl.LOCK_EX)
            if target.exists():  # another process has just finished it
                return target
            _receive(url, out)
            out.flush()
            os.fsync(out.fileno())
            try:
                check(file, partial, file_md5(partial) if file.large else plain_md5(partial))
            except UserError as problem:
                partial.unlink()
                raise Unavailable(f"{url} gave something else ({problem})") from problem
            os.replace(partial, target)
    return target


def _receive(url: str, out: BinaryIO) -> None:
    """Append what is missing of the content of `url`."""
    answer = _ask(url, out.seek(0, os.SEEK_END))
    if answer.status_code == requests.codes.requested_range_not_satisfiable:
        out.truncate(0)
        answer = _ask(url, 0)
    if answer.status_code == requests.codes.ok:  # the whole of it: this server cannot resume
        out.truncate(0)
    elif answer.status_code != requests.codes.partial_content:
        raise Unavailable(f"{url} answers {answer.status_code} {answer.reason}")
    done = out.seek(0, os.SEEK_END)
    length = answer.headers.get("Content-Length")
    total = done + int(length) if length else None
    say(f"downloading {url}")
    try:
        with answer, Progress(total and total // 1000, done // 1000, unit="kB") as progress:
            for chunk in answer.iter_content(_CHUNK):
                out.write(chunk)
                progress.update((done + len(chunk)) // 1000 - done // 1000)
                done += len(chunk)
    except requests.RequestException as problem:
        raise Unavailable(f"{url} broke off after {done // 1000} kB, which are kept") from problem
    if total and done < total:
        raise Unavailable(f"{url} broke off after {done // 1000} kB, which are kept")


def _ask(url: str, start: int) -> requests.Response:
    """The answer to a request for the content from byte `start` on, its body not yet read."""
    # Identity: a server that compresses what is compressed would make the lengths meaningless.
    headers = {"Accept-Encoding": "identity", **({"Range": f"bytes={start}-"} if start else {})}
    answers: list[requests.Response | requests.RequestException] = []

    def ask() -> None:
        try:
            timeout = (_CONNECT_S, _READ_S)
            answers.append(requests.get(url, headers=headers, stream=True, timeout=timeout))
        except requests.RequestException as problem:
            answers.append(problem)

    # In a thread, because looking up a host's name knows no time limit.
    thread = Thread(target=ask, daemon=True)
    thread.start()
    thread.join(_ANSWER_S)
    if not answers:
        raise Unavailable(f"{url} does not answer")
    if isinstance(answers[0], requests.RequestException):
        raise Unavailable(f"no connection to {url}") from answers[0]
    return answers[0]
