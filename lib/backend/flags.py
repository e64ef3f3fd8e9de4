"""Theano's settings: what the user gave, and the project's defaults beneath that."""

from __future__ import annotations

import configparser
import os
import platform
import shlex
import tempfile
import zlib
from pathlib import Path
from typing import Mapping, Optional

from lib.errors import UserError


def given() -> dict[str, str]:
    """The user's settings, names in lower case: ``.theanorc``, above it ``THEANO_FLAGS``."""
    settings = {}
    parser = configparser.RawConfigParser()
    paths = os.environ.get("THEANORC", "~/.theanorc").split(os.pathsep)
    try:
        parser.read(os.path.expanduser(path) for path in paths)
    except configparser.Error as error:
        raise UserError(
            f"Theano's settings cannot be read: {' '.join(str(error).split())}"
        ) from None
    for section in parser.sections():
        prefix = "" if section == "global" else f"{section.lower()}."
        settings.update({prefix + name: value for name, value in parser.items(section)})
    splitter = shlex.shlex(os.environ.get("THEANO_FLAGS", ""), posix=True)
    splitter.whitespace = ","
    splitter.whitespace_split = True
    for pair in splitter:
        name, equals, value = pair.strip().partition("=")
        if equals:
            settings[name.lower()] = value
    return settings


def set_defaults(defaults: Mapping[str, str], given: Mapping[str, str]) -> None:
    """Put those defaults into ``THEANO_FLAGS`` that the user gave no value for."""
    settings = [f"{k}={shlex.quote(v)}" for k, v in defaults.items() if k.lower() not in given]
    before = os.environ.get("THEANO_FLAGS")
    # The last one counts: of two calls the second.
    os.environ["THEANO_FLAGS"] = ",".join(([before] if before else []) + settings)


def base_compiledir() -> str:
    """Where compiled code is kept: ``~/.theano``, or a temporary folder if that cannot be written.

    Raises:
        UserError: neither can be written, or the second is somebody else's, who could add code.
    """
    for folder in ("~/.theano", os.path.join(tempfile.gettempdir(), f"theano-{os.getuid()}")):
        folder = os.path.expanduser(folder)
        try:
            os.makedirs(folder, mode=0o700, exist_ok=True)
        except OSError:
            continue
        if os.access(folder, os.W_OK) and os.stat(folder).st_uid == os.getuid():
            return folder
    raise UserError(
        f"{folder} cannot be written: set THEANO_FLAGS=base_compiledir=FOLDER to one that can."
    )


def march(cxxflags: str) -> Optional[str]:
    """The processor that ``gcc.cxxflags`` name (``-march=x86-64-v3``: "x86-64-v3"), None where they name none."""
    named = [flag.partition("=")[2] for flag in cxxflags.split() if flag.startswith("-march=")]
    return named[-1] if named else None


def compiledir_format(processor: Optional[str] = None) -> str:
    """The folder's name below that: one for each Python, NumPy and processor.

    Homes are shared between machines, and code that was compiled for one may crash another. ``processor`` is
    that of ``-march`` where the user chose one; the code then runs on all that have its instructions.
    """
    name = "compiledir_%(python_version)s_%(numpy_version)s_"
    if processor:
        return name + processor
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        processor = "".join(
            sorted({line for line in lines if line.startswith(("model name", "flags"))})
        )
    except OSError:
        processor = platform.processor() or platform.machine()
    return f"{name}{zlib.crc32(processor.encode()):08x}"
