"""Comparisons at equal cost: trainings on the same data, each for the same processor time."""

from __future__ import annotations

import argparse
import re
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from pixelvae.experiments.command_line import parse
from pixelvae.experiments.commands.train import fitted
from pixelvae.experiments.experiment import Experiment
from pixelvae.machine.console.command import ArgumentParser, path, positive_int
from pixelvae.machine.console.progress import say
from pixelvae.machine.parallel.world import on_rank_0
from studies.comparisons.finished import finished_run
from studies.comparisons.jobs import add_seeds_option, add_training_options, run_all
from studies.publishing.pages import write_pages
from studies.publishing.records import ROOT, read_json, write_record
from studies.publishing.shipping import add_into_option

WARM, TIMED = 3, 20  # steps before the clock starts, and steps on it


def add_options(parser: ArgumentParser, experiment: Experiment, preset: str, data: str) -> None:
    """Add what :func:`compare` reads; the last two arguments are the defaults."""
    parser.add_argument("--out", required=True, type=path, metavar="FOLDER",
                        help="a folder with one run a training and seed")  # fmt: skip
    parser.add_argument("--minutes", required=True, type=positive_int, metavar="M",
                        help="processor time of each training")  # fmt: skip
    add_seeds_option(parser)
    add_training_options(parser, experiment.presets, preset, data)
    add_into_option(parser)


def add_tries(parser: ArgumentParser) -> None:
    """Add what :func:`race` tries."""
    parser.add_argument(
        "--try",
        dest="tries",
        action="append",
        required=True,
        metavar="OPTIONS",
        help='one more training: --try="--learning-rate 1e-3"; the one without it comes first',
    )
    parser.add_argument("--name", help="of the record (default: that of what is raced)")


def race(
    arguments: argparse.Namespace,
    experiment: Experiment,
    records: Path,
    raced: str,
    first: Sequence[str],
    words: Sequence[str] = (),
) -> int:
    """Trains a preset as it is and with each of the options to try.

    The record goes into the folder ``records``, under the name of what is ``raced`` unless it is
    given another. The rest is as in :func:`compare`.
    """
    tries = {"as it is": (), **{tried: shlex.split(tried) for tried in arguments.tries}}
    told = [f"--try={tried}" for tried in arguments.tries]
    named = ["--name", arguments.name] if arguments.name else []
    record = records / f"{arguments.name or raced}.json"
    return compare(arguments, experiment, tries, record, [*first, *named, *told], words)


def compare(
    arguments: argparse.Namespace,
    experiment: Experiment,
    options: Mapping[str, Sequence[str]],
    record: Path,
    first: Sequence[str],
    words: Sequence[str] = (),
) -> int:
    """Trains all, each resumed where it stopped, then writes their record and pages to ``--into``.

    Parameters
    ----------
    options
        What each training has beside what all have, by name.
    first
        What the command line began with: the script, and what is not among :func:`add_options`.
    words
        Options of every training, beside preset, data and those after ``--``.

    Returns
    -------
    the exit status

    Raises
    ------
    UserError
        The record cannot be written.
    """
    a = arguments
    given = ["--preset", a.preset, "--data", a.data]
    comparison = EqualCost(
        experiment, options, [*words, *given, *a.options], a.out, a.minutes, a.seeds
    )
    if status := comparison.train():
        return status
    line = [*first, "--out", f"runs/{a.out.name}", "--minutes", a.minutes, "--seeds", *a.seeds]
    line += [*given, *(["--", *a.options] if a.options else [])]
    command = f"python studies/{shlex.join(map(str, line))}"
    content = {"command": command, "preset": a.preset, **comparison.record()}
    on_rank_0(write_record)(a.into / record, content)
    write_pages(a.into)
    return 0


def processor_seconds_a_step(
    experiment: Experiment, trainings: Mapping[str, Sequence[str]]
) -> dict[str, float]:
    """Each one's processor time of a training step, all threads, in seconds: a median of a few.

    ``trainings`` are words as typed, by name. They take turns, so that what else the machine does
    meets all of them.
    """
    steps = {name: _timed(experiment, words) for name, words in trainings.items()}
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(WARM + TIMED):
        for name, take in steps.items():
            seconds[name].append(take())
    return {name: median(of_one[WARM:]) for name, of_one in seconds.items()}


def _timed(experiment: Experiment, words: Sequence[str]) -> Callable[[], float]:
    """Takes the next step of a training, and gives the processor time that it took."""
    from pixelvae.lib.training.batches import timed_step

    options = parse(experiment, words)
    preset = options.chosen
    dataset = experiment.open_data(options, "", preset.settings.image_shape)
    recipe = preset.training.recipe(options.seed)
    model = experiment.family.build(fitted(experiment, preset, dataset), seed=options.seed)
    stream = dataset.training_stream(recipe.batch_size, recipe.seed)
    return timed_step(model, recipe, stream, time.process_time)


def _first_iteration(experiment: Experiment, words: Sequence[str]) -> int:
    """Where a training begins: at 0, or at the iteration of the weights that it is ``--from``."""
    from pixelvae.models.weights import read

    start = parse(experiment, words).start
    return read(start)[1].get("iteration", 0) if start else 0


@dataclass(frozen=True)
class EqualCost:
    """Trainings that differ in some options, each for so many minutes of processor time.

    Parameters
    ----------
    options
        What each training has beside the words of all, by name.
    words
        Of every training: its preset, its data, and more options.
    out
        A folder with one run a model and seed, and ``costs.json``.
    minutes
        Of the training steps alone: compiling and evaluating come on top.
    """

    experiment: Experiment
    options: Mapping[str, Sequence[str]]
    words: Sequence[str]
    out: Path
    minutes: int
    seeds: Sequence[int]

    def train(self) -> int:
        """Trains one after another, each resumed where it stopped; gives the exit status.

        Costs are measured before the first training and kept, so that a resumed training has the
        same end.
        """
        costs = on_rank_0(self._costs)()
        for name, seconds in costs["seconds_a_step"].items():
            say(f"{name}: {seconds:.3f} s of processor time a step")
        script = str(ROOT / "experiments" / self.experiment.prog)
        commands = []
        for name, seed, folder in self._runs():
            words = ["train", *self.words, *self.options[name]]
            steps = max(1, round(60 * self.minutes / costs["seconds_a_step"][name]))
            last = _first_iteration(self.experiment, words) + steps
            end = ["--seed", str(seed), "--iterations", str(last), "--out", str(folder)]
            commands.append([sys.executable, script, *words, *end])
        return run_all(commands, jobs=1)

    def record(self) -> dict[str, Any]:
        """What the trainings were and reached. Raises UserError if one is not finished."""
        costs = self._costs()
        runs = []
        for name, _seed, folder in self._runs():
            seconds = round(costs["seconds_a_step"][name], 4)
            run = finished_run(folder, self.experiment)
            runs.append({"name": name, "processor_seconds_a_step": seconds, **run})
        return {
            "minutes": self.minutes,
            "timed_steps": TIMED,
            "backend": costs["backend"],
            "runs": runs,
        }

    def _runs(self) -> Iterator[tuple[str, int, Path]]:
        for seed in self.seeds:
            for name in self.options:
                yield name, seed, self.out / f"{re.sub('[^a-z0-9.]+', '-', name).strip('-')}-{seed}"

    def _costs(self) -> dict[str, Any]:
        """Processor time of a step of each model in seconds, from ``costs.json`` if it is there."""
        from pixelvae.machine.backend.device import summary

        file = self.out / "costs.json"
        costs = read_json(file)
        if costs is None:
            words = {name: ["train", *self.words, *more] for name, more in self.options.items()}
            seconds = processor_seconds_a_step(self.experiment, words)
            costs = {"backend": summary(), "seconds_a_step": seconds}
            write_record(file, costs)
        return costs
