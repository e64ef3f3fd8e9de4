"""Comparisons at equal cost from the command line: their options, and their records."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pixelvae.experiments.experiment import Experiment
from pixelvae.machine.console.command import ArgumentParser, path, path_or_name, positive_int
from pixelvae.machine.parallel.world import on_rank_0
from studies.comparisons.equal_cost import EqualCost
from studies.comparisons.jobs import add_seeds_option
from studies.publishing.pages import write_pages
from studies.publishing.shipping import add_into_option


def add_options(parser: ArgumentParser, experiment: Experiment, preset: str, data: str) -> None:
    """What every comparison is told; the last two are the defaults."""
    parser.add_argument("--out", required=True, type=path, metavar="FOLDER",
                        help="a folder with one run a training and seed")  # fmt: skip
    parser.add_argument("--minutes", required=True, type=positive_int, metavar="M",
                        help="processor time of each training")  # fmt: skip
    add_seeds_option(parser)
    parser.add_argument(
        "--preset",
        choices=list(experiment.presets),
        default=preset,
        help=f"the preset that all begin with (default: {preset})",
    )
    parser.add_argument("--data", type=path_or_name, default=data, help="a data set's name or path")
    parser.add_argument("options", nargs="*", help="after --: more options for each training")
    add_into_option(parser)


def add_tries(parser: ArgumentParser) -> None:
    """What a race tries."""
    parser.add_argument(
        "--try", dest="tries", action="append", required=True, metavar="OPTIONS",
        help='one more training: --try="--learning-rate 1e-3"; the one without it comes first',
    )  # fmt: skip


def race(
    arguments: argparse.Namespace,
    experiment: Experiment,
    record: Path,
    first: Sequence[Any],
    words: Sequence[str] = (),
) -> int:
    """Trains a preset as it is and with each of the options to try; the rest is as in :func:`compare`."""
    tries = {"as it is": (), **{tried: shlex.split(tried) for tried in arguments.tries}}
    told = [f"--try={tried}" for tried in arguments.tries]
    return compare(arguments, experiment, tries, record, [*first, *told], words)


def compare(
    arguments: argparse.Namespace,
    experiment: Experiment,
    options: Mapping[str, Sequence[str]],
    record: Path,
    first: Sequence[Any],
    words: Sequence[str] = (),
) -> int:
    """Trains all, each resumed where it stopped, then writes their record into ``--into``, and pages.

    Parameters
    ----------
    options
        What each training has beside what all have, by name.
    first
        The words that the command line began with: the script, and what is not among :func:`add_options`.
    words
        Of every training, beside preset, data and the options after ``--``.

    Gives the exit status. Raises UserError if the record cannot be written.
    """
    a = arguments
    given = [*words, "--preset", a.preset, "--data", a.data, *a.options]
    comparison = EqualCost(experiment, options, given, a.out, a.minutes, a.seeds)
    if status := comparison.train():
        return status
    line = [*first, "--out", f"runs/{a.out.name}", "--minutes", a.minutes, "--seeds", *a.seeds]
    line += ["--preset", a.preset, "--data", a.data]
    line += ["--", *a.options] if a.options else []
    _write(comparison, f"python studies/{shlex.join(map(str, line))}", a, record)
    return 0


@on_rank_0
def _write(
    comparison: EqualCost, command: str, arguments: argparse.Namespace, record: Path
) -> None:
    from pixelvae.machine.files.atomic import user_errors, write_json

    file = arguments.into / record
    with user_errors(f"cannot write {file}"):
        file.parent.mkdir(parents=True, exist_ok=True)
    write_json(file, {"command": command, "preset": arguments.preset, **comparison.record()})
    write_pages(arguments.into)
