"""Several trainings of mnist_pixelvae.py from one command line, and figures 4 and 5."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, List

from pixelvae.machine.console.command import path, positive_int
from pixelvae.machine.parallel.world import on_rank_0
from pixelvae.models.mnist.presets import MNIST
from studies.comparisons.jobs import add_seeds_option, add_training_options, run_all
from studies.publishing.curves import save_figure
from studies.publishing.records import ROOT

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def add_options(parser: argparse.ArgumentParser, out: str, one_run: str) -> None:
    """Add what all trainings share, and where they go.

    ``one_run`` is what each folder in ``out`` holds a run of.
    """
    add_training_options(parser, MNIST.presets, "paper", "binarized_mnist")
    parser.add_argument("--out", type=path, default=out, help=f"a folder with one run a {one_run}")
    parser.add_argument("--jobs", type=positive_int, default=1, help="trainings at the same time")


def training(arguments: argparse.Namespace, model: str, name: str, *words: Any) -> list[str]:
    """The command that trains a model in the folder ``name`` of ``--out``.

    The user's own options go last.
    """
    script = ROOT / "experiments" / "mnist_pixelvae.py"
    out = arguments.out / name
    line = [sys.executable, script, "train", "--model", model, "--preset", arguments.preset]
    return [*map(str, [*line, "--data", arguments.data, "--out", out, *words, *arguments.options])]


#: The record of a figure: what each of its trainings was and reached.
Runs = List[Dict[str, Any]]


def order(run: Mapping[str, Any]) -> tuple[Any, ...]:
    """In what the trainings of a figure differ, in the order in which they are recorded."""
    return run["model"], run["layers"], run["seed"]


@dataclass(frozen=True)
class PaperFigure:
    """A figure of the paper, drawn from the record of many trainings.

    Parameters
    ----------
    name
        Of its folder in ``results/``.
    runs
        The record of all finished runs in a folder; what else it writes goes into the second. The
        last are runs recorded before, which stay.
    draw
        Makes a Matplotlib figure of the record; what else it reads is in that folder.
    """

    name: str
    runs: Callable[[Path, Path, Runs], Runs]
    draw: Callable[[Runs, Path], Figure]

    @on_rank_0
    def record(self, arguments: argparse.Namespace) -> None:
        """Writes the record of the runs in the folder ``out`` into the folder ``into``, and plots.

        Raises UserError where there are none.
        """
        from pixelvae.machine.files.atomic import write_json

        arguments.into.mkdir(parents=True, exist_ok=True)
        before = self._recorded(arguments) if arguments.add else []
        runs = self.runs(arguments.out, arguments.into, before)
        both = {order(run): run for run in [*before, *runs]}
        write_json(self._file(arguments), sorted(both.values(), key=order))
        self.plot(arguments)

    @on_rank_0
    def plot(self, arguments: argparse.Namespace) -> None:
        """Draws the figure from the record in ``into``; raises UserError if there is none."""
        picture = self._file(arguments).with_suffix(".png")
        save_figure(picture, self.draw(self._recorded(arguments), arguments.into))
        print(picture)

    def _file(self, arguments: argparse.Namespace) -> Path:
        return arguments.into / f"{self.name}.json"

    def _recorded(self, arguments: argparse.Namespace) -> Runs:
        from pixelvae.machine.files.atomic import user_errors

        with user_errors(f"cannot read {self._file(arguments)}"):
            return json.loads(self._file(arguments).read_text())

    def add_commands(self, commands, out: str, one_run: str, train: Callable[..., int]):
        """Add the commands ``train``, ``record`` and ``plot``.

        Returns the parser of the first, for more options.

        ``one_run`` is what each folder in ``out`` holds a run of.
        """
        first = commands.add_parser(
            "train", help="train the models, resumed where they stopped; then record and plot"
        )
        add_seeds_option(first)
        add_options(first, out, one_run)
        first.add_argument(
            "--into", type=path, metavar="FOLDER", help="where to record (default: --out)"
        )
        first.set_defaults(function=train, add=False)

        p = commands.add_parser("record", help="record finished runs, and draw the figure")
        p.add_argument("out", type=path, metavar="RUNS", help="the folder that training wrote")
        p.add_argument("--add", action="store_true", help="keep the other runs of the record")
        self._add_into(p)
        p.set_defaults(function=self.record)

        p = commands.add_parser("plot", help="draw the figure from the record alone")
        self._add_into(p)
        p.set_defaults(function=self.plot)
        return first

    def _add_into(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--into", type=path, default=ROOT / "results" / self.name, metavar="FOLDER",
                            help=f"where the record is (default: results/{self.name})")  # fmt: skip

    def train(self, commands: Sequence[Sequence[str]], arguments: argparse.Namespace) -> int:
        """Runs trainings, then records them; gives the exit status."""
        status = run_all(commands, arguments.jobs)
        if not status:
            arguments.into = arguments.into or arguments.out
            self.record(arguments)
        return status
