"""A run's folder: nothing lost, nothing twice, nothing of somebody else's overwritten."""

from __future__ import annotations

import csv
import json
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from stopped_writes import in_child

from pixelvae.lib.runs.environment import environment_record
from pixelvae.lib.runs.folder import Run
from pixelvae.lib.runs.metrics import COLUMNS, read_metrics
from pixelvae.lib.runs.saver import Saver
from pixelvae.lib.runs.settings import check_data, remarks_on_data
from pixelvae.machine.errors import UserError
from pixelvae.machine.files.arrays import load_arrays, save_arrays
from pixelvae.machine.files.atomic import to_json
from pixelvae.machine.files.pictures import grid_png

SETTINGS = {"model": "m", "layers": 4, "shape": (1, 28), "data": {"sum": "a"}, "iterations": 100}
CONFIG = {"settings": SETTINGS, "environment": {"versions": {"numpy": "1"}}}
ARRAYS = {"w": np.arange(3, dtype=np.float32)}


def with_settings(**changes):
    return {**CONFIG, "settings": {**SETTINGS, **changes}}


def fill(folder, iterations=(10, 20), checkpoint=20, **options):
    with Run.open(folder, CONFIG, **options) as run:
        run.save_checkpoint(ARRAYS, {"iteration": 0})
        for iteration in iterations:
            run.log({"iteration": iteration, "split": "valid", "bound": iteration / 3})
        run.save_checkpoint(ARRAYS, {"iteration": checkpoint})


def logged(folder):
    return [row["iteration"] for row in read_metrics(folder / "metrics.csv")]


def contents(folder):
    return {path.name: path.read_bytes() for path in Path(folder).iterdir()}


def exit_status(function, *arguments) -> int:
    """Of `function` in a forked process; 2 where it raises a `UserError`."""
    return os.WEXITSTATUS(in_child(lambda: function(*arguments)))


def test_a_new_folder_is_made_and_read_back(tmp_path):
    folder = tmp_path / "runs" / "a"
    with Run.open(folder, CONFIG) as run:
        assert run.load_checkpoint() is None and run.read_metrics() == []
        run.save_checkpoint(ARRAYS, {"iteration": 0, "best": 1.5})
        run.save_best(ARRAYS, {"model": "m"})
        run.write_json("results.json", {"bound": np.float32(0.5)})
        arrays, header = run.load_checkpoint()
    config = json.loads(json.dumps(CONFIG))
    assert json.loads((folder / "config.json").read_text()) == config
    assert json.loads((folder / "results.json").read_text()) == {"bound": 0.5}
    np.testing.assert_array_equal(arrays["w"], ARRAYS["w"])
    assert header["iteration"] == 0 and header["best"] == 1.5 and header["config"] == config
    assert load_arrays(folder / "best.npz", kind="weights")[1]["model"] == "m"


def test_resuming_needs_the_same_settings(tmp_path):
    fill(tmp_path)
    before = contents(tmp_path)
    config = with_settings(layers=5, data={"sum": "b"}, seed=1)
    with pytest.raises(UserError) as refusal:
        Run.open(tmp_path, config)
    assert "(data.sum: a → b, layers: 4 → 5, seed: unset → 1)" in str(refusal.value)
    assert contents(tmp_path) == before
    with Run.open(tmp_path, CONFIG):  # a refused one holds no lock
        pass


def test_iterations_and_the_environment_may_change(tmp_path):
    fill(tmp_path)
    with pytest.raises(UserError, match="iterations: 100 → 19"):
        Run.open(tmp_path, with_settings(iterations=19))
    with Run.open(tmp_path, with_settings(iterations=20)):  # as many as the checkpoint has reached
        pass
    config = {**with_settings(iterations=200, shape=[1, 28]), "environment": {}}
    with Run.open(tmp_path, config) as run:
        assert run.load_checkpoint()[1]["iteration"] == 20
    assert json.loads((tmp_path / "config.json").read_text()) == config


def test_the_data_s_checksum_decides_and_not_its_name(tmp_path):
    """A .npz file may be moved, or be named by another path."""
    data = {"name": "a/set.npz", "checksum": "1" * 64}
    with Run.open(tmp_path, with_settings(data=data)) as run:
        run.save_checkpoint(ARRAYS, {"iteration": 1})
    moved = {**data, "name": "b/set.npz"}
    with Run.open(tmp_path, with_settings(data=moved)):
        assert json.loads((tmp_path / "config.json").read_text())["settings"]["data"] == moved
    with pytest.raises(UserError, match="data.checksum: 1+ → 2+, data.name: a/set.npz → c"):
        Run.open(tmp_path, with_settings(data={"name": "c", "checksum": "2" * 64}))
    with pytest.raises(UserError, match="data.name: a/set.npz → c"):  # nothing says it is the same
        Run.open(tmp_path, with_settings(data={"name": "c"}))


def test_other_images_than_those_trained_on_are_refused():
    class Data:
        name, checksum, remarks = "images.npz", "2" * 64, ("a stand-in",)

    same, other = ({"data": {"name": "others", "checksum": n * 64}} for n in "21")
    for settings in (same, {}, {"data": None}, {"data": {"name": "images.npz"}}):
        check_data(settings, Data())
        assert remarks_on_data(settings, Data()) == ["a stand-in"]
    with pytest.raises(UserError, match="images.npz are not those .* trained on .*2{12}.*1{12}"):
        check_data(other, Data())
    told = ["a stand-in", "measured on images.npz, trained on others"]
    assert remarks_on_data(other, Data()) == told


def test_a_checkpoint_is_never_overwritten_unasked(tmp_path):
    fill(tmp_path)
    before = contents(tmp_path)
    with pytest.raises(UserError, match="already holds a checkpoint.*another folder, or resume"):
        Run.open(tmp_path, CONFIG, resume=False)
    assert contents(tmp_path) == before


@pytest.mark.parametrize("name", ["config.json", "metrics.csv", "best.npz", "results.json"])
def test_files_of_somebody_else_are_never_overwritten(tmp_path, name):
    (tmp_path / name).write_text("precious")
    for _ in range(2):
        with pytest.raises(UserError, match=f"holds {name} but no checkpoint"):
            Run.open(tmp_path, CONFIG)
        assert contents(tmp_path) == {name: b"precious"}


def test_best_weights_come_after_a_checkpoint(tmp_path):
    with Run.open(tmp_path, CONFIG) as run, pytest.raises(RuntimeError):
        run.save_best(ARRAYS, {})


def test_a_broken_checkpoint_is_reported_when_opening(tmp_path):
    fill(tmp_path)
    path = tmp_path / "checkpoint.npz"
    whole = path.read_bytes()
    path.write_bytes(whole[:-100])
    with pytest.raises(UserError, match="checkpoint.npz: it is truncated"):
        Run.open(tmp_path, CONFIG)
    save_arrays(path, ARRAYS, {"kind": "weights"})
    with pytest.raises(UserError, match="holds a weights, not checkpoint"):
        Run.open(tmp_path, CONFIG)
    for header in ({}, {"config": 3, "iteration": 1}, {"config": {"settings": {}}}):
        save_arrays(path, ARRAYS, {**header, "kind": "checkpoint"})
        with pytest.raises(UserError, match="lacks settings or iteration"):
            Run.open(tmp_path, CONFIG)


def test_a_folder_that_cannot_be_written_is_reported_when_opening(tmp_path):
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(UserError, match="cannot write to the folder .*file"):
            Run.open(folder, CONFIG)
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o500)

    def open_as_nobody():
        os.chdir(tmp_path)
        if os.getuid() == 0:  # whom permissions do not stop
            os.setuid(65534)
        with pytest.raises(
            UserError, match="cannot write to the folder .*closed: Permission denied"
        ):
            Run.open(Path("closed"), CONFIG)

    if os.getuid() == 0:
        os.chown(closed, 65534, 65534)
    assert exit_status(open_as_nobody) == 0 and not list(closed.iterdir())


HOLD = """
import sys, time
from pixelvae.lib.runs.folder import Run
with Run.open(sys.argv[1], {"settings": {}}):
    print("open", flush=True)
    time.sleep(60)
"""


def test_a_folder_is_for_one_training_and_a_dead_one_does_not_hold_it(tmp_path):
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "open\n"
        with pytest.raises(UserError, match=f"in use by another training .process {holder.pid}"):
            Run.open(tmp_path, {"settings": {}})
        holder.kill()
    assert holder.returncode == -signal.SIGKILL
    for _ in range(2):  # nor does one that ended
        with Run.open(tmp_path, {"settings": {}}):
            with pytest.raises(UserError, match=f"process {os.getpid()}"):
                Run.open(tmp_path, {"settings": {}})


def test_rows_are_written_as_logged(tmp_path):
    with Run.open(tmp_path, CONFIG, columns=("kl_top",)) as run:
        run.log({"iteration": 5, "split": "train", "bound": 1 / 3, "kl_top": np.float32(0.1)})
        run.log({"iteration": 5, "split": "valid", "kl": float("nan"), "seconds": 2})
        with pytest.raises(ValueError):
            run.log({"iteration": 6, "spilt": "train"})
        rows = run.read_metrics()
    assert rows[0]["bound"] == 1 / 3 and rows[0]["kl_top"] == pytest.approx(0.1)
    assert rows[0]["kl"] is None and np.isnan(rows[1]["kl"]) and rows[1]["seconds"] == 2
    with open(tmp_path / "metrics.csv", newline="") as file:
        lines = list(csv.reader(file))
    assert lines[0] == [*COLUMNS, "kl_top"] and len(lines) == 3
    assert lines[1][:3] == ["5", "train", repr(1 / 3)]


def test_resuming_takes_back_the_rows_after_the_checkpoint(tmp_path):
    fill(tmp_path, iterations=(10, 20, 30, 40), checkpoint=20)
    before = (tmp_path / "metrics.csv").read_bytes().splitlines()
    with Run.open(tmp_path, CONFIG) as run:
        assert logged(tmp_path) == [10, 20]
        run.log({"iteration": 30, "split": "valid", "bound": 10.0})
    assert logged(tmp_path) == [10, 20, 30]
    assert (tmp_path / "metrics.csv").read_bytes().splitlines() == before[:4]


def test_without_a_checkpoint_the_metrics_start_anew(tmp_path):
    with Run.open(tmp_path, CONFIG) as run:
        run.log({"iteration": 10, "split": "valid"})
    with Run.open(tmp_path, CONFIG):
        assert logged(tmp_path) == []


def test_a_row_torn_at_any_byte_goes_and_no_other(tmp_path):
    fill(tmp_path, iterations=(10, 20), checkpoint=20)
    path = tmp_path / "metrics.csv"
    content = path.read_bytes()
    last = content.rindex(b"20,")
    for tail in [*(content[last:end] for end in range(last, len(content))), b"\0" * 30, b"\xff\n"]:
        path.write_bytes(content[:last] + tail)
        assert logged(tmp_path) == [10]
        with Run.open(tmp_path, CONFIG) as run:
            run.log({"iteration": 30, "split": "valid"})
        assert logged(tmp_path) == [10, 30]


def test_damage_in_the_middle_is_reported_and_nothing_removed(tmp_path):
    fill(tmp_path)
    path = tmp_path / "metrics.csv"
    for damaged in (path.read_bytes().replace(b"\n10,", b"\nx10,"), b"", b"a,b\n1,2\n"):
        path.write_bytes(damaged)
        with pytest.raises(UserError, match="metrics.csv: (line 2 is damaged|torn|no line of col)"):
            Run.open(tmp_path, CONFIG)
        assert path.read_bytes() == damaged


def test_a_column_that_a_later_version_logs_is_added(tmp_path):
    fill(tmp_path, columns=("old",))
    with Run.open(tmp_path, CONFIG, columns=("new",)) as run:
        run.log({"iteration": 30, "split": "valid", "new": 1.5})
        rows = run.read_metrics()
    assert [row["new"] for row in rows] == [None, None, 1.5] and "old" in rows[0]


def test_a_run_from_before_a_column_existed_goes_on(tmp_path):
    fill(tmp_path, checkpoint=20)
    path = tmp_path / "metrics.csv"
    lines = [line.rpartition(",") for line in path.read_text().splitlines()]
    assert lines[0][2] == "skipped"
    path.write_text("".join(f"{line[0]}\n" for line in lines))
    with Run.open(tmp_path, CONFIG) as run:
        run.log({"iteration": 30, "split": "train", "skipped": 2})
        rows = run.read_metrics()
    assert [row["skipped"] for row in rows] == [None, None, 2]


def test_a_row_that_does_not_fit_on_the_disk_leaves_no_trace(tmp_path):
    fill(tmp_path)
    path = tmp_path / "metrics.csv"
    before = path.read_bytes()

    def log_with_limit(limit):
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        run.log({"iteration": 30, "split": "valid"})

    with Run.open(tmp_path, CONFIG) as run:
        whole = len(before) + len(b"30,valid,,,,,,\n")
        for limit in range(len(before), whole):
            assert exit_status(log_with_limit, limit) == 2
            assert path.read_bytes() == before
        assert exit_status(log_with_limit, whole) == 0
    assert logged(tmp_path) == [10, 20, 30]


def test_a_folder_deleted_under_a_training_is_noticed(tmp_path):
    folder = tmp_path / "a"
    with Run.open(folder, CONFIG) as run:
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()
        for save in (
            lambda: run.log({"iteration": 1, "split": "valid"}),
            lambda: run.save_checkpoint(ARRAYS, {"iteration": 1}),
            lambda: run.write_json("results.json", {}),
        ):
            with pytest.raises(UserError, match="cannot write .*No such file or directory"):
                save()


def events_of(folder):
    """All events of all event files, by TensorBoard's record format."""
    from tensorboardX.proto.event_pb2 import Event

    events = []
    for path in sorted(Path(folder).glob("events.out.tfevents.*")):
        data = path.read_bytes()
        while data:
            length = int.from_bytes(data[:8], "little")
            events.append(Event.FromString(data[12 : 12 + length]))
            data = data[16 + length :]
    return events


def read_events(folder):
    """(step, tag, value) of all scalars, and the restarts."""
    events = events_of(folder)
    values = [(event.step, value) for event in events for value in event.summary.value]
    scalars = [(n, v.tag, v.simple_value) for n, v in values if v.HasField("simple_value")]
    return scalars, [event.step for event in events if event.HasField("session_log")]


def test_tensorboard_files_hold_the_scalars(tmp_path):
    with Run.open(tmp_path, CONFIG, tensorboard=True) as run:
        run.save_checkpoint(ARRAYS, {"iteration": 5})
        run.scalars(10, {"valid/bound": 1.5, "valid/kl": 0.25})
        expected = [(10, "valid/bound", 1.5), (10, "valid/kl", 0.25)]
        assert read_events(tmp_path) == (expected, [])  # flushed
    with Run.open(tmp_path, CONFIG, tensorboard=True):
        assert read_events(tmp_path)[1] == [6]


def test_tensorboard_files_hold_the_settings_and_pictures(tmp_path):
    png = grid_png(np.zeros((1, 3, 4, 5), np.uint8), 256, scale=1, pad=0)
    with Run.open(tmp_path, CONFIG, tensorboard=True) as run:
        run.save_checkpoint(ARRAYS, {"iteration": 5})
        run.pictures(10, {"samples": png})
    events = [(e.step, value) for e in events_of(tmp_path) for value in e.summary.value]
    (first, text), (step, picture) = events
    assert (first, text.tag) == (0, "settings/text_summary")
    lines = text.tensor.string_val[0].decode().splitlines()
    assert json.loads("".join(lines)) == json.loads(to_json(CONFIG["settings"]))
    assert all(line.startswith("    ") for line in lines)
    assert (step, picture.tag, picture.image.encoded_image_string) == (10, "samples", png)
    assert (picture.image.width, picture.image.height, picture.image.colorspace) == (5, 4, 3)
    with Run.open(tmp_path, CONFIG, tensorboard=True):
        pass
    assert (
        sum(len(e.summary.value) for e in events_of(tmp_path) if e.step == 5) == 1
    )  # the settings


def test_pictures_that_cannot_be_written_do_not_end_a_training(tmp_path, monkeypatch, capsys):
    def full(iteration, pictures):
        raise UserError("cannot write TensorBoard events: No space left on device")

    with Run.open(tmp_path, CONFIG, tensorboard=True) as run:
        monkeypatch.setattr(run, "pictures", full)
        Saver(run).pictures(3, {})
    assert "no pictures of iteration 3: cannot write" in capsys.readouterr().err


def test_tensorboard_is_given_finite_values_alone(tmp_path):
    with Run.open(tmp_path, CONFIG, tensorboard=True) as run:
        saver = Saver(run)
        saver.start(ARRAYS, {"iteration": 0})
        row = {"iteration": 5, "split": "valid", "bound": np.nan, "kl": None, "reconstruction": 1.5}
        saver.log(row)
        saver.checkpoint(ARRAYS, {"iteration": 5})
        assert read_events(tmp_path)[0] == [(5, "valid/reconstruction", 1.5)]
        assert np.isnan(run.read_metrics()[0]["bound"])


def test_no_tensorboard_files_unless_asked_for(tmp_path):
    with Run.open(tmp_path, CONFIG) as run:
        run.scalars(10, {"bound": 1.5})
    assert not list(tmp_path.glob("events*"))


def test_tensorboard_missing_is_said_in_one_line(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(UserError, match="pip install tensorboardX"):
        Run.open(tmp_path, CONFIG, tensorboard=True)


def test_the_environment_is_recorded_without_importing_theano():
    script = (
        "import json, sys; from pixelvae.lib.runs.environment import environment_record; "
        "record = environment_record(); "
        "assert 'theano' not in sys.modules; print(json.dumps(record))"
    )
    output = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)
    record = json.loads(output.stdout)
    assert record == environment_record()
    assert record["versions"]["numpy"] == np.__version__ and "theano" in record["versions"]


def test_the_git_commit_is_the_checkout_s(tmp_path, monkeypatch):
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b"]
    (tmp_path / "lib").mkdir()
    monkeypatch.setattr(
        "pixelvae.lib.runs.environment.__file__", str(tmp_path / "lib" / "runs" / "environment.py")
    )
    assert environment_record()["git_commit"] is None
    subprocess.run([*git, "init", "-q"], cwd=tmp_path, check=True)
    assert environment_record()["git_commit"] is None  # no commit yet
    (tmp_path / "a").write_text("1")
    subprocess.run([*git, "add", "a"], cwd=tmp_path, check=True)
    subprocess.run([*git, "commit", "-qm", "a"], cwd=tmp_path, check=True)
    subprocess.run([*git, "tag", "v1"], cwd=tmp_path, check=True)
    head = subprocess.check_output([*git, "rev-parse", "HEAD"], cwd=tmp_path, text=True).strip()
    assert environment_record()["git_commit"] == head
    (tmp_path / "a").write_text("2")
    assert environment_record()["git_commit"] == head + "+"
