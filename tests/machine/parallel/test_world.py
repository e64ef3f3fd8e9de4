"""What a world tells from its surroundings; no MPI is needed here."""

from __future__ import annotations

import subprocess
import sys

import pytest
from ranks import ROOT, environment

from pixelvae.machine.errors import UserError
from pixelvae.machine.parallel.alone import World
from pixelvae.machine.parallel.launch import forget, launch
from pixelvae.machine.parallel.world import own_card, share, world


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, None),
        ({"PMI_SIZE": "1", "PMI_RANK": "0"}, None),
        ({"PMI_SIZE": "4", "PMI_RANK": "2"}, (4, 2)),
        ({"OMPI_COMM_WORLD_SIZE": "3", "OMPI_COMM_WORLD_RANK": "0"}, (3, 0)),
        ({"SLURM_STEP_NUM_TASKS": "8", "SLURM_PROCID": "7"}, (8, 7)),
        # sbatch's own script, which is no step
        ({"SLURM_NTASKS": "8", "SLURM_PROCID": "0"}, None),
        # mpiexec in a step: one task for each machine starts several ranks
        ({"PMI_SIZE": "4", "PMI_RANK": "3", "SLURM_STEP_NUM_TASKS": "2", "SLURM_PROCID": "1"}, (4, 3)),
    ],
)  # fmt: skip
def test_what_launchers_say(environ, expected):
    assert launch(environ) == expected
    forget(environ)
    assert launch(environ) is None


def test_one_process_imports_no_mpi():
    program = (
        "import pixelvae.lib, sys; from pixelvae.machine.parallel.world import world\n"
        "assert world().size == 1 and not [m for m in sys.modules if m.startswith('mpi4py')]"
    )
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, env=environment(), check=True)


def start_alone(program, rank):
    """A process that a launcher claims to be one of four."""
    variables = {"OMPI_COMM_WORLD_SIZE": "4", "OMPI_COMM_WORLD_RANK": str(rank)}
    return subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT, env=environment(**variables), capture_output=True, text=True,
    )  # fmt: skip


def test_several_processes_without_mpi4py_are_refused_in_one_line():
    program = (
        "import sys; sys.modules['mpi4py'] = None\n"
        "from pixelvae.machine.console.command import main; main(print)"
    )
    first, other = start_alone(program, 0), start_alone(program, 1)
    assert (first.returncode, other.returncode) == (2, 2)
    assert first.stderr.startswith("error: 4 processes were started together, and mpi4py cannot")
    assert first.stderr.count("\n") == 1
    assert other.stderr == ""


@pytest.mark.parametrize("size", [1, 2, 3, 7])
@pytest.mark.parametrize("count", [0, 1, 2, 5, 100])
def test_slices_are_even_and_cover_all(size, count):
    things, parts = list(range(count)), []
    for rank in range(size):
        one = World()
        one.rank, one.size = rank, size
        parts.append(things[one.slice_of(count)])
    assert sum(parts, []) == things
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


class Machine(World):
    """A rank on a machine whose ranks may run on these cores."""

    def __init__(self, *cores):
        self._cores, self.local_size = [set(c) for c in cores], len(cores)

    def _gather_on_machine(self, value):
        return self._cores


@pytest.mark.parametrize(
    ("cores", "quota", "expected"),
    [
        ([range(8)], float("inf"), 8),
        ([range(8)], 3, 3),
        ([range(8)] * 2, float("inf"), 4),
        ([range(8)] * 3, float("inf"), 2),
        ([range(8)] * 9, float("inf"), 1),
        ([range(8)] * 2, 6, 3),
        ([range(4), range(4, 8)], float("inf"), 4),  # bound by the launcher
        ([range(6), range(4, 8)], float("inf"), 5),
    ],
)
def test_ranks_of_a_machine_share_its_cores(cores, quota, expected):
    assert Machine(*cores).cores(set(cores[0]), quota) == expected


def test_a_world_of_one():
    one = World()
    assert one.share(lambda unit: unit * unit, 4) == [0, 1, 4, 9]
    assert one.gather("a") == ["a"]
    assert one.on_first(max, 1, 2) == 2
    with pytest.raises(UserError):
        one.on_first(fail)
    assert str(one) == "1 process"


def fail():
    raise UserError("no")


@pytest.mark.parametrize(
    ("shown", "present", "seen"),
    [
        (None, 0, [None, None, None]),
        (None, 1, [None, None, None]),
        (None, 2, ["0", "1", "0"]),
        ("2,5", 8, ["2", "5", "2"]),
        ("GPU-a", 8, ["GPU-a"] * 3),  # the launcher has given each rank its own
        ("", 8, [""] * 3),
    ],
)
def test_each_rank_of_a_machine_sees_a_card_of_its_own(tmp_path, shown, present, seen):
    for number in range(present):
        (tmp_path / str(number)).mkdir()
    for rank, card in enumerate(seen):
        environ = {} if shown is None else {"CUDA_VISIBLE_DEVICES": shown}
        own_card(rank, environ, tmp_path)
        assert environ.get("CUDA_VISIBLE_DEVICES") == card


def test_in_a_function_of_rank_0_or_a_unit_a_rank_is_a_world_of_its_own():
    one = World()
    one.size, one.rank = 2, 0
    assert one.on_first(lambda: world().size) == 1
    assert one.in_turn(lambda: world().size) == 1
    assert share(lambda unit: world().size, 2) == [1, 1]
