"""Worker processes, and taking turns between two of them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import lru_cache
from pathlib import Path
from shutil import which

from pixelvae.machine.backend.flags import joined
from pixelvae.machine.errors import UserError

ROOT = Path(__file__).resolve().parents[1]
# A Python of the machine's own must not look for its packages where this one does.
FOREIGN = {"PYTHONHOME": "", "PYTHONPATH": ""}
#: As on a machine without AVX-512: for OpenBLAS and for all that PyTorch computes with.
AVX2 = {
    "OPENBLAS_CORETYPE": "Haswell",
    "ATEN_CPU_CAPABILITY": "avx2",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "MKL_ENABLE_INSTRUCTIONS": "AVX2",
}
PAUSE = 0.2  # seconds between turns, in which the threads of the last one fall asleep


def torch_python(cuda: bool = False) -> str:
    """PyTorch's interpreter: ``PIXELVAE_BENCH_PYTHON``, ``.venv-bench``'s or the machine's own.

    One whose PyTorch is missing, or cannot use a GPU where ``cuda`` asks for that, is passed over.

    Raises UserError where none is left.
    """
    given = os.environ.get("PIXELVAE_BENCH_PYTHON")
    own = filter(None, map(which, ("python3", "python", "/usr/bin/python3")))
    places = [given] if given else [str(ROOT / ".venv-bench/bin/python"), *own]
    for python in places:
        if _has_torch(python, cuda):
            return python
    raise UserError(
        f"no PyTorch{' that can use a GPU' if cuda else ''} in {', '.join(dict.fromkeys(places))}: "
        "make bench builds .venv-bench, and PIXELVAE_BENCH_PYTHON names another"
    )


@lru_cache(maxsize=None)
def _has_torch(python: str, cuda: bool) -> bool:
    code = f"import numpy, sys, torch; sys.exit({cuda} and not torch.cuda.is_available())"
    environment = {**os.environ, **FOREIGN}
    try:
        return not subprocess.run(
            [python, "-c", code], capture_output=True, env=environment
        ).returncode
    except OSError:  # it is not there
        return False


def ours() -> list[str]:
    """The command of a worker of this project."""
    return [sys.executable, "-m", "benchmarks.worker"]


def pytorch(cuda: bool = False) -> list[str]:
    """The command of a worker that runs PyTorch; see :func:`torch_python`."""
    return [torch_python(cuda), "-m", "benchmarks.torch_worker"]


def use_avx2() -> None:
    """Workers that start from now on compute without AVX-512."""
    # torch.compile takes its kernels from there whatever they were compiled for, and crashes.
    inductor = str(Path(tempfile.gettempdir(), f"torchinductor-avx2-{os.getuid()}"))
    os.environ.update(AVX2, TORCHINDUCTOR_CACHE_DIR=inductor)
    os.environ["THEANO_FLAGS"] += f",{joined({'gcc.cxxflags': '-march=x86-64-v3'})}"


class Worker:
    """A process that speaks as in :mod:`benchmarks.protocol`; a context manager that ends it."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str] | None = None):
        self.started = time.perf_counter()
        self._log = tempfile.TemporaryFile()
        foreign = {} if command[0] == sys.executable else FOREIGN
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log,
            cwd=ROOT, env={**os.environ, **foreign, **(environment or {})}, text=True, bufsize=1,
        )  # fmt: skip
        assert self._process.stdin and self._process.stdout  # pipes, as was asked for
        self._questions, self._answers = self._process.stdin, self._process.stdout

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *exception: object) -> None:
        if any(exception):
            self._process.kill()
        self._questions.close()
        self._process.wait()
        self._answers.close()
        self._log.close()

    def ask(self, **message) -> dict:
        """The answer; raises UserError with the process's last words where it ended instead."""
        try:
            self._questions.write(json.dumps(message) + "\n")
            answer = self._answers.readline()
        except BrokenPipeError:
            answer = ""
        if not answer:
            status = self._process.wait()
            self._log.seek(0)
            last = self._log.read().decode(errors="replace").strip().splitlines()[-1:]
            raise UserError(f"a benchmark's process ended, status {status}: {' '.join(last)}")
        return json.loads(answer)

    def repeat(self, times: int) -> list[float]:
        """Seconds of each repetition."""
        return self.ask(repeat=times)["seconds"]

    def cpu_seconds(self) -> float:
        """What all threads of the process have used so far."""
        return self.cpu_seconds_of_both()[0]

    def cpu_seconds_of_both(self) -> tuple[float, float]:
        """The same, and what those that it started had used when they ended, as compilers."""
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        own, children = (int(fields[n]) + int(fields[n + 1]) for n in (11, 13))
        tick = os.sysconf("SC_CLK_TCK")
        return own / tick, children / tick


def alternate(
    commands: Sequence[Sequence[str]],
    jobs: Sequence[Mapping],
    turns: int,
    turn_seconds: float,
    environment: Mapping[str, str] | None = None,
) -> tuple[list[list[float]], float]:
    """Lets workers do their jobs by turns: seconds of each one's repetitions, and idle CPU.

    A turn lasts about ``turn_seconds``, one repetition at least; two before the first do not count.
    Idle CPU is the share of a core that a worker used while it was not its turn: next to nothing,
    or the numbers are worthless; of one worker alone it means nothing.
    """
    with ExitStack() as stack:
        workers = [stack.enter_context(Worker(command, environment)) for command in commands]
        seconds: list[list[float]] = [[] for _ in workers]
        times = []
        for worker, job in zip(workers, jobs):
            worker.ask(**job)
            times.append(max(1, round(turn_seconds / min(worker.repeat(2)))))
        idle_cpu = elapsed = 0.0
        for _ in range(turns):
            for n, worker in enumerate(workers):
                time.sleep(PAUSE)
                other = workers[n - 1]
                before, start = other.cpu_seconds(), time.perf_counter()
                seconds[n] += worker.repeat(times[n])
                idle_cpu += other.cpu_seconds() - before
                elapsed += time.perf_counter() - start
    return seconds, idle_cpu / elapsed
