"""What all command lines share: errors in one line, progress, phases, a graceful stop."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from pixelvae.machine.backend import device
from pixelvae.machine.backend.preparation import prepare
from pixelvae.machine.console.progress import print_anything, say
from pixelvae.machine.errors import UserError, did_you_mean
from pixelvae.machine.files.atomic import NO_ROOM
from pixelvae.machine.kinds import Kind, number, whole
from pixelvae.machine.parallel.world import join, world

USAGE_STATUS = 2


#: By module, the packages that few commands import: plots, pages and classifiers, which the bundle
#: leaves out.
_OPTIONAL = {
    "jinja2": "Jinja2",
    "markupsafe": "MarkupSafe",
    "matplotlib": "matplotlib",
    "sklearn": "scikit-learn",
}


def main(function: Callable[..., int | None], *arguments: Any) -> int:
    """Call a command's function and return the exit status for `sys.exit`.

    All ranks that were started together call it with the same options, and work as one.

    A `UserError`, a package that the bundle leaves out, a full disk or memory that runs out become
    one line on standard error and status 2, Ctrl-C 130, and a reader that went away (`| head`) 141,
    as the shell counts it. What is left, errors of the program's own, keeps its traceback.
    """
    print_anything()
    work_together()
    status, message = _outcome(function, arguments)
    status = world().end(status, message)
    _discard_unwritable_output()
    return status


def work_together() -> None:
    """Make one world of the ranks that were started together, or exit with one line."""
    try:
        join()
    except UserError as problem:
        sys.exit(world().end(USAGE_STATUS, _error(str(problem))))


def _outcome(function: Callable[..., int | None], arguments: tuple) -> tuple[int, str | None]:
    """The exit status, and the line to print if it is an error's."""
    try:
        _compare_options(arguments)
        status = function(*arguments) or 0
        sys.stdout.flush()  # here and not at exit, where its error could not be caught
    except UserError as problem:
        return USAGE_STATUS, _error(str(problem) + _option_of(problem, arguments))
    except MemoryError:
        return USAGE_STATUS, _error(
            "out of memory; try a smaller batch or model, or close other programs"
        )
    except ModuleNotFoundError as problem:
        reason = missing_package(problem)
        if reason is None:
            raise
        return USAGE_STATUS, _error(reason)
    except KeyboardInterrupt:
        return 128 + signal.SIGINT, _error("interrupted")
    except BrokenPipeError:
        return 128 + signal.SIGPIPE, None
    except OSError as problem:
        advice = NO_ROOM.get(problem.errno or 0)
        if advice is None:
            raise
        where = f" ({problem.filename})" if problem.filename else ""
        return USAGE_STATUS, _error(f"{problem.strerror}{where}; {advice}")
    return status, None


_SEPARATE = (
    "all ranks train or evaluate one model together; for separate ones start each by itself, as in an array of jobs "
    "(docs/cluster.md)"
)


def _compare_options(arguments: tuple) -> None:
    """Raises UserError on all ranks unless they were started with the same options."""
    options = [vars(given) for given in arguments if isinstance(given, argparse.Namespace)]
    plain = (str, int, float, list, Path, type(None))  # as typed; what was made of it follows
    facts = {flag(n): v for each in options for n, v in each.items() if isinstance(v, plain)}
    world().check_same(facts, _SEPARATE)


def _compare_devices() -> None:
    """Raises UserError on all ranks unless all have the same kind of device and precision."""
    facts = {
        "the device": device.record()["device"],
        "TF32": device.record()["tf32"],
        "Theano's floatX": prepare().given.get("floatx", "float32"),
        "PIXELVAE_NATIVE": os.environ.get("PIXELVAE_NATIVE") or "1",
    }
    world().check_same(facts, "all ranks must compute alike; --device names one that all have")


def missing_package(problem: ModuleNotFoundError) -> str | None:
    """One line about a package that few commands import and that is not installed, else None."""
    package = _OPTIONAL.get((problem.name or "").partition(".")[0])
    return (
        package and f"this needs {package}, which is not installed: pip install -r requirements.txt"
    )


def flag(name: str) -> str:
    """The option that sets a name."""
    return "--" + name.replace("_", "-")


def _option_of(problem: UserError, arguments: tuple) -> str:
    """The option that the error is about, if the command line has it."""
    for options in arguments:
        if isinstance(options, argparse.Namespace) and hasattr(options, problem.setting or ""):
            return f" ({flag(str(problem.setting))})"
    return ""


def _discard_unwritable_output() -> None:
    """Else the interpreter, which flushes once more when it ends, would change the exit status."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _error(message: str) -> str:
    return f"error: {' '.join(message.split())}"


class ArgumentParser(argparse.ArgumentParser):
    """`argparse.ArgumentParser` with errors in one line.

    An error names what a misspelt word is near to. Options are never abbreviated. What a subcommand
    does not know is an error of the subcommand. Help shows a number as N or X, and tells the
    default unless the option's own text does.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        print_anything()  # as --help does
        work_together()  # with one to print errors and help
        options.setdefault("allow_abbrev", False)
        super().__init__(*arguments, **options)

    def add_argument(self, *names: Any, **options: Any) -> argparse.Action:
        """As in `argparse`; see the class for what help shows."""
        if isinstance(options.get("type"), Kind):
            options.setdefault("metavar", options["type"].metavar)
        valued = "action" not in options and isinstance(options.get("default"), (str, int, float))
        if valued and "default" not in options.get("help", "default"):
            options["help"] += " (default: %(default)s)"
        return super().add_argument(*names, **options)

    def error(self, message: str) -> NoReturn:
        """Print the error and where to find help, and exit with status 2."""
        line = _error(f"{message} ({self.prog} --help lists all options)")
        sys.exit(world().end(USAGE_STATUS, line))

    def refuse(self, problem: UserError, options: argparse.Namespace) -> NoReturn:
        """Print why these options do not go together, and exit with status 2."""
        self.error(str(problem) + _option_of(problem, (options,)))

    def parse_known_args(self, args=None, namespace=None):  # type: ignore[override]
        """As in `argparse`, except that nothing may be left over."""
        options, unknown = super().parse_known_args(args, namespace)
        if unknown:
            word = next((word for word in unknown if word.startswith("-")), unknown[0])
            option = word.partition("=")[0]
            known = [name for name in self._option_string_actions if name.startswith("--")]
            self.error(f"unknown argument {option!r}{did_you_mean(option, known)}")
        return options, unknown

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            choices = [str(choice) for choice in action.choices]
            hint = did_you_mean(str(value), choices) or f": choose from {', '.join(choices)}"
            raise argparse.ArgumentError(action, f"invalid choice {value!r}{hint}")


def add_device_options(parser: argparse.ArgumentParser) -> None:
    """Adds ``--device`` and ``--tf32``, which :func:`run` heeds."""
    parser.add_argument(
        "--device",
        type=_device,
        metavar="{auto,cuda,cuda0,cuda1,...,cpu}",
        help="auto (the default, or PIXELVAE_DEVICE) uses a GPU if one works; cuda1 is the second of several",
    )
    parser.add_argument(
        "--tf32",
        action="store_true",
        help="let a GPU's convolutions round their inputs to ten bits (from Ampere on)",
    )


def run(options: argparse.Namespace) -> int | None:
    """Calls ``options.function`` with the options, on the device that they name.

    Raises UserError where that cannot be used.
    """
    use_device(options)
    return options.function(options)


def use_device(options: argparse.Namespace) -> None:
    """Computes from now on on the device of :func:`add_device_options`, and prints it.

    Raises UserError where that cannot be used.
    """
    line = device.use(options.device, options.tf32)
    _compare_devices()
    if line:
        say(line)


# Types of arguments.
_device = Kind("auto, cuda, cuda0, cuda1, … or cpu", device.is_device)
positive_int = whole()
non_negative_int = whole(least=0)
picture_int = whole(most=10_000)  #: how many images go into one picture
positive_float = number()


def path(text: str) -> Path:
    """Argument type: a path, in which ``~`` means the user's home."""
    return Path(path_or_name(text))


def path_or_name(text: str) -> str:
    """Argument type: the same as text; a name will do, which a `Path` might respell."""
    if not text:
        raise argparse.ArgumentTypeError("must not be empty")
    # The shell expands "~/x", but neither "--out=~/x" nor what stands in quotes.
    expanded = os.path.expanduser(text)
    if expanded.startswith("~"):
        raise argparse.ArgumentTypeError(
            f"names a home that is not known, {text!r}: write ./{text} for a file of that name"
        )
    return expanded
