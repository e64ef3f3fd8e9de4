"""What all command lines share: errors in one line, progress, phases, a graceful stop."""

from __future__ import annotations

import argparse
import contextlib
import errno
import math
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any, NoReturn

from tqdm import tqdm

from lib.backend import device
from lib.errors import UserError

USAGE_STATUS = 2
#: By module, the packages that few commands import: plots and classifiers, which the bundle leaves out.
_OPTIONAL = {"matplotlib": "matplotlib", "sklearn": "scikit-learn"}
_LARGEST_INT = 2**31 - 1  # what NumPy's seeds and Theano's sizes take everywhere


def main(function: Callable[..., int | None], *arguments: Any) -> int:
    """Call a command's function and return the exit status for `sys.exit`.

    A `UserError`, a package that the bundle leaves out, a full disk or memory that runs out become
    one line on standard error and status 2, Ctrl-C 130, and a reader that went away (`| head`) 141,
    as the shell counts it. What is left, errors of the program's own, keeps its traceback.
    """
    try:
        status = function(*arguments) or 0
        sys.stdout.flush()  # here and not at exit, where its error could not be caught
    except UserError as problem:
        status = _fail(str(problem))
    except MemoryError:
        status = _fail("out of memory; try a smaller batch or model, or close other programs")
    except ModuleNotFoundError as problem:
        package = (problem.name or "").partition(".")[0]
        if package not in _OPTIONAL:
            raise
        status = _fail(
            f"this needs {_OPTIONAL[package]}, which is not installed: pip install -r requirements.txt"
        )
    except KeyboardInterrupt:
        _fail("interrupted")
        status = 128 + signal.SIGINT
    except BrokenPipeError:
        status = 128 + signal.SIGPIPE
    except OSError as problem:
        if problem.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        where = f" ({problem.filename})" if problem.filename else ""
        status = _fail(f"{problem.strerror}{where}; free some space")
    _discard_unwritable_output()
    return status


def _discard_unwritable_output() -> None:
    """Else the interpreter, which flushes once more when it ends, would change the exit status."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _fail(message: str) -> int:
    print(f"error: {_one_line(message)}", file=sys.stderr)
    return USAGE_STATUS


def _one_line(message: str) -> str:
    return " ".join(message.split())


class ArgumentParser(argparse.ArgumentParser):
    """`argparse.ArgumentParser` whose errors are one line; options are never abbreviated."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        options.setdefault("allow_abbrev", False)
        super().__init__(*arguments, **options)

    def error(self, message: str) -> NoReturn:
        """Print the error and where to find help, and exit with status 2."""
        self.exit(_fail(f"{message} ({self.prog} --help lists what there is)"))


def add_device_options(parser: argparse.ArgumentParser) -> None:
    """Adds ``--device`` and ``--tf32``, which :func:`run` heeds."""
    parser.add_argument(
        "--device", choices=device.CHOICES,
        help="auto (the default, or what PIXELVAE_DEVICE says) takes a GPU where one works",
    )  # fmt: skip
    parser.add_argument(
        "--tf32", action="store_true",
        help="let a GPU's convolutions round their inputs to ten bits (from Ampere on)",
    )  # fmt: skip


def run(options: argparse.Namespace) -> int | None:
    """Calls ``options.function`` with the options, on the device that they name.

    Raises UserError where that cannot be used.
    """
    use_device(options)
    return options.function(options)


def use_device(options: argparse.Namespace) -> None:
    """Computes from now on where the options of :func:`add_device_options` say, and tells the user.

    Raises UserError where that cannot be used.
    """
    line = device.use(options.device, options.tf32)
    if line:
        say(line)


def positive_int(text: str) -> int:
    """Argument type: a whole number of at least 1."""
    return _parse_int(text, least=1)


def non_negative_int(text: str) -> int:
    """Argument type: a whole number of at least 0."""
    return _parse_int(text, least=0)


def positive_float(text: str) -> float:
    """Argument type: a finite number above 0."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"must be a number above 0, not {text!r}")
    return value


def fraction(text: str) -> float:
    """Argument type: a number above 0 and below 1."""
    value = positive_float(text)
    if value >= 1:
        raise argparse.ArgumentTypeError(f"must be below 1, not {text!r}")
    return value


def picture_int(text: str) -> int:
    """Argument type: how many images go into one picture, 1 to 10,000."""
    return _parse_int(text, least=1, most=10_000)


def _parse_int(text: str, least: int, most: int = _LARGEST_INT) -> int:
    try:
        value = int(text)
    except ValueError:
        value = least - 1
    if not least <= value <= most:
        raise argparse.ArgumentTypeError(
            f"must be a whole number from {least} to {most}, not {text[:20]!r}"
        )
    return value


def say(line: str) -> None:
    """Print a line on standard error, above a progress bar where there is one."""
    tqdm.write(line, file=sys.stderr)
    sys.stderr.flush()  # which CPython 3.8 does not do by itself outside a terminal


@contextlib.contextmanager
def phase(name: str, estimate_s: float | None = None) -> Iterator[None]:
    """Announce on standard error what takes long, and say afterwards how long it took."""
    about = "" if estimate_s is None else f", about {_duration(estimate_s)}"
    say(f"{name}{about} ...")
    start = time.monotonic()
    yield
    say(f"... done in {_duration(time.monotonic() - start)}")


def _duration(seconds: float) -> str:
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"


def _shows_bars() -> bool:
    """Whether standard error is a terminal that knows its width; without one tqdm shows nothing."""
    return sys.stderr.isatty() and os.get_terminal_size(sys.stderr.fileno()).columns > 0


class Progress:
    """Iterations a second, current values and time left, on standard error; a context manager.

    A tqdm bar on a terminal. Elsewhere plain lines: the first after two seconds, the others at
    growing intervals up to a minute, so that a log of a long run stays short.

    Parameters
    ----------
    total
        Number of the last iteration, or None when there is none.
    initial
        Iterations done before, by the run that is being resumed.
    unit
        Name of one iteration.
    """

    def __init__(self, total: int | None, initial: int = 0, unit: str = "it") -> None:
        self.total = total
        self.count = initial
        self.unit = unit
        self._initial = initial
        self._values = ""
        self._start = time.monotonic()
        self._interval = 2.0
        self._next = self._start + self._interval
        self._shown = initial
        self._bar = (
            tqdm(total=total, initial=initial, unit=f" {unit}", dynamic_ncols=True, file=sys.stderr)
            if _shows_bars()
            else None
        )

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def update(self, n: int = 1, **values: float) -> None:
        """Count `n` more iterations; `values`, such as the bound, are shown until the next ones."""
        self.count += n
        if values:
            self._values = ", ".join(f"{name} {value:.4g}" for name, value in values.items())
        if self._bar is not None:
            self._bar.set_postfix_str(self._values, refresh=False)
            self._bar.update(n)
        elif time.monotonic() >= self._next:
            self._print_line()
            self._interval = min(1.5 * self._interval, 60.0)
            self._next = time.monotonic() + self._interval

    def write(self, line: str) -> None:
        """Print a line of the caller's above the bar."""
        say(line)

    def close(self) -> None:
        """Show the last state."""
        if self._bar is not None:
            self._bar.close()
        elif self.count != self._shown:
            self._print_line()

    def _print_line(self) -> None:
        rate = (self.count - self._initial) / max(time.monotonic() - self._start, 1e-9)
        total = "" if self.total is None else f"/{self.total}"
        parts = [f"{self.count}{total} {self.unit}", f"{rate:.3g} {self.unit}/s"]
        if self._values:
            parts.append(self._values)
        if self.total is not None and rate > 0 and self.count < self.total:
            parts.append(f"{_duration((self.total - self.count) / rate)} left")
        say(", ".join(parts))
        self._shown = self.count


class GracefulStop:
    """Context manager in which Ctrl-C and SIGTERM only ask the loop to stop.

    The loop looks at :attr:`requested` after each step, saves, and exits with :attr:`exit_status`.
    A second Ctrl-C interrupts at once. Outside the main thread, where Python allows no handlers,
    nothing is changed.
    """

    def __init__(self) -> None:
        self.signal: int | None = None
        self._previous: dict[int, Any] = {}

    @property
    def requested(self) -> bool:
        """Whether a signal has come."""
        return self.signal is not None

    @property
    def exit_status(self) -> int:
        """130 after Ctrl-C, 143 after SIGTERM, 0 when no signal has come."""
        return 0 if self.signal is None else 128 + self.signal

    def __enter__(self) -> GracefulStop:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.requested and number == signal.SIGINT:
            raise KeyboardInterrupt
        if not self.requested:
            self.signal = number
            # Not print, which must not be entered again if the signal came in the middle of one.
            with contextlib.suppress(OSError):
                os.write(2, b"\nstopping after this step; Ctrl-C stops at once\n")
