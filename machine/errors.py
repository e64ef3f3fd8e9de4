"""The exceptions that are meant for the user's eyes."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """Something the user can mend: a bad argument, file, data set or folder.

    The message is one line with what is wrong and what to do, in words that suit a notebook as
    well as a command line. Command lines print it to standard error and exit with status 2 (see
    :func:`pixelvae.machine.console.command.main`); libraries let it pass.

    Parameters
    ----------
    message
        The line.
    setting
        The argument that is to be changed, such as ``images``. A command line that has an option of
        that name adds it to the message: ``(--images)``.
    """

    def __init__(self, message: str, setting: str | None = None):
        super().__init__(message)
        self.setting = setting


class NotFiniteError(UserError):
    """A number would have been NaN or infinite, so it is not reported."""


def did_you_mean(word: str, words: Iterable[str]) -> str:
    """A hint at the one of some words that a misspelt one is near to; empty if there is none."""
    close = difflib.get_close_matches(word, list(words), n=1)
    return f": did you mean {close[0]}?" if close else ""
