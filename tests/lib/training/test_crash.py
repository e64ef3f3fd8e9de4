"""A training that is killed at random moments, again and again, is as if it had never been."""

import faulthandler
import os
import random
import shutil
import signal
import time
from functools import partial

import numpy as np
import pytest
from compiled import threads
from tiny_training import Images, compile_once, recipe, run_for  # noqa: F401

from pixelvae.lib.evaluation import Bound
from pixelvae.lib.runs.metrics import read_metrics
from pixelvae.lib.training import loop
from pixelvae.machine.files.arrays import load_arrays

KILLS, EVERY = 60, 4
LATE = 120  #: seconds after which a child hangs: far more than any takes, less than a test may
ITERATIONS = EVERY * (KILLS + 6)

pytestmark = pytest.mark.usefixtures("compile_once")


@pytest.fixture
def one_bound(monkeypatch):
    """The compiled bound too is shared: a child that is forked has it already."""
    compiled = []

    def shared(model, seed, batch_size):
        if not compiled:
            compiled.append(Bound(model, seed, batch_size))
            compiled[0](Images(), "valid")
        copies = compiled[0]._model.parameters.arrays()
        for name, variable in zip(copies, model.parameters.values()):
            model.parameters._shared[name] = compiled[0]._model.parameters[name]
            model.parameters[name].set_value(variable.get_value())
        model.parameters._trained[:] = compiled[0]._model.parameters.trained
        return compiled[0]

    monkeypatch.setattr(loop, "Bound", shared)


def start(folder, iterations=ITERATIONS, before=lambda: None):
    """Trains in a forked process; returns it and a pipe that tells each iteration's start."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid:
        os.close(writer)
        return pid, reader
    status = 1
    try:
        # Where it hangs, it says where, then dies.
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        faulthandler.register(signal.SIGALRM, file=os.dup(2), chain=True)
        signal.alarm(LATE)
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 2)
        os.close(reader)
        before()
        data = Images(lambda i: os.write(writer, b"%d\n" % i))
        status, *_ = run_for(folder, iterations, data, eval_every=EVERY)
    finally:
        os._exit(status)


def started(pipe, target):
    """Waits until iteration `target` has begun; the number of the last one that has."""
    text = b""
    while True:
        part = os.read(pipe, 4096)
        if not part:
            return int(text.split()[-1])
        text += part
        if text.endswith(b"\n") and int(text.split()[-1]) >= target:
            return int(text.split()[-1])


def test_killed_at_random_moments(tmp_path, one_bound):
    with threads(1):  # a pool of threads would not live on in forked processes
        run_for(tmp_path / "compiled", EVERY, eval_every=EVERY)
        before = time.monotonic()
        _, whole, whole_header, whole_rows = run_for(
            tmp_path / "whole", ITERATIONS, Images(), eval_every=EVERY
        )
        period = EVERY * (time.monotonic() - before) / ITERATIONS
        folder, moments = tmp_path / "killed", random.Random(0)
        in_a_save = 0
        for kill in range(KILLS):
            pid, pipe = start(folder)
            seen = started(pipe, kill * EVERY)
            time.sleep(moments.uniform(0, period))
            os.kill(pid, signal.SIGKILL)
            assert os.WTERMSIG(os.waitpid(pid, 0)[1]) == signal.SIGKILL
            in_a_save += any(path.suffix == ".tmp" for path in folder.iterdir())
            seen = max(seen, *map(int, os.read(pipe, 4096).split() or [0]))
            os.close(pipe)
            _, header = load_arrays(folder / "checkpoint.npz", kind="checkpoint")
            assert header["iteration"] >= seen - seen % EVERY  # each finished evaluation is saved
            read_metrics(folder / "metrics.csv")
        pid, pipe = start(folder)
        while os.read(pipe, 4096):
            pass
        assert os.waitpid(pid, 0)[1] == 0
        _, arrays, header, rows = run_for(folder, ITERATIONS, eval_every=EVERY)
    same(tmp_path, arrays, whole)
    assert rows == whole_rows
    assert [row["iteration"] for row in rows] == [
        i for i in range(EVERY, ITERATIONS + 1, EVERY) for _ in range(2)
    ]
    assert header["state"]["best"] == whole_header["state"]["best"]
    print(f"{KILLS} kills, {in_a_save} of them in a save")


def same(folder, arrays, whole):
    """Compares checkpoints, and the best weights in the folders "whole" and "killed"."""
    best = [load_arrays(folder / name / "best.npz") for name in ("whole", "killed")]
    assert best[0][1] == best[1][1]
    for ours, truth in ((arrays, whole), (best[1][0], best[0][0])):
        assert ours.keys() == truth.keys()
        for name in truth:
            np.testing.assert_array_equal(ours[name], truth[name], err_msg=name)


def test_killed_before_each_step_of_each_save(tmp_path, one_bound):
    """Each time a file or a folder is flushed or renamed, from the first settings to the last checkpoint."""
    with threads(1):
        _, whole, _, whole_rows = run_for(tmp_path / "whole", 2 * EVERY, eval_every=EVERY)
        folder, kills = tmp_path / "killed", 0
        while True:
            shutil.rmtree(folder, ignore_errors=True)
            pid, pipe = start(folder, 2 * EVERY, partial(kill_before, kills + 1))
            while os.read(pipe, 4096):
                pass
            os.close(pipe)
            status = os.waitpid(pid, 0)[1]
            if not os.WIFSIGNALED(status):
                break
            kills += 1
            if (folder / "checkpoint.npz").exists():
                load_arrays(folder / "checkpoint.npz", kind="checkpoint")
            _, arrays, _, rows = run_for(folder, 2 * EVERY, eval_every=EVERY)
            same(tmp_path, arrays, whole)
            assert rows == whole_rows, kills
    assert os.WEXITSTATUS(status) == 0
    # Settings, empty metrics, a checkpoint, then twice two rows, the best weights and a checkpoint.
    assert kills == 3 * 3 + 2 * (2 + 2 * 3)
    print(f"{kills} kills, one before each step")


def kill_before(step):
    """From now on the process is killed where it would flush or rename for that time."""
    calls = []

    def counted(original):
        def call(*arguments):
            calls.append(arguments)
            if len(calls) == step:
                os.kill(os.getpid(), signal.SIGKILL)
            return original(*arguments)

        return call

    os.fsync, os.replace = counted(os.fsync), counted(os.replace)
