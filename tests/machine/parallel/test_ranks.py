"""Several ranks: what they say to each other, how they share work, and what becomes of them when one fails."""

from __future__ import annotations

import time

import pytest
from ranks import needs_mpi, run

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
        w.check_same("arrays", {"vector": vector})
        try:
            w.check_same("arrays", {"vector": vector + (w.rank == 1)})
        except UserError as problem:
            print(problem)
        assert (w.local_rank, w.local_size, w.machines) == (w.rank, w.size, 1)
        print(w, vector[1], vector[999])
        sys.exit(w.end(0))
    """
    lines = output(run(ranks, program)).splitlines()
    total = ranks * (ranks + 1) / 2
    assert lines[0].startswith(f"arrays of rank 1 of {ranks} are no longer those of rank 0")
    assert lines[1:] == [
        f"{ranks} ranks on 1 machine {total} {total * 999}"
    ]  # rank 0's words alone


def test_a_program_that_a_rank_starts_is_alone():
    program = """
        import subprocess
        text = "from pixelvae.machine.parallel.world import world; print(world())"
        print(subprocess.check_output([sys.executable, "-c", text], text=True).strip())
        sys.exit(w.end(0))
    """
    assert output(run(2, program)) == "1 process\n"


@pytest.mark.parametrize("slow", [0, 1])
def test_a_slow_rank_holds_nobody_up(slow):
    program = """
        def work(unit):
            time.sleep(0.5 if w.rank == int(sys.argv[1]) else 0.01)
            return unit**2, w.rank

        counts = []
        results = w.units(work, 60, counts.append)
        assert [r for r, _ in results] == [unit**2 for unit in range(60)]
        assert not w.first or sum(counts) == 60
        by = [rank for _, rank in results]
        again = w.units(lambda unit: w.rank, 2)
        assert len(again) == 2 and w.units(work, 0) == []
        print(by.count(int(sys.argv[1])))
        sys.exit(w.end(0))
    """
    assert int(output(run(3, program, slow))) <= 4  # of 60


def test_no_unit_waits_for_a_busy_rank_near_the_end():
    program = """
        def work(unit):
            time.sleep(1)
            return w.rank

        print(sorted(w.units(work, 3)))
        sys.exit(w.end(0))
    """
    assert output(run(3, program)) == "[0, 1, 2]\n"


@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_the_error_of_a_unit_is_raised_everywhere(ranks):
    program = """
        from pixelvae.machine.errors import UserError

        def work(unit):
            if unit % 5 == 3:
                raise UserError(f"unit {unit}")
            time.sleep(0.01)

        try:
            w.units(work, 10_000)
        except UserError as problem:
            sys.exit(w.end(2, f"error: {problem}"))
    """
    result = run(ranks, program)
    assert (result.returncode, result.stderr) == (2, "error: unit 3\n")


def test_one_rank_of_a_machine_goes_first(tmp_path):
    program = """
        with w.one_of_each_machine_first():
            there = os.path.exists(sys.argv[1])
            if not there:
                time.sleep(0.5)
                open(sys.argv[1], "w").close()
        print(w.gather(there))
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
    result = run(1, "", OMPI_COMM_WORLD_SIZE="4", OMPI_COMM_WORLD_RANK="0")
    assert result.returncode == 2
    assert result.stderr.startswith("4 processes were started together, and mpi4py's MPI (MPICH")
    assert result.stderr.count("\n") == 1
