"""A training that is killed at random moments, again and again, is as if it had never been."""

import os
import random
import signal
import time

import numpy as np
import pytest
from compiled import threads
from tiny_training import Images, compile_once, recipe, run_for  # noqa: F401

import lib.training
from lib.checkpoint import load_arrays
from lib.evaluation import Bound
from lib.metrics import read_metrics

KILLS, EVERY = 60, 4
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

    monkeypatch.setattr(lib.training, "Bound", shared)


def start(folder):
    """Trains in a forked process; returns it and a pipe that tells each iteration's start."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid:
        os.close(writer)
        return pid, reader
    status = 1
    try:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 2)
        os.close(reader)
        status, *_ = run_for(
            folder, ITERATIONS, Images(lambda i: os.write(writer, b"%d\n" % i)), eval_every=EVERY
        )
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
    for name in whole:
        np.testing.assert_array_equal(arrays[name], whole[name], err_msg=name)
    assert rows == whole_rows
    assert [row["iteration"] for row in rows] == [
        i for i in range(EVERY, ITERATIONS + 1, EVERY) for _ in range(2)
    ]
    assert header["state"]["best"] == whole_header["state"]["best"]
    best = [load_arrays(tmp_path / name / "best.npz") for name in ("whole", "killed")]
    assert best[0][1] == best[1][1]
    for name in best[0][0]:
        np.testing.assert_array_equal(best[0][0][name], best[1][0][name], err_msg=name)
    print(f"{KILLS} kills, {in_a_save} of them in a save")
