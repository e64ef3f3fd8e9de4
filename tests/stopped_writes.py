"""A file of arrays written under every limit of its size, the kernel stopping the writer each time.

A small process of its own: a fork copies the page tables, and those of a test run are large.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from pixelvae.machine.errors import UserError
from pixelvae.machine.files.arrays import load_arrays, save_arrays

OLD = {"w": np.arange(6, dtype=np.float32).reshape(2, 3), "adam.step": np.array(7)}
NEW = {"w": -np.arange(6, dtype=np.float32).reshape(2, 3), "adam.step": np.array(8)}
HEADER = {"kind": "checkpoint", "iteration": 3}


def in_child(function: Callable[[], object]) -> int:
    """Run `function` in a forked process; its wait status. A `UserError` ends it with status 2."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            function()
            status = 0
        except UserError:
            status = 2
        finally:
            os._exit(status)
    return os.waitpid(pid, 0)[1]


def same(loaded, expected) -> bool:
    return loaded.keys() == expected.keys() and all(
        loaded[name].tobytes() == np.asarray(expected[name]).tobytes() for name in expected
    )


def stop_at_each_byte(saved: Path, killed: bool) -> None:
    """Past RLIMIT_FSIZE a write fails, or SIGXFSZ kills; what was saved is there all the same."""

    def write_with_limit():
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL if killed else signal.SIG_IGN)
        save_arrays(saved, NEW, HEADER)

    temporary = saved.with_name(".checkpoint.npz.tmp")
    size = saved.stat().st_size
    for limit in range(size):
        status = in_child(write_with_limit)
        if killed:
            assert os.WTERMSIG(status) == signal.SIGXFSZ and temporary.stat().st_size == limit
        else:
            assert os.WEXITSTATUS(status) == 2 and not temporary.exists()
        assert same(load_arrays(saved)[0], OLD)
    limit = size
    assert in_child(write_with_limit) == 0
    assert same(load_arrays(saved)[0], NEW)
    assert os.listdir(saved.parent) == [saved.name]  # what the killed ones left is gone as well
    print(size)


if __name__ == "__main__":
    stop_at_each_byte(Path(sys.argv[1]), sys.argv[2] == "killed")
