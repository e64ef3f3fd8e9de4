"""Several ranks: what they say to each other, how they share work, and what becomes of them when one fails."""

from __future__ import annotations

import subprocess
import time

import pytest
from ranks import ROOT, command, environment, needs_mpi, run

pytestmark = needs_mpi


def output(result) -> str:
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.mark.parametrize("ranks", [2, 3])
def test_what_ranks_say_to_each_other(ranks):
    program = """
        import numpy as np
        from pixelvae.machine.errors import UserError

        vector = np.arange(1000, dtype="float32") * (w.rank + 1)
        same = vector
        w.add(vector)
        assert same is vector
        assert w.gather(vector.tobytes()) == [vector.tobytes()] * w.size
        assert w.gather(w.rank) == list(range(w.size))
        assert w.on_first(lambda: w.rank) == 0

        def fail():
            raise UserError(f"of rank {w.rank}")

        try:
            w.on_first(fail)
        except UserError as problem:
            assert str(problem) == "of rank 0"
        else:
            assert False
        assert w.largest(w.rank, -w.rank) == (w.size - 1, 0)
        w.check_same({"seed": 3, "data": "digits"}, "unlike")
        try:
            w.check_same({"seed": 3, "data": w.rank == 1, "bits": w.rank}, "do something")
        except UserError as problem:
            print(str(problem).replace(w.machine, "HOST"))
        assert (w.local_rank, w.local_size, w.machines) == (w.rank, w.size, 1)
        print(w, vector[1], vector[999])
        sys.exit(w.end(0))
    """
    lines = output(run(ranks, program)).splitlines()
    total = ranks * (ranks + 1) / 2
    assert lines[0] == (
        "rank 1 (HOST) has data True, bits 1, and rank 0 (HOST) data False, bits 0: do something"
    )
    assert lines[1:] == [
        f"{ranks} ranks on 1 machine {total} {total * 999}"
    ]  # rank 0's words alone


def test_a_program_that_a_rank_starts_is_alone():
    program = """
        import subprocess
        text = "from pixelvae.machine.parallel.world import join, world; join(); print(world())"
        print(subprocess.check_output([sys.executable, "-c", text], text=True).strip())
        sys.exit(w.end(0))
    """
    assert output(run(2, program)) == "1 process\n"


@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_units_are_shared_in_a_fixed_way_and_counted(ranks):
    program = """
        counts = []
        results = w.share(lambda unit: (unit**2, w.rank, world().size), 7, counts.append)
        assert results == [(unit**2, unit % w.size, 1) for unit in range(7)]
        assert sum(counts) == (7 if w.first else 0)
        assert len(w.share(lambda unit: w.rank, 1)) == 1 and w.share(lambda unit: unit, 0) == []
        sys.exit(w.end(0))
    """
    output(run(ranks, program))


@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_the_error_of_a_unit_is_raised_everywhere(ranks):
    program = """
        from pixelvae.machine.errors import UserError

        def work(unit):
            if unit % 5 == 3:
                raise UserError(f"unit {unit}")
            time.sleep(0.01)

        try:
            w.share(work, 1_000)
        except UserError as problem:
            sys.exit(w.end(2, f"error: {problem}"))
    """
    result = run(ranks, program)
    assert (result.returncode, result.stderr) == (2, "error: unit 3\n")


def test_rank_0_goes_first(tmp_path):
    program = """
        def make():
            there = os.path.exists(sys.argv[1])
            if not there:
                time.sleep(0.5)
                open(sys.argv[1], "w").close()
            return there

        print(w.gather(w.in_turn(make)))
        sys.exit(w.end(0))
    """
    assert output(run(3, program, tmp_path / "made")) == "[False, True, True]\n"


def test_a_failure_that_all_share_is_told_once():
    result = run(3, "sys.exit(w.end(2, f'error: of rank {w.rank}'))")
    assert (result.returncode, result.stderr) == (2, "error: of rank 0\n")


@pytest.mark.parametrize(
    ("failure", "status", "line"),
    [
        ("sys.exit(w.end(2, 'error: my disk is full'))", 2, "rank 1 of 3: error: my disk is full"),
        ("1 / 0", 1, "ZeroDivisionError: division by zero"),
    ],
)
def test_a_failure_of_one_rank_ends_all(failure, status, line):
    program = f"""
        if w.rank == 1:
            {failure}
        w.gather(0)
    """
    before = time.monotonic()
    result = run(3, program)
    assert result.returncode == status
    assert result.stderr.splitlines().count(line) == 1
    assert time.monotonic() - before < 60


@pytest.mark.parametrize("signal", ["SIGKILL", "SIGSTOP"])
def test_a_rank_that_dies_ends_the_others(signal):
    """The launcher sees a death itself, and not that a rank, its machine or its network stands still."""
    program = f"""
        import signal
        if w.rank == 1:
            os.kill(os.getpid(), signal.{signal})
        w.gather(0)
    """
    quick = "from pixelvae.machine.parallel import attendant\nattendant.BEAT_S, attendant.SILENCE_S = 0.3, 3.0\n"
    before = time.monotonic()
    result = run(3, quick + "\n" + "\n".join(line[8:] for line in program.splitlines()))
    assert result.returncode
    assert time.monotonic() - before < 60
    if signal == "SIGSTOP":
        assert result.stderr.startswith("rank 1 of 3, on ")
        assert "has given no sign of life for 3 seconds: all ranks end" in result.stderr


def test_a_launcher_of_another_mpi_is_refused():
    program = "from pixelvae.machine.console.command import main; main(print)"
    variables = environment(OMPI_COMM_WORLD_SIZE="4", OMPI_COMM_WORLD_RANK="0")
    result = subprocess.run(
        command(1, "-c", program), cwd=ROOT, env=variables, capture_output=True, text=True
    )
    assert result.returncode == 2
    line = "error: 4 processes were started together, and mpi4py's MPI (MPICH"
    assert result.stderr.startswith(line)
    assert result.stderr.count("\n") == 1
