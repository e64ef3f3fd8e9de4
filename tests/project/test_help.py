"""Every option of every command line has help, and what is misspelt is answered with what is near."""

from __future__ import annotations

import argparse
import importlib
import re
from collections.abc import Iterator

import pytest
from command_lines import call

from pixelvae.experiments import command_line, mnist_pixelvae
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


@pytest.mark.parametrize(
    ("typed", "near"),
    [
        ("trian", "train"),
        ("train --modle pixelvae", "--model"),
        ("train --model gated-pixelvea", "gated-pixelvae"),
        ("--preset quik", "quick"),
        ("train --data binarized_mnits", "binarized_mnist"),
        ("sample gated-pixelvae-nuop", "gated-pixelvae-noup"),
        ("sample here/runs/quikc", "here/runs/quick"),
        ("evaluate pixelvae --split tets", "test"),
    ],
)
def test_what_is_misspelt_is_answered_with_what_is_near(typed, near, capsys, monkeypatch, tmp_path):
    (tmp_path / "here/runs/quick").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert call(mnist_pixelvae, *typed.split()) == 2
    *told, last = capsys.readouterr().err.splitlines()
    assert last.startswith("error: ") and f"did you mean {near}?" in last
    assert [line for line in told if "--help lists" in line] == told[: typed.startswith("--")]
