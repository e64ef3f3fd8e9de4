"""What machine/files/atomic.py does where the disk or the content is not as usual; test_checkpoint.py has the rest."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import resource

import numpy as np
import pytest

from pixelvae.machine.errors import UserError
from pixelvae.machine.files import atomic
from pixelvae.machine.files.arrays import save_arrays
from pixelvae.machine.files.atomic import atomic_write, to_json, write_json


def test_json_holds_numpys_numbers_and_nothing_it_cannot(tmp_path):
    value = {"a": np.float32(0.5), "b": np.arange(3), "c": np.bool_(True)}
    assert json.loads(to_json(value)) == {"a": 0.5, "b": [0, 1, 2], "c": True}
    write_json(tmp_path / "x.json", value)
    with pytest.raises(TypeError, match="object has no place in JSON"):
        write_json(tmp_path / "x.json", {"a": object()})
    assert json.loads((tmp_path / "x.json").read_text())["a"] == 0.5  # the old one stays
    assert os.listdir(tmp_path) == ["x.json"]


def test_what_is_not_finite_is_null_in_json(tmp_path):
    """JSON has no NaN; strict readers refuse a file that holds one."""
    value = {
        "se": float("nan"),
        "all": [np.float32(np.inf), (-np.inf, 1.5)],
        "a": np.array([np.nan]),
    }
    write_json(tmp_path / "x.json", value)
    save_arrays(tmp_path / "x.npz", {}, {"kind": "weights", **value})
    header = np.load(tmp_path / "x.npz")["header"].tobytes()
    for text in ((tmp_path / "x.json").read_text(), header):
        found = json.loads(text, parse_constant=pytest.fail)
        assert [found[n] for n in value] == [None, [None, [None, 1.5]], [None]]


def test_a_file_system_without_locks_is_named(tmp_path, monkeypatch):
    def flock(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", flock)
    opened = len(os.listdir("/proc/self/fd"))
    with pytest.raises(UserError, match="No locks available; choose a folder on a file system"):
        with atomic_write(tmp_path / "x"):
            pass
    assert len(os.listdir("/proc/self/fd")) == opened
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("fault", [errno.EINVAL, errno.EIO])
def test_a_folder_that_cannot_be_flushed(tmp_path, monkeypatch, fault):
    """Some network file systems refuse it, which is no fault of the file's; a broken disk is one."""
    folder = {os.stat(tmp_path).st_ino}
    fsync = os.fsync

    def refuse(descriptor):
        if os.fstat(descriptor).st_ino in folder:
            raise OSError(fault, os.strerror(fault))
        fsync(descriptor)

    monkeypatch.setattr(atomic.os, "fsync", refuse)
    if fault == errno.EINVAL:
        write_json(tmp_path / "x.json", 1)
    else:
        with pytest.raises(UserError, match="cannot write .*x.json"):
            write_json(tmp_path / "x.json", 1)
    assert (tmp_path / "x.json").read_text() == "1\n"


def test_a_writer_that_waited_leaves_the_others_file_alone(tmp_path, monkeypatch):
    """The file it opened was renamed meanwhile: it must start anew, not empty what is whole."""
    flock, renamed = fcntl.flock, []

    def wait(descriptor, how):
        if not renamed:  # another writer was first
            os.write(descriptor, b"whole")
            os.replace(tmp_path / ".x.tmp", tmp_path / "x")
            renamed.append(True)
        flock(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", wait)
    with atomic_write(tmp_path / "x") as file:
        assert (tmp_path / "x").read_bytes() == b"whole"
        file.write(b"ours")
    assert renamed and (tmp_path / "x").read_bytes() == b"ours"


def test_a_limit_of_a_files_size_is_like_a_full_disk(tmp_path):
    save_arrays(tmp_path / "x.npz", {}, {"kind": "weights"})
    before = (tmp_path / "x.npz").read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(UserError, match=r"cannot write .*: File too large; .*ulimit -f"):
            save_arrays(tmp_path / "x.npz", {"a": np.zeros(100_000)}, {"kind": "weights"})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (tmp_path / "x.npz").read_bytes() == before and os.listdir(tmp_path) == ["x.npz"]
