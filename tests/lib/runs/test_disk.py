"""Trainings whose disk is full, read-only, or whose folder is deleted under them."""

import shutil
import subprocess

import numpy as np
import pytest
from tiny_training import Images, compile_once, recipe, run_for  # noqa: F401

from pixelvae.lib.runs.metrics import read_metrics
from pixelvae.machine.errors import UserError
from pixelvae.machine.files.arrays import load_arrays

pytestmark = pytest.mark.usefixtures("compile_once")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Arrays and rows of an undisturbed training."""
    _, arrays, _, rows = run_for(tmp_path_factory.mktemp("whole"), 12)
    return arrays, rows


@pytest.fixture
def disk(tmp_path):
    """A file system of 16 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=16m", "none", str(folder)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("mounting a small file system is not allowed here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def fill(folder):
    with open(folder / "filler", "wb", buffering=0) as file:
        try:
            while True:
                file.write(b"x" * 65536)
        except OSError:
            pass


def same_as_undisturbed(whole, arrays, rows):
    for name in whole[0]:
        np.testing.assert_array_equal(arrays[name], whole[0][name], err_msg=name)
    assert rows == whole[1]


def at(**actions):
    """A data set that calls a function just before an iteration: at(i4=..., i10=...)."""

    def hook(start):
        actions.get(f"i{start + 1}", lambda: None)()

    return Images(hook)


def test_a_disk_that_is_full_for_a_while_costs_nothing(disk, whole, capsys):
    data = at(i5=lambda: fill(disk), i10=(disk / "filler").unlink)
    status, arrays, _, rows = run_for(disk / "run", 12, data)
    assert status == 0
    said = capsys.readouterr().err
    assert "No space left on device" in said and "training continues" in said
    same_as_undisturbed(whole, arrays, rows)
    assert load_arrays(disk / "run" / "best.npz", kind="weights")


def test_a_disk_that_stays_full_leaves_the_last_checkpoint(disk, whole):
    with pytest.raises(UserError, match="the last save failed: .*No space left on device"):
        run_for(disk / "run", 12, at(i5=lambda: fill(disk)))
    _, header = load_arrays(disk / "run" / "checkpoint.npz", kind="checkpoint")
    assert header["iteration"] == 3
    (disk / "filler").unlink()
    _, arrays, _, rows = run_for(disk / "run", 12)
    same_as_undisturbed(whole, arrays, rows)


def test_a_disk_that_is_full_at_the_start_is_said_before_any_work(disk):
    fill(disk)
    with pytest.raises(UserError, match="No space left on device"):
        run_for(disk / "run", 12, at(i1=lambda: pytest.fail("trained")))


def test_a_folder_on_a_read_only_disk_is_refused(disk):
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    with pytest.raises(UserError, match="Read-only file system; choose another place"):
        run_for(disk / "run", 12)


def test_a_deleted_folder_is_made_again(tmp_path, whole, capsys):
    folder = tmp_path / "run"
    status, arrays, _, rows = run_for(folder, 12, at(i5=lambda: shutil.rmtree(folder)))
    assert status == 0
    assert f"the folder {folder} was deleted; it is made again" in capsys.readouterr().err
    same_as_undisturbed(whole, arrays, rows)
    assert {p.name for p in folder.iterdir()} >= {"config.json", "best.npz", "lock"}


def test_a_folder_that_another_one_replaced_is_left_alone(tmp_path):
    folder = tmp_path / "run"

    def replace():
        folder.rename(tmp_path / "moved")
        run_for(folder, 3)

    with pytest.raises(UserError, match="another folder"):
        run_for(folder, 12, at(i5=replace))
    assert [row["iteration"] for row in read_metrics(folder / "metrics.csv")] == [3, 3]
    assert load_arrays(folder / "checkpoint.npz")[1]["iteration"] == 3
    assert load_arrays(tmp_path / "moved" / "checkpoint.npz")[1]["iteration"] == 3
