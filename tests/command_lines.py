"""An experiment's command lines, as the shell would see them."""

from __future__ import annotations

from pixelvae.experiments.command_line import main


def call(experiment, *arguments):
    """The exit status of a command of an experiment's module."""
    try:
        return main(experiment.EXPERIMENT, [str(a) for a in arguments])
    except SystemExit as stop:
        return stop.code


def error(capsys):
    """The one line on standard error that starts with ``error:``."""
    lines = [x for x in capsys.readouterr().err.splitlines() if x.startswith("error: ")]
    assert len(lines) == 1, lines
    return lines[0]
