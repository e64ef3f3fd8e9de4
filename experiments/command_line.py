"""The command line of an experiment, with the subcommands in :mod:`.commands`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import partial
from importlib import import_module

from pixelvae.experiments.experiment import Experiment
from pixelvae.machine.console import command
from pixelvae.machine.console.command import ArgumentParser
from pixelvae.machine.console.progress import say
from pixelvae.machine.errors import UserError

COMMANDS = ("train", "evaluate", "sample", "reconstruct", "vary", "export", "report", "replay")


def main(experiment: Experiment, argv: Sequence[str]) -> int:
    """The exit status of a command line, given without the program's name."""
    return command.main(command.run, parse(experiment, argv))


def parse(experiment: Experiment, argv: Sequence[str]) -> argparse.Namespace:
    """The options of a command line; those of ``train`` if it names no subcommand.

    ``options.function(options)`` carries it out. A subcommand may ``complete`` its options, or
    raise UserError because they do not go together, before anything is opened. Only the one that is
    named is imported, or all of them to list them.
    """
    named = argv and (argv[0] in ("-h", "--help") or not argv[0].startswith("-"))
    argv = argv if named else ["train", *argv]
    about, _, examples = experiment.doc.partition("\n")
    parser = ArgumentParser(
        prog=experiment.prog,
        description=about,
        epilog=f"COMMAND --help lists its options; no COMMAND is train.\n{examples}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    if not named:
        say(f"no subcommand is train; {experiment.prog} --help lists all")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name in argv[:1] if argv[0] in COMMANDS else COMMANDS:
        module = import_module(f"pixelvae.experiments.commands.{name}")
        p = commands.add_parser(name, help=(module.__doc__ or "").splitlines()[0])
        module.add(p, experiment)
        command.add_device_options(p)
        p.set_defaults(function=partial(module.run, experiment))
    options = parser.parse_args(argv)
    if complete := getattr(module, "complete", None):
        try:
            complete(experiment, options)
        except UserError as problem:
            p.refuse(problem, options)
    return options
