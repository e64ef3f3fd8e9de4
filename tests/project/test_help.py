"""Every option of every command line has help."""

from __future__ import annotations

import argparse
import importlib
import re
from collections.abc import Iterator

import pytest

from pixelvae.experiments import command_line
from pixelvae.machine.console.command import ArgumentParser
from studies.map import PACKAGES, ROOT

EXPERIMENTS = ("imagenet64", "lsun_bedrooms", "mnist_256", "mnist_pixelvae", "pictures")
SCRIPTS = sorted(
    path
    for package in PACKAGES
    for path in (ROOT / package).rglob("*.py")
    if "ArgumentParser(prog" in re.sub(r"\s", "", path.read_text(encoding="utf-8"))
)
OTHERS = [
    str(path.relative_to(ROOT)).replace("/", ".")[: -len(".py")]
    for path in SCRIPTS
    if path.name != "command_line.py"  # of the experiments
]


class Built(Exception):
    """Ends a command line as soon as its parser is complete."""


def parser_of(name: str, monkeypatch: pytest.MonkeyPatch) -> ArgumentParser:
    """The parser of a script's command line."""

    def stop(parser, *_):
        raise Built(parser)

    monkeypatch.setattr(ArgumentParser, "parse_args", stop)
    with pytest.raises(Built) as built:
        if name in EXPERIMENTS:
            module = importlib.import_module(f"pixelvae.experiments.{name}")
            command_line.parse(module.EXPERIMENT, ["--help"])  # builds them all
        else:
            inside = "" if name.startswith(("studies", "benchmarks", "pixelvae")) else "pixelvae."
            importlib.import_module(inside + name).parse([])
    return built.value.args[0]


def options(parser: argparse.ArgumentParser) -> Iterator[tuple[str, argparse.Action]]:
    """The options and arguments of a parser and of its subcommands."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for subparser in action.choices.values():
                yield from options(subparser)
        else:
            yield f"{parser.prog} {'/'.join(action.option_strings) or action.dest}", action


@pytest.mark.parametrize("name", [*EXPERIMENTS, *OTHERS])
def test_every_option_has_help(name, monkeypatch):
    known = dict(options(parser_of(name, monkeypatch)))
    assert known
    assert not [option for option, action in known.items() if not action.help]
