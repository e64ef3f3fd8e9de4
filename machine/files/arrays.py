"""Named arrays and a JSON header in one `.npz` file, written whole or not at all, never trusted.

The file is an ordinary uncompressed `.npz` (`numpy.load` reads it) in which the array `header`
holds the UTF-8 bytes of a JSON object with at least `"format": 1`, `"kind"`, one of
:data:`KINDS`, and the names of all other arrays as `"arrays"`: one damaged byte in a zip's
directory can hide members.
"""

from __future__ import annotations

import json
import math
import os
import re
import zipfile
from collections.abc import Mapping
from typing import Any, BinaryIO

import numpy as np

from pixelvae.machine.errors import UserError
from pixelvae.machine.files.atomic import (
    PathLike,
    atomic_write,
    open_ordinary,
    to_json,
    user_errors,
)

FORMAT = 1
KINDS = ("weights", "checkpoint", "report")
MAX_HEADER_BYTES = 1 << 20

_HEADER = "header"
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:+-]*")  # no path, nothing hidden
_DTYPE_KINDS = "fiub"


def save_arrays(
    path: PathLike, arrays: Mapping[str, np.ndarray], header: Mapping[str, Any]
) -> None:
    """Write the arrays and the header in place of `path`; until that is done the old file stays.

    Parameters
    ----------
    arrays
        Names made of letters, digits and `_ . : + -`, with real numbers or booleans.
    header
        What JSON can hold, with `kind` among :data:`KINDS`; `format` and `arrays` are added.

    Raises
    ------
    UserError
        The file cannot be written; the old one is intact.
    ValueError
        A name, a type of number or the kind is none that :func:`load_arrays` would accept.
    """
    if header.get("kind") not in KINDS:
        raise ValueError(f"header['kind'] must be one of {KINDS}, not {header.get('kind')!r}")
    text = to_json({**header, "format": FORMAT, "arrays": list(arrays)}).encode()
    if len(text) > MAX_HEADER_BYTES:
        raise ValueError(f"a header of {len(text)} bytes is larger than {MAX_HEADER_BYTES}")
    members = {_HEADER: np.frombuffer(text, dtype=np.uint8)}
    for name, array in arrays.items():
        members[name] = np.asarray(array)
        if name == _HEADER or not _NAME.fullmatch(name):
            raise ValueError(f"invalid array name: {name!r}")
        if members[name].dtype.kind not in _DTYPE_KINDS:
            raise ValueError(f"{name}: cannot save numbers of type {members[name].dtype}")
    with atomic_write(path) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name, array in members.items():
            # A ZipInfo made by name has a fixed date: equal contents give equal files.
            with archive.open(zipfile.ZipInfo(name + ".npy"), "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, version=(1, 0), allow_pickle=False)


def export_arrays(
    path: PathLike, arrays: Mapping[str, np.ndarray], header: Mapping[str, Any]
) -> None:
    """Write the arrays as safetensors, which other libraries read, in place of `path`.

    The header is their metadata `header`, as JSON.

    Raises
    ------
    UserError
        The file is not called `.safetensors`, or cannot be written; the old one is intact.
    """
    if not str(path).endswith(".safetensors"):
        raise UserError(f"{path} would hold safetensors: choose a name that ends in .safetensors")
    from safetensors.numpy import save  # late: it takes 20 ms, and few commands export

    content = save(dict(arrays), {"header": to_json(header)})
    with atomic_write(path) as file:
        file.write(content)


def load_arrays(
    path: PathLike, kind: str | None = None
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Read what :func:`save_arrays` wrote: (arrays, header).

    Nothing is unpickled or written to disk, and the memory used is in proportion to the file's
    length: members must be stored uncompressed, and sizes are checked before anything is read.

    Raises
    ------
    UserError
        The file is missing, unreadable, empty, truncated, damaged, of another kind or format.
    """
    with user_errors(f"cannot read {path}"):
        with open_ordinary(path) as file:
            try:
                arrays, header = _read(file)
            except (MemoryError, OSError):
                raise
            except Exception as problem:  # parsers raise what they like on bytes without sense
                raise UserError(f"cannot read {path}: {_reason(problem)}") from problem
    if kind is not None and header["kind"] != kind:
        raise UserError(f"cannot use {path}: it holds a {header['kind']}, not {kind}")
    return arrays, header


class _Refused(Exception):
    """Why a file is not accepted."""


def _reason(problem: Exception) -> str:
    text = " ".join(str(problem).split())[:200]
    return text if isinstance(problem, _Refused) else f"it is damaged ({text})"


def _read(file: BinaryIO) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    size = os.fstat(file.fileno()).st_size
    start = file.read(4)
    if not start:
        raise _Refused("it is empty")
    if start[:2] != b"PK":
        raise _Refused("it is not an .npz file")
    try:
        archive = zipfile.ZipFile(file)
    except zipfile.BadZipFile as problem:
        raise _Refused("it is truncated, or not an .npz file") from problem
    with archive:
        members = archive.infolist()
        _check_members(members, size)
        arrays = {
            member.filename[: -len(".npy")]: _read_array(archive, member) for member in members
        }
    header = _parse_header(arrays.pop(_HEADER, None))
    if sorted(header.pop("arrays")) != sorted(arrays):
        raise _Refused("it is damaged: its arrays are not those that its header names")
    return arrays, header


def _check_members(members: list[zipfile.ZipInfo], size: int) -> None:
    """Look at the directory before any member is read: no bombs, tricks with names or doubles."""
    names = [member.filename for member in members]
    for member in members:
        name, suffix = os.path.splitext(member.filename)
        if suffix != ".npy" or not _NAME.fullmatch(name):
            raise _Refused(f"it has a member that is not an array: {member.filename[:80]!r}")
        if member.compress_type != zipfile.ZIP_STORED or member.flag_bits & 1:
            raise _Refused(
                f"{name} is compressed or encrypted, which files of this program are not"
            )
        if member.compress_size != member.file_size:
            raise _Refused(f"the sizes of {name} disagree")
    if len(set(names)) < len(names):
        raise _Refused("it has two members of one name")
    # Stored members that do not overlap cannot be longer than the file.
    if sum(member.file_size for member in members) > size:
        raise _Refused("its members are larger than the file")


def _read_array(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> np.ndarray:
    name = member.filename[: -len(".npy")]
    if name == _HEADER and member.file_size > MAX_HEADER_BYTES + 1024:
        raise _Refused("its header is too large")
    with archive.open(member) as stream:
        if np.lib.format.read_magic(stream) != (1, 0):
            raise _Refused(f"{name} is in another version of the .npy format")
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(stream)
        if dtype.hasobject:
            raise _Refused(f"{name} holds Python objects, which are never unpickled")
        if dtype.kind not in _DTYPE_KINDS or dtype.names or dtype.subdtype:
            raise _Refused(f"{name} holds {dtype}, not plain numbers")
        data = stream.read()  # to the end, where the checksum is compared
    if min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize != len(data):
        raise _Refused(f"{name} has {len(data)} bytes, which do not make an array {shape}")
    array = np.frombuffer(data, dtype).reshape(shape, order="F" if fortran else "C")
    return array.astype(dtype.newbyteorder("="), order="K")


def _parse_header(raw: np.ndarray | None) -> dict[str, Any]:
    if raw is None:
        raise _Refused("it has no header, so it was not written by this program")
    if raw.dtype != np.uint8 or raw.ndim != 1:
        raise _Refused("its header is not text")
    header = json.loads(raw.tobytes().decode())
    if not isinstance(header, dict) or header.get("kind") not in KINDS:
        raise _Refused(f"its header names no kind among {', '.join(KINDS)}")
    if header.get("format") != FORMAT:
        raise _Refused(
            f"its format is {str(header.get('format'))[:20]}, this program reads {FORMAT}"
        )
    return header
