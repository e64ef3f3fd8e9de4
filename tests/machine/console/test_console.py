"""What a user sees: one-line errors, exit statuses, progress, a graceful stop."""

from __future__ import annotations

import argparse
import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import threading
from types import SimpleNamespace

import pytest
from fresh_process import unmeasured

from pixelvae.machine.console import command, compiling, progress
from pixelvae.machine.console.command import main
from pixelvae.machine.console.progress import Progress, phase
from pixelvae.machine.console.stop import GracefulStop, exit_status
from pixelvae.machine.errors import UserError


def script_of(body: str) -> str:
    """A script that ends like those of experiments/, whose function `run` is `body`."""
    return (
        "import os, sys, signal\n"
        "from pixelvae.machine.console.command import ArgumentParser, main, positive_int\n"
        "from pixelvae.machine.errors import UserError\n"
        "def run(arguments):\n" + "".join(f"    {line}\n" for line in body.splitlines()) + ""
        # A shell that starts the tests in the background lets them, and what they start, ignore Ctrl-C.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "sys.exit(main(run, sys.argv[1:]))\n"
    )


def run_script(body: str, *arguments: str, **options) -> subprocess.CompletedProcess:
    """Run `body` as the function `run` of a script that ends like those of experiments/."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONUNBUFFERED"}
    return subprocess.run(
        [sys.executable, "-c", script_of(body), *arguments],
        env=environment,  # where output is buffered, errors come late
        stdout=options.pop("stdout", subprocess.PIPE),
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
        **options,
    )


@pytest.mark.parametrize(
    ("body", "status", "error"),
    [
        ("return None", 0, ""),
        ("return 3", 3, ""),
        ("sys.exit(4)", 4, ""),
        ("raise UserError('the file a\\n  is gone')", 2, "error: the file a is gone\n"),
        (
            "import sys; sys.modules['sklearn'] = None; import sklearn.svm",
            2,
            "error: this needs scikit-learn",
        ),
        ("raise MemoryError", 2, "error: out of memory; try a smaller batch"),
        ("os.kill(os.getpid(), signal.SIGINT)", 130, "error: interrupted\n"),
        (
            "raise OSError(28, 'No space left on device', '/x')",
            2,
            "error: No space left on device (/x); free",
        ),
    ],
)
def test_exit_status_and_one_line(body, status, error):
    result = run_script(body)
    assert result.returncode == status
    assert result.stderr.startswith(error) and result.stderr.count("\n") == (1 if error else 0)


@pytest.mark.parametrize("error", ["ZeroDivisionError", "PermissionError"])
def test_errors_of_the_program_keep_their_traceback(error):
    result = run_script(f"raise {error}('a bug')")
    assert result.returncode == 1 and "Traceback" in result.stderr and "a bug" in result.stderr


def test_a_full_standard_output_is_an_error_and_not_silence():
    with open("/dev/full", "w") as full:
        result = run_script("print('result')", stdout=full)
    assert result.returncode == 2
    assert result.stderr == "error: No space left on device; free some space and try again\n"


def test_a_reader_that_goes_away_ends_the_program_quietly():
    read, write = os.pipe()
    os.close(read)
    result = run_script("print('result')", stdout=write)
    os.close(write)
    assert result.returncode == 141 and result.stderr == ""


PARSER = """
parser = ArgumentParser(prog='train')
words = parser.add_subparsers(dest='word', required=True)
word = words.add_parser('sample')
word.add_argument('--count', type=positive_int, default=1)
word.add_argument('--sampler', choices=['cached', 'naive'])
print(parser.parse_args(arguments).count)
"""


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([], "word"),
        (["dance"], "invalid choice 'dance': choose from sample"),
        (["sample", "--count", "-1"], "argument --count: must be a whole number from 1"),
        (["sample", "--count", "many"], "not 'many'"),
        (["sample", "--count"], "--count: expected one argument"),
        (["sampel"], "invalid choice 'sampel': did you mean sample? (train --help"),
        (["sample", "--sampler", "slow\ntwo"], "invalid choice"),
        (["sample", "--sampler", "naiv"], "did you mean naive?"),
        (["sample", "--coun", "3"], "'--coun': did you mean --count? (train sample --help"),
        (["sample", "more"], "unknown argument 'more' (train sample --help"),
    ],
)
def test_usage_errors_are_one_line_and_status_2(arguments, complaint):
    result = run_script(PARSER, *arguments)
    assert result.returncode == 2 and result.stdout == ""
    assert result.stderr.startswith("error: ") and complaint in result.stderr
    assert result.stderr.count("\n") == 1 and "--help" in result.stderr


def test_usage_that_is_right_runs_and_help_is_help():
    assert run_script(PARSER, "sample", "--count", "3").stdout == "3\n"
    result = run_script(PARSER, "sample", "--help")
    assert result.returncode == 0 and result.stdout.startswith("usage: train sample")


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        (
            command.positive_int,
            {"1": 1, "2147483647": 2**31 - 1},
            ["0", "-1", "1.5", "", "2147483648"],
        ),
        (command.non_negative_int, {"0": 0, "7": 7}, ["-1", "x", "9" * 5000]),
        (command.positive_float, {"1e-3": 1e-3, "2": 2.0}, ["0", "-1", "nan", "inf", "x", ""]),
    ],
)
def test_argument_types(kind, good, bad):
    for text, value in good.items():
        assert kind(text) == value
    for text in bad:
        with pytest.raises(argparse.ArgumentTypeError, match="must be a .*number"):
            kind(text)


def test_main_gives_arguments_on(capsys):
    assert main(lambda a, b: a + b, 1, 2) == 3


@pytest.fixture
def clock(monkeypatch):
    """A clock that tests turn: `clock[0]` is the time in seconds."""
    now = [1000.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_a_phase_is_announced_and_timed(clock, capsys):
    with phase("compiling the training step", 60):
        assert capsys.readouterr().err == "compiling the training step, about 60 s ...\n"
        clock[0] += 43.2
    assert capsys.readouterr().err == "... done in 43 s\n"
    with phase("evaluating", 600):
        clock[0] += 7290
    assert capsys.readouterr().err == "evaluating, about 10 min ...\n... done in 2 h 2 min\n"


def test_a_phase_that_fails_is_not_done(capsys):
    with pytest.raises(UserError), phase("compiling"):
        raise UserError("no compiler")
    assert capsys.readouterr() == ("", "compiling ...\n")


def test_a_compilation_takes_about_what_it_took_the_last_time(clock, capsys, tmp_path, monkeypatch):
    config = SimpleNamespace(compiledir=str(tmp_path))
    monkeypatch.setattr(compiling.theano, "config", config)

    def estimate(seconds, compiled=()):
        with compiling.compiling("the bound", 100):
            clock[0] += seconds
            for module in compiled:
                (tmp_path / f"module{module}").mkdir()
                (tmp_path / f"module{module}/key.pkl").touch()
        return re.findall("about (.*) \\.\\.\\.", capsys.readouterr().err)

    assert estimate(40, compiled=range(60)) == ["52 s"]
    assert estimate(2) == ["7.0 s"]  # the compiled modules are there now
    assert estimate(30) == ["2.0 s"]
    assert estimate(25) == ["30 s"]  # a slower machine's time counts as well
    assert estimate(90, compiled=[60]) == ["25 s"]
    assert estimate(25) == ["25 s"]
    (tmp_path / "seconds.json").write_text("[1]")  # what it cannot read, it does without
    assert estimate(2) == ["7.0 s"]


def test_network_disks(tmp_path):
    mounts = [
        "/dev/sda1 / ext4 rw 0 0\n",
        "server:/home /home nfs4 rw 0 0\n",
        "/dev/sdb1 /home/local xfs rw 0 0\n",
        "scratch /my\\040scratch lustre rw 0 0\n",
    ]
    assert compiling.network_disk("/root", mounts) is None
    assert compiling.network_disk("/home/me/.theano", mounts) == "nfs4"
    assert compiling.network_disk("/homes", mounts) is None
    assert compiling.network_disk("/home/local/me", mounts) is None
    assert compiling.network_disk("/my scratch/x", mounts) == "lustre"
    assert compiling.network_disk(str(tmp_path)) is None


def test_progress_in_plain_lines(clock, capsys):
    """An hour at ten iterations a second."""
    times, lines = [], []
    with Progress(total=37_000, initial=1000) as progress:
        for number in range(36_000):
            clock[0] += 0.1
            progress.update(bound=100 - number / 1000)
            line = capsys.readouterr().err
            if line:
                times.append(clock[0] - 1000)
                lines.append(line)
        progress.write("saved")
    assert lines[0] == "1020/37000 it, 10 it/s, bound 99.98, 60 min left\n"
    assert times[0] == pytest.approx(2, abs=0.2)
    gaps = [after - before for before, after in zip(times, times[1:])]
    assert gaps == sorted(gaps) or max(abs(gap - 60) for gap in gaps[10:]) < 0.2
    assert 60 < len(lines) < 75 and gaps[-1] == pytest.approx(60, abs=0.2)
    assert capsys.readouterr().err == "saved\n37000/37000 it, 10 it/s, bound 64\n"


def test_the_time_left_counts_other_work_as_long_as_it_took_the_last_time(clock, capsys):
    """A hundred steps of a second, and after each twenty an evaluation: guessed at 8 s, in truth 40 s."""
    left, evaluations, end = [], 5, 1000 + 100 + 5 * 40
    with Progress(total=100, further=5 * 8) as progress:
        for number in range(1, 101):
            clock[0] += 1
            progress.update()
            if number % 20 == 0:
                with progress.aside():  # compiling, which does not come again
                    clock[0], end = clock[0] + 7, end + 7
                evaluations -= 1
                with progress.aside(again=evaluations):
                    clock[0] += 40
            left.append((progress.left(), round(end - clock[0])))
    assert left[9][0] == "2 min left"  # 90 steps and 5 evaluations of 8 s
    assert left[19] == ("4 min left", 240) and left[75] == ("104 s left", 104)
    assert left[-1] == ("", 0)
    capsys.readouterr()


def test_progress_of_unknown_length_and_other_units(clock, capsys):
    with Progress(total=None, unit="images") as progress:
        clock[0] += 4
        progress.update(100)
    assert capsys.readouterr().err == "100 images, 25 images/s\n"


def show_on_terminal(columns: int) -> str:
    """What a progress with a line of its own shows on a terminal of that width."""
    script = (
        "from pixelvae.machine.console.progress import Progress\n"
        "with Progress(total=100, initial=40) as progress:\n"
        "    progress.update(30, bound=98.5)\n"
        "    progress.write('a line of its own')\n"
    )
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    process = subprocess.Popen([sys.executable, "-c", script], stderr=follower)
    os.close(follower)
    shown = b""
    try:
        while True:
            shown += os.read(leader, 4096)
    except OSError:  # the other end is closed
        os.close(leader)
    assert process.wait() == 0
    return shown.decode()


def test_progress_is_a_bar_on_a_terminal():
    text = show_on_terminal(columns=80)
    assert "40/100" in text and "70/100" in text and "bound 98.5" in text and "it/s" in text
    assert "\ra line of its own\r\n" in text


def test_a_terminal_of_unknown_width_gets_lines():
    """Some containers' terminals say that they have no columns."""
    text = show_on_terminal(columns=0)
    assert text.startswith("a line of its own\r\n70/100 it, ") and "bound 98.5" in text


@pytest.mark.parametrize(
    ("number", "status"),
    [
        (signal.SIGINT, 130),
        (signal.SIGTERM, 143),
        (signal.SIGHUP, 129),
        (signal.SIGUSR1, 138),
        (signal.SIGXCPU, 152),
    ],
)
def test_a_signal_asks_to_stop(number, status, capfd):
    ignored = signal.getsignal(number) is signal.SIG_IGN  # as of a suite behind nohup
    before = signal.signal(number, signal.SIG_DFL) if ignored else None
    try:
        check_stop(number, status, capfd)
    finally:
        if ignored:
            signal.signal(number, before)


def check_stop(number, status, capfd):
    before = signal.getsignal(number)
    with GracefulStop() as stop:
        assert exit_status(stop.signal) == 0
        os.kill(os.getpid(), number)
        assert exit_status(stop.signal) == status
        os.kill(os.getpid(), signal.SIGTERM)  # a repeated request changes nothing
        assert exit_status(stop.signal) == status
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(number) is before
    assert capfd.readouterr().err.count("stopping after this step") == 1


def test_an_ignored_signal_stays_ignored():
    """``nohup`` lets a training go on when its terminal is closed."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with GracefulStop() as stop:
            os.kill(os.getpid(), signal.SIGHUP)
            assert not stop.signal
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_outside_the_main_thread_signals_are_left_alone():
    before = signal.getsignal(signal.SIGINT)
    handlers = []

    def work():
        with GracefulStop():
            handlers.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert handlers == [before]


def test_a_forked_process_that_is_killed_while_it_prints_does_not_silence_the_others():
    program = """
import os, signal, sys
from tqdm import tqdm
from pixelvae.machine.console.progress import say
say("before")
pid = os.fork()
if not pid:
    with tqdm.get_lock():
        os.kill(os.getpid(), signal.SIGKILL)
os.waitpid(pid, 0)
say("after")
"""
    done = subprocess.run(
        [sys.executable, "-c", program], timeout=60, capture_output=True, text=True, check=True
    )
    assert done.stderr == "before\nafter\n"


@pytest.mark.parametrize("closed", [(1,), (2,), (1, 2), (0, 1, 2)])
@pytest.mark.parametrize("fails", [False, True])
def test_numbers_go_where_they_can_if_streams_are_closed(tmp_path, closed, fails):
    body = (
        "file = open('written', 'w'); os.write(2, b'')\n"
        "assert file.fileno() > 2\n"
        "from pixelvae.machine.console.progress import Progress, say\n"
        "say('a message')\n"
        "with Progress(1) as progress: progress.update()\n"
        "print(7.25)\n" + ("raise UserError('a reason')" if fails else "")
    )
    streams = [(tmp_path / name).open("w") for name in ("out", "err")]
    result = subprocess.run(
        [sys.executable, "-c", script_of(body)],
        cwd=tmp_path, stdout=streams[0], stderr=streams[1], env=unmeasured(),
        preexec_fn=lambda: [os.close(number) for number in closed],
    )  # fmt: skip
    assert result.returncode == (2 if fails else 0)
    out, err = ((tmp_path / name).read_text() for name in ("out", "err"))
    assert ("7.25" in out) == (1 not in closed)
    assert ("a message" in err and (not fails or "error: a reason" in err)) == (2 not in closed)
    assert ("7.25" in err) == (1 in closed and 2 not in closed)
    assert (tmp_path / "written").read_text() == ""


def test_a_terminal_that_is_gone_stops_nothing():
    read, write = os.pipe()
    os.close(read)
    body = (
        "os.dup2(int(arguments[0]), 2)\n"
        "from pixelvae.machine.console.progress import say\n"
        "say('a message')\nprint(7.25)\nraise UserError('a reason')"
    )
    result = run_script(body, str(write), pass_fds=[write])
    os.close(write)
    assert (result.returncode, result.stdout) == (2, "7.25\n")


def test_without_docstrings_it_is_one_line_and_warnings_that_are_errors_do_no_harm():
    for option, status in (("-OO", 2), ("-O", 0), ("-Werror", 0)):
        result = subprocess.run(
            [
                sys.executable,
                option,
                "-c",
                "import pixelvae.lib.layers.conv, fuel.converters, lasagne, h5py",
            ],
            capture_output=True,
            text=True,
        )
        assert result.returncode == status, (option, result.stderr)
        assert result.stderr.count("\n") == status // 2 and "Traceback" not in result.stderr
