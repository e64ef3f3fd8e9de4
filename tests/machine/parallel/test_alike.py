"""Ranks that were started unlike or see other data end in one line; ranks that use the library are on their own."""

from __future__ import annotations

import subprocess

import numpy as np
import pytest
from ranks import ROOT, command, environment, needs_mpi

pytestmark = needs_mpi


def on_two_ranks(tmp_path, first: str, second: str) -> tuple[int, list[str]]:
    """Status and lines of a shell command on rank 0 and another on rank 1."""
    script = tmp_path / "rank.sh"
    script.write_text(f'if [ "$PMI_RANK" = 0 ]; then {first}\nelse {second}\nfi\n')
    launcher = [*command(2, "")[:3], "sh", str(script)]
    done = subprocess.run(
        launcher, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=300
    )
    return done.returncode, done.stderr.splitlines()


def save(path, value: int) -> None:
    path.parent.mkdir()
    images = np.full((20, 6, 5), value, "uint8")
    images[0, 0, 0] = 1
    np.savez(path, train=images, valid=images, test=images)


def train(tmp_path, *more: object) -> str:
    python = command(1, "experiments/mnist_pixelvae.py", "train", "--iterations", 1)
    return " ".join([*python, "--out", str(tmp_path / "run"), *map(str, more)])


@pytest.mark.parametrize(
    ("first", "second", "line"),
    [
        ("--seed 3", "--seed 4", "has --seed 4, and rank 0 ("),
        ("--seed 3", "--seed x", "rank 1 of 2: error: argument --seed: must be a whole number"),
        ("--layers 1", "--layers 2 --latent-dim 3", "has --layers 2, --latent-dim 3, and rank 0"),
    ],
)
def test_ranks_with_options_of_their_own(tmp_path, first, second, line):
    data = tmp_path / "0" / "images.npz"
    save(data, 0)
    status, lines = on_two_ranks(
        tmp_path, train(tmp_path, "--data", data, first), train(tmp_path, "--data", data, second)
    )
    assert status == 2 and len(lines) == 1
    assert line in lines[0]
    assert not (tmp_path / "run").exists()


def test_ranks_in_another_precision(tmp_path):
    data = tmp_path / "0" / "images.npz"
    save(data, 0)
    one = train(tmp_path, "--data", data)
    status, lines = on_two_ranks(tmp_path, one, f"THEANO_FLAGS=floatX=float64 {one}")
    assert status == 2 and len(lines) == 1
    assert "has Theano's floatX float64, and rank 0 (" in lines[0]


def test_ranks_with_other_data(tmp_path):
    """The same name leads to other images on the second machine."""
    save(tmp_path / "0" / "images.npz", 0)
    save(tmp_path / "1" / "images.npz", 1)
    inside = [f"cd {tmp_path / str(rank)};" for rank in range(2)]
    one = train(tmp_path, "--data", "images.npz").replace("experiments/", f"{ROOT}/experiments/")
    status, lines = on_two_ranks(tmp_path, f"{inside[0]} {one}", f"{inside[1]} {one}")
    assert status == 2
    [line] = [line for line in lines if line.startswith("error: ")]
    assert line.startswith("error: rank 1 (")
    assert line.count("images.npz (20/20/20 images, checksum ") == 2
    assert line.endswith("bring the same files to each machine")
    assert not (tmp_path / "run").exists()


def test_in_a_program_of_the_users_each_rank_is_a_world_of_its_own():
    """It gets its own numbers, need not call together with the others, and keeps its standard output."""
    program = """
import os
import numpy as np
import pixelvae
from pixelvae.machine.parallel.world import world

rank = int(os.environ["PMI_RANK"])  # left where mpi4py looks for it
assert str(world()) == "1 process"
x = np.zeros((2, 1, 28, 28), "uint8")
x[:, :, :, : 3 + 9 * rank] = 1
m = pixelvae.load("conv-vae")
if rank == 0:
    print("alone", m.bound(x).shape, flush=True)
print(rank, m.encode(x).mean[0, 0].round(4), flush=True)
"""
    done = subprocess.run(
        command(2, "-c", program), cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=600
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = sorted(done.stdout.splitlines())
    assert [line.split()[0] for line in lines] == ["0", "1", "alone"]
    assert lines[0].split()[1] != lines[1].split()[1]
