"""Whether a folder lies on a network disk."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Optional


def network_disk(folder: str, mounts: Optional[Iterable[str]] = None) -> Optional[str]:
    """The kind of network file system that a folder lies on ("nfs4"), None for a local disk.

    ``mounts`` are the lines of /proc/self/mounts, by default this machine's.
    """
    if mounts is None:
        try:
            with open("/proc/self/mounts") as file:
                mounts = file.readlines()
        except OSError:  # not on Linux
            return None
    path, best, kind = os.path.realpath(folder), "", ""
    for line in mounts:
        _, point, system, *_ = line.split(" ")
        point = point.replace("\\040", " ")
        inside = os.path.commonpath([point, path]) == point
        if inside and len(point) >= len(best):
            best, kind = point, system
    return kind if kind.startswith(_NETWORK) else None


_NETWORK = (
    "nfs", "cifs", "smb", "lustre", "gpfs", "beegfs", "ceph", "afs", "panfs", "pvfs", "orangefs", "gfs2", "glusterfs",
    "fuse.sshfs", "fuse.glusterfs", "fuse.ceph", "fuse.beegfs", "wekafs", "9p",
)  # fmt: skip
