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

from pixelvae.machine.backend import environment
from pixelvae.machine.errors import UserError
from pixelvae.machine.version import VERSION


def given() -> dict[str, str]:
    """The user's settings, names in lower case: ``.theanorc``, above it ``THEANO_FLAGS``.

    Raises UserError if one of the two cannot be read.
    """
    settings = {}
    for path in os.environ.get("THEANORC", "~/.theanorc").split(os.pathsep):
        settings.update(_read(os.path.expanduser(path)))
    settings.update({name.lower(): value for name, value in _in_environment().items()})
    return settings


def _read(path: str) -> dict[str, str]:
    """The settings in a file; like Theano's, none if the file is not there."""
    # Theano's own reader, with its default names: what it refuses is refused here.
    parser = configparser.ConfigParser(dict.fromkeys(_OFFERED, ""))
    raw = configparser.RawConfigParser()
    try:
        for reader in (parser, raw):
            reader.read(path)
        for section in parser.sections():
            for name in parser.options(section):
                if name != "compiledir_format":  # the one that Theano reads raw
                    parser.get(section, name)
    except (configparser.Error, ValueError) as error:  # of the encoding, too
        raise UserError(
            f"Theano's settings cannot be read: {path}: {' '.join(str(error).split())}"
        ) from None
    return {
        (name if section == "global" else f"{section.lower()}.{name}"): value
        for section in raw.sections()
        for name, value in raw.items(section)
    }


_OFFERED = ("USER", "LSCRATCH", "TMPDIR", "TEMP", "TMP", "PID")


def _in_environment() -> dict[str, str]:
    """The settings in ``THEANO_FLAGS``, names as they are written."""
    splitter = shlex.shlex(os.environ.get("THEANO_FLAGS", ""), posix=True)
    splitter.whitespace = ","
    splitter.whitespace_split = True
    try:
        pairs = [pair.strip().partition("=") for pair in splitter]
    except ValueError:
        raise UserError(
            f"the environment variable THEANO_FLAGS has an open quote: {os.environ['THEANO_FLAGS']}"
        ) from None
    return {name: value for name, equals, value in pairs if equals}


def set_defaults(defaults: Mapping[str, str], given: Mapping[str, str]) -> None:
    """Put those defaults into ``THEANO_FLAGS`` that the user gave no value for."""
    settings = _in_environment()
    settings.update({k: v for k, v in defaults.items() if k.lower() not in given})
    environment.change("THEANO_FLAGS", joined(settings))


def joined(settings: Mapping[str, str]) -> str:
    """Settings as ``THEANO_FLAGS`` has them."""
    return ",".join(f"{name}={_quoted(value)}" for name, value in settings.items())


def _quoted(value: str) -> str:
    """As `shlex.quote`, and with commas in quotes, since Theano splits at them."""
    return shlex.quote(value).replace(",", "','" if shlex.quote(value) == value else ",")


def base_compiledir() -> str:
    """Where compiled code is kept: ``~/.theano``, or a temporary folder if that is unusable.

    Raises
    ------
    UserError
        Neither will do, or the second is somebody else's, who could add code.
    """
    folders = (
        os.path.expanduser("~/.theano"),
        os.path.join(tempfile.gettempdir(), f"theano-{os.getuid()}"),
    )
    ours = [folder for folder in folders if _is_ours(folder)]
    if not ours:
        raise UserError(
            f"{folders[-1]} cannot be written: set THEANO_FLAGS=base_compiledir=FOLDER to one that can."
        )
    return next(filter(_has_room, ours), ours[0])  # if all are full, all may be compiled already


def _is_ours(folder: str) -> bool:
    if not os.path.isabs(folder):  # "~" where the user has no home
        return False
    try:
        os.makedirs(folder, mode=0o700, exist_ok=True)
        return (
            os.access(folder, os.W_OK)
            and os.stat(folder).st_uid == os.getuid()
            and not os.statvfs(folder).f_flag & os.ST_NOEXEC
        )
    except OSError:
        return False


def _has_room(folder: str) -> bool:
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(1 << 16))
    except OSError:
        return False
    return True


def march(cxxflags: str) -> Optional[str]:
    """The processor in ``gcc.cxxflags`` ("x86-64-v3" of ``-march=x86-64-v3``), None if native."""
    named = [flag.partition("=")[2] for flag in cxxflags.split() if flag.startswith("-march=")]
    return named[-1] if named and named[-1] != "native" else None


def compiledir_format(processor: Optional[str] = None) -> str:
    """The folder's name below that, for each version of ours, of Python and NumPy, and processor.

    What is kept there names our modules, which may lie elsewhere in another version. Homes are
    shared between machines, and code that was compiled for one may crash another. ``processor`` is
    that of ``-march`` where the user chose one; the code then runs on all that have its
    instructions.
    """
    name = f"compiledir_pixelvae-{VERSION}_%(python_version)s_%(numpy_version)s_"
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
