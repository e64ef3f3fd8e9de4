"""The command line of an experiment, whose words are in :mod:`pixelvae.experiments.commands`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import partial
from types import ModuleType

from pixelvae.experiments.commands import evaluate, reconstruct, replay, report, sample, train, vary
from pixelvae.experiments.experiment import Experiment
from pixelvae.machine.console import command
from pixelvae.machine.console.command import ArgumentParser
from pixelvae.machine.errors import UserError

_WORDS: dict[str, ModuleType] = {
    "train": train,
    "evaluate": evaluate,
    "sample": sample,
    "reconstruct": reconstruct,
    "vary": vary,
    "report": report,
    "replay": replay,
}


def main(experiment: Experiment, argv: Sequence[str]) -> int:
    """The exit status of a command line, given without the program's name."""
    return command.main(command.run, parse(experiment, argv))


def parse(experiment: Experiment, argv: Sequence[str]) -> argparse.Namespace:
    """The options of a command line; no word means ``train``.

    ``options.function(options)`` carries it out.
    """
    words = {w: m for w, m in _WORDS.items() if experiment.family.layered or w != "vary"}
    if not argv or argv[0] not in (*words, "-h", "--help"):
        argv = ["train", *argv]
    parser = ArgumentParser(prog=experiment.prog, description=experiment.doc.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    for word, module in words.items():
        p = commands.add_parser(word, help=(module.__doc__ or "").splitlines()[0])
        module.add(p, experiment)
        command.add_device_options(p)
        p.set_defaults(function=partial(module.run, experiment))
    options = parser.parse_args(argv)
    if options.command == "train":
        try:
            train.complete(experiment, options)
        except UserError as problem:
            parser.error(str(problem))
    return options
