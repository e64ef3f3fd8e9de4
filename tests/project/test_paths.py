"""Paths on any command line: ``~`` is the user's home, and an empty one is refused."""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path

import pytest
from command_lines import call, error

from pixelvae.experiments import mnist_pixelvae
from pixelvae.machine.console import command
from pixelvae.machine.errors import UserError
from pixelvae.models import weights

ROOT = Path(__file__).parents[2]
COMMANDS = [
    *(
        f"pixelvae.experiments.{p.stem}"
        for p in (ROOT / "experiments").glob("*.py")
        if "EXPERIMENT = " in p.read_text()
    ),
    *(
        f"studies.{p.stem}"
        for p in (ROOT / "studies").glob("*.py")
        if "def parse(" in p.read_text()
    ),
    "pixelvae.datasets.__main__",
    "benchmarks.first_contact",
]
#: Free text that is no path.
TEXT = {"options", "tries", "device"}


class _Parsed(Exception):
    pass


def parser_of(module, monkeypatch):
    """The parser of a command's module."""

    def stop(self, *arguments, **named):
        raise _Parsed(self)

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", stop)
    with pytest.raises(_Parsed) as parsed:
        if hasattr(module, "EXPERIMENT"):
            call(module)
        else:
            getattr(module, "parse", getattr(module, "command", None))([])
    return parsed.value.args[0]


def actions(parser):
    """All options and arguments of a parser and its subcommands."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for inner in action.choices.values():
                yield from actions(inner)
        else:
            yield action


@pytest.mark.parametrize("name", COMMANDS)
def test_free_text_is_a_path(monkeypatch, name):
    parser = parser_of(importlib.import_module(name), monkeypatch)
    for action in actions(parser):
        if action.nargs != 0 and action.choices is None and action.dest not in TEXT:
            assert action.type not in (None, str, Path), (name, action.dest)


@pytest.mark.parametrize("kind", [command.path, command.path_or_name])
def test_a_tilde_is_the_home_and_an_empty_path_is_refused(monkeypatch, tmp_path, kind):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert kind("~/x") == type(kind("x"))(tmp_path / "x")
    assert str(kind("./~x")).endswith("~x")
    for bad in ("", "~nobody-of-that-name/x"):
        with pytest.raises(argparse.ArgumentTypeError):
            kind(bad)


@pytest.mark.parametrize(
    "option", ["--out=", "--data=", "--source=", "--from=", "--out=~nobody-of-that-name/x"]
)
def test_it_is_one_line_and_no_training(monkeypatch, tmp_path, capsys, option):
    monkeypatch.chdir(tmp_path)
    assert call(mnist_pixelvae, "train", "--preset", "quick", option) == 2
    assert option.partition("=")[0] in error(capsys)
    assert not list(tmp_path.iterdir())


def test_what_is_no_run_hides_no_name(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    shipped = weights.read("pixelvae")[1]
    for make in (Path.mkdir, lambda path: path.write_text("#!/bin/sh\n")):
        here = tmp_path / "pixelvae"
        make(here)
        assert weights.is_name("pixelvae") and weights.read("pixelvae")[1] == shipped
        here.rmdir() if here.is_dir() else here.unlink()


def test_a_run_hides_a_name(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pixelvae").mkdir()
    (tmp_path / "pixelvae/config.json").write_text("{}")
    with pytest.raises(UserError, match="holds no best.npz yet"):
        weights.read("pixelvae")
