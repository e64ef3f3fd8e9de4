"""Lines, phases and progress bars on standard error, in any terminal's characters."""

from __future__ import annotations

import codecs
import contextlib
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextvars import ContextVar

from tqdm import tqdm

# tqdm's own lock is shared with forked processes: if one is killed while it prints, all others wait
# for ever.
tqdm.set_lock(threading.RLock())


def say(line: str) -> None:
    """Print a line on standard error, above a progress bar; nowhere if that is closed or gone."""
    if sys.stderr is None:
        return
    with contextlib.suppress(OSError, ValueError):
        tqdm.write(line, file=sys.stderr)
        sys.stderr.flush()  # which CPython 3.8 does not do by itself outside a terminal


# For terminals and pipes that lack them: some spelling of all characters that we print.
_SPELLINGS = {
    "±": "+/-", "≤": "<=", "≥": ">=", "≈": "~", "×": "x", "·": "*", "−": "-", "–": "-", "—": "-", "…": "...",
    "→": "->", "σ": "sigma", "μ": "mu", "β": "beta", "ε": "epsilon", "Δ": "Delta", "ψ": "psi", "²": "^2",
    "§": "section ", "α": "alpha", "Σ": "sum", "√": "sqrt ", "½": "1/2", "₀": "_0", "₁": "_1", "₂": "_2", "‖": "||",
    "‘": "'", "’": "'", "“": '"', "”": '"', "ü": "ue", "ö": "oe", "ä": "ae", "ß": "ss", "é": "e",
}  # fmt: skip


def _spell(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    letters = error.object[error.start : error.end]
    spelt = (_SPELLINGS.get(c) or ascii(c)[1:-1] for c in letters)
    return "".join(spelt), error.end


codecs.register_error("pixelvae.spell", _spell)


def occupy_standard_streams() -> None:
    """Open closed ones to nowhere: else the next file that is opened gets what is printed.

    Daemons, cron and windows start programs so.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # which takes the lowest number that is free


def print_anything() -> None:
    r"""Let standard output and error spell what their encoding lacks: a "±" costs no number.

    File names that are not text, in which Python keeps the odd bytes as surrogates, are printed as
    ``\udcff``. Where standard output is closed, standard error gets the numbers.
    """
    occupy_standard_streams()
    sys.stderr = sys.stderr or open(os.devnull, "w")
    sys.stdout = sys.stdout or sys.stderr
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # not where a notebook or a test has put its own
            stream.reconfigure(errors="pixelvae.spell")


_quiet: ContextVar[bool] = ContextVar("quiet", default=False)


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Hide each :class:`Progress` made in the body, which is a short part of longer work."""
    token = _quiet.set(True)
    try:
        yield
    finally:
        _quiet.reset(token)


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
    try:
        return sys.stderr.isatty() and os.get_terminal_size(sys.stderr.fileno()).columns > 0
    except (AttributeError, OSError, ValueError):  # closed or gone
        return False


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
    further
        How many iterations take as long as all other work that is still to come (:meth:`aside`).
    """

    def __init__(
        self, total: int | None, initial: int = 0, unit: str = "it", further: float = 0.0
    ) -> None:
        self.total = total
        self.count = initial
        self.unit = unit
        self._further = further
        self._initial = initial
        self._values = ""
        self._start = time.monotonic()
        self._interval = 2.0
        self._next = self._start + self._interval
        self._shown = initial
        counted = "{l_bar}{bar}| {n_fmt}/{total_fmt}" if total else f"{{n_fmt}} {unit}"
        self._bar = (
            tqdm(
                total=total,
                initial=initial,
                dynamic_ncols=True,
                file=sys.stderr,
                bar_format=counted + " [{elapsed}{postfix}]",
            )
            if _shows_bars() and not _quiet.get()
            else None
        )
        self._lines = self._bar is None and not _quiet.get()

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
            self._bar.set_postfix_str(self._standing(), refresh=False)
            self._bar.update(n)
        elif self._lines and time.monotonic() >= self._next:
            self._print_line()
            self._interval = min(1.5 * self._interval, 60.0)
            self._next = time.monotonic() + self._interval

    @contextlib.contextmanager
    def aside(self, again: int | None = None) -> Iterator[None]:
        """Around other work than iterations, which does not count as slowness of theirs.

        ``again`` is how often as much of it is still to come, if it comes again.
        """
        rate, start = self._rate(), time.monotonic()
        yield
        seconds = time.monotonic() - start
        self._start += seconds
        if again is not None:
            self._further = again * seconds * rate

    def left(self) -> str:
        """How long all that is to come will take, in words; empty if nobody knows."""
        rate = self._rate()
        if self.total is None or not rate:
            return ""
        left = (self.total - self.count + self._further) / rate
        return f"{_duration(left)} left" if left > 0 else ""

    def write(self, line: str) -> None:
        """Print a line of the caller's above the bar."""
        say(line)

    def close(self) -> None:
        """Show the last state."""
        if self._bar is not None:
            self._bar.close()
        elif self._lines and self.count != self._shown:
            self._print_line()

    def _rate(self) -> float:
        return (self.count - self._initial) / max(time.monotonic() - self._start, 1e-9)

    def _standing(self) -> str:
        parts = [f"{self._rate():.3g} {self.unit}/s", self._values, self.left()]
        return ", ".join(part for part in parts if part)

    def _print_line(self) -> None:
        total = "" if self.total is None else f"/{self.total}"
        say(f"{self.count}{total} {self.unit}, {self._standing()}")
        self._shown = self.count
