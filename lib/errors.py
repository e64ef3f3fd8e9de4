"""The exceptions that are meant for the user's eyes."""


class UserError(Exception):
    """Something the user can mend: a bad argument, file, data set or folder.

    The message is one line that says what is wrong and what to do. Command lines print it to
    standard error and exit with status 2 (see :func:`lib.console.command.main`); libraries let it
    pass.
    """


class NotFiniteError(UserError):
    """A number would have been NaN or infinite, so it is not reported."""
