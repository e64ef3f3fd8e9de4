"""The project on a GPU, in one call of under ten minutes: ``python -m benchmarks.first_contact``.

Prints, and after each part writes to ``--out`` as report.md and report.json: the environment;
whether all operations, and loss and gradients of all models, agree with the CPU; the speed of
training steps beside PyTorch, where one of the machine's Pythons has it; a step's time by
operation; and how far a training of the paper's size gets in the time that is left. A part that
fails leaves the others alone.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import agreement
from benchmarks.harness import ROOT, Worker, alternate, ours, pytorch
from benchmarks.rows import batch_files, preset_files
from pixelvae.machine.backend.flags import joined
from pixelvae.machine.console.command import ArgumentParser, main, path, positive_float
from pixelvae.machine.console.progress import say
from pixelvae.machine.errors import UserError
from pixelvae.machine.files.atomic import atomic_write, write_json
from pixelvae.models.hierarchical.presets import SETTINGS
from pixelvae.models.mnist.model import Settings

ALGORITHMS = ("fwd", "bwd_data", "bwd_filter")
PARTS = ("environment", "agreement", "speed", "profile", "training")


class FirstContact:
    """The parts, and what they found; see the module."""

    def __init__(self, device: str, minutes: float, out: Path, tiny: bool):
        self._device, self._out, self._tiny = device, out, tiny
        self._end = time.monotonic() + 60 * minutes
        self.report: dict[str, Any] = {}
        self._lines: list[str] = []

    def run(self, parts: Sequence[str] = PARTS) -> bool:
        """Those parts; whether each came to its end and all agrees."""
        signal.signal(signal.SIGALRM, _too_long)
        for name in parts:
            self._say(f"\n## {name.capitalize()}\n")
            start = time.monotonic()
            signal.alarm(int(self._left()) + 1)
            try:
                self.report[name] = getattr(self, name)()
            except Exception as trouble:
                known = isinstance(trouble, (UserError, subprocess.TimeoutExpired))
                self.report[name] = {"failed": str(trouble) if known else traceback.format_exc()}
                self._say(f"**failed:** {trouble}")
            finally:
                signal.alarm(0)
            self._say(f"\n{time.monotonic() - start:.0f} s")
            self._write()
        agreement = self.report.get("agreement", {}).get("cases", [])
        return all(row["agrees"] for row in agreement) and "failed" not in {
            key
            for part in self.report.values()
            for found in (part, *part.get("steps", []))
            for key in found
        }

    def _say(self, line: str) -> None:
        print(line, flush=True)
        self._lines.append(line)

    def _write(self) -> None:
        write_json(self._out / "report.json", self.report)
        with atomic_write(self._out / "report.md") as file:
            file.write(("# First contact\n" + "\n".join(self._lines) + "\n").encode())

    def _left(self, share: float = 1.0) -> float:
        """Seconds: that share of what is left."""
        return max(1.0, share * (self._end - time.monotonic()))

    def _variables(self, tf32: bool = False, **more: str) -> dict[str, str]:
        return {"PIXELVAE_DEVICE": self._device, "PIXELVAE_TF32": str(int(tf32)), **more}

    def environment(self) -> dict[str, str]:
        """The card, and the output of ``python -m pixelvae.machine``."""
        said = {}
        for command in (
            [
                "nvidia-smi",
                "--query-gpu=name,driver_version,memory.total,clocks.max.sm",
                "--format=csv,noheader",
            ],
            [sys.executable, "-m", "pixelvae.machine"],
        ):
            name = " ".join(Path(word).name for word in command[:3])
            try:
                done = subprocess.run(
                    command,
                    cwd=ROOT,
                    env={**os.environ, **self._variables()},
                    capture_output=True,
                    text=True,
                    timeout=self._left(0.2),
                )
                said[name] = done.stdout + done.stderr
            except (OSError, subprocess.TimeoutExpired) as problem:
                said[name] = str(problem)
            self._say(f"```\n{said[name].strip()}\n```")
        return said

    def agreement(self) -> dict[str, Any]:
        """Both devices at the same time; cases that are not done in time count as not agreeing."""
        cases = _TINY_CASES if self._tiny else (*agreement.operations(), *agreement.MODELS)
        folders = {name: self._out / "agreement" / name for name in ("device", "cpu")}
        # A CPU is compared with itself without the C++, which is what a GPU's graphs are made from.
        variables = {
            "device": {
                **self._variables(),
                **({"PIXELVAE_NATIVE": "0"} if self._device == "cpu" else {}),
            },
            "cpu": {"PIXELVAE_DEVICE": "cpu"},
        }
        limit, running = time.monotonic() + self._left(0.45), {}
        for name, folder in folders.items():
            folder.mkdir(parents=True, exist_ok=True)
            for old in folder.glob("*.npz"):
                old.unlink()
            with (folder / "log").open("w") as log:
                running[name] = subprocess.Popen(
                    [sys.executable, "-m", "benchmarks.agreement", str(folder), *cases],
                    cwd=ROOT,
                    env={**os.environ, **variables[name]},
                    stdout=log,
                    stderr=log,
                )
        try:
            for process in running.values():
                with suppress(subprocess.TimeoutExpired):
                    process.wait(max(0.0, limit - time.monotonic()))
        finally:
            for process in running.values():
                process.kill()
                process.wait()
        on_gpu = self._device != "cpu"
        rows = agreement.compare(folders["device"], folders["cpu"], cases, on_gpu)
        self._say(f"Wanted: {agreement.TOLERANCE:g}, the difference's norm over the CPU's.\n")
        self._say("| case | nodes on the GPU | differs by | agrees | most in |")
        self._say("| --- | ---: | ---: | --- | --- |")
        for row in rows:
            error = "not done" if row["error"] is None else f"{row['error']:.1e}"
            verdict = "yes" if row["agrees"] else "**no**"
            self._say(f"| {row['case']} | {row['nodes']} | {error} | {verdict} | {row['worst']} |")
        logs = {name: (folder / "log").read_text()[-2000:] for name, folder in folders.items()}
        if any(row["error"] is None for row in rows):
            self._say(f"\n```\n{logs['device'].strip()}\n```")
        return {"cases": rows, "logs": logs}

    def speed(self) -> dict[str, Any]:
        """Seconds of a training step, by turns: TF32 off, on, and cuDNN's algorithms timed."""
        commands = [ours()]
        try:
            commands.append(pytorch(cuda=self._device != "cpu"))
            self._say(f"PyTorch: {commands[-1][0]}\n")
        except UserError as reason:
            self._say(f"Without PyTorch: {reason}\n")
        size, preset, batch = Settings("gated-pixelvae-noup", 12, 32, 64), "64px_small", 64
        if self._tiny:
            size, preset, batch = Settings("gated-pixelvae-noup", 1, 4, 4, 3), "tiny", 2
        timed = ",".join(f"dnn.conv.algo_{which}=time_once" for which in ALGORITHMS)
        timed = ",".join(filter(None, [os.environ.get("THEANO_FLAGS"), timed]))
        ways: list[tuple[str, dict]] = [("", self._variables())]
        if self._device != "cpu":
            ways += [
                ("TF32", self._variables(tf32=True)),
                ("timed", self._variables(THEANO_FLAGS=timed)),
            ]
        rows = []
        self._say("| training step | here, s | PyTorch, s | ratio |\n| --- | ---: | ---: | ---: |")
        limit = time.monotonic() + self._left(0.55)
        with batch_files(size) as mnist, preset_files(SETTINGS[preset], preset, batch) as larger:
            jobs = {
                "gated-pixelvae-noup": {"job": "training_step", **mnist},
                preset: {"job": "training_step", **larger},
            }
            for how, variables in ways:
                for what, job in jobs.items():
                    if time.monotonic() > limit:
                        self._say(f"| {what} {how} | no time left | | |")
                        continue
                    name = f"{what} {how}".strip()
                    rows.append(self._side_by_side(name, commands, job, variables))
        return {"steps": rows}

    def _side_by_side(
        self, what: str, commands: Sequence[Sequence[str]], job: dict, variables: dict
    ) -> dict[str, Any]:
        turns, seconds = (1, 0.1) if self._tiny else (4, 1.0)
        row: dict[str, Any] = {"what": what, "ours": None, "theirs": None, "ratio": None}
        try:
            both, _ = alternate(commands, [job] * len(commands), turns, seconds, variables)
        except UserError as problem:
            self._say(f"| {what} | {problem} | | |")
            return {**row, "failed": str(problem)}
        row["ours"] = median(both[0])
        if len(both) > 1:
            row["theirs"] = median(both[1])
            row["ratio"] = row["theirs"] / row["ours"]
        numbers = ["" if row[k] is None else f"{row[k]:.4f}" for k in ("ours", "theirs", "ratio")]
        self._say(f"| {what} | {' | '.join(numbers)} |")
        return row

    def profile(self) -> dict[str, str]:
        """Theano's own profile of some steps of the first model, each operation waited for."""
        path = (self._out / "profile.txt").resolve()
        flags = [
            os.environ.get("THEANO_FLAGS"),
            "profile=True",
            joined({"profiling.destination": str(path)}),
        ]
        size = Settings("gated-pixelvae-noup", *((1, 4, 4, 3) if self._tiny else (12, 32, 64)))
        variables = self._variables(
            CUDA_LAUNCH_BLOCKING="1", THEANO_FLAGS=",".join(flag for flag in flags if flag)
        )
        with batch_files(size) as files, Worker(ours(), variables) as worker:
            worker.ask(job="training_step", **files)
            worker.repeat(2 if self._tiny else 30)
        text = path.read_text()
        start = text.find("Class\n---")
        self._say("```\n" + "\n".join(text[max(start, 0) :].splitlines()[:60]) + "\n```")
        return {"text": text}

    def training(self) -> dict[str, Any]:
        """The paper's model and recipe, until the time is over; it saves then, as on Ctrl-C."""
        folder = self._out / "training"
        command = [
            sys.executable, "experiments/mnist_pixelvae.py", "train", "--preset", "paper",
            "--out", str(folder.resolve()), "--no-resume", "--device", self._device,
            *(_TINY if self._tiny else ()),
        ]  # fmt: skip
        self._say("    " + " ".join(["python", *command[1:]]) + "\n")
        with (self._out / "training.log").open("w+") as log:
            process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)
            with suppress(subprocess.TimeoutExpired):
                process.wait(self._left() - 20)
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
            try:
                status = process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                status = process.wait()
        metrics = folder / "metrics.csv"
        rows = metrics.read_text().splitlines() if metrics.exists() else []
        shown = rows[:1] + rows[1:][-6:]
        if not rows:
            shown = (self._out / "training.log").read_text().splitlines()[-6:]
        self._say("```\n" + "\n".join(shown) + f"\n```\n\nexit status {status}")
        failed = {} if status in (0, 128 + signal.SIGINT) else {"failed": "see training.log"}
        return {"status": status, "metrics": rows, **failed}


def _too_long(number: int, frame: Any) -> None:
    raise UserError("the time is over")


_TINY_CASES = ("batch norm", "conditional gate", "weight norm")
_TINY: Sequence[str] = (
    "--layers", "1", "--dim-pix", "4", "--latent-dim", "4", "--filter-size", "3", "--iterations", "4",
    "--eval-every", "2", "--batch-size", "5", "--data", "digits",
)  # fmt: skip


def contact(arguments) -> int:
    """Exit status 0 where all parts came to their end and all agrees, else 1."""
    if arguments.device != "cpu":
        from pixelvae.machine.backend import cuda

        cuda.find()  # fails at once where something is missing
    out = arguments.out
    out.mkdir(parents=True, exist_ok=True)
    well = FirstContact(arguments.device, arguments.minutes, out, arguments.tiny).run(
        arguments.parts
    )
    say(f"written: {out / 'report.md'} and {out / 'report.json'}")
    return 0 if well else 1


def parse(words: list[str]):
    """The command line."""
    parser = ArgumentParser(
        prog="python -m benchmarks.first_contact", description=__doc__.splitlines()[0]
    )
    parser.add_argument(
        "--device", default="cuda", help="cuda (the default), cuda0, cuda1, … or cpu"
    )
    parser.add_argument(
        "--minutes", type=positive_float, default=9.5, help="for all parts together"
    )
    parser.add_argument(
        "--tiny", action="store_true", help="small models, to see that the command works"
    )
    parser.add_argument(
        "--parts",
        nargs="+",
        choices=PARTS,
        default=PARTS,
        metavar="PART",
        help=f"only these: {', '.join(PARTS)}",
    )
    parser.add_argument(
        "--out",
        type=path,
        default="runs/first-contact",
        metavar="FOLDER",
        help="where the report goes",
    )
    return parser.parse_args(words)


if __name__ == "__main__":
    sys.exit(main(contact, parse(sys.argv[1:])))
