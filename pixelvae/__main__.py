"""``pixelvae EXPERIMENT SUBCOMMAND ...``: every experiment, for where the package is installed.

``pixelvae setup`` installs Theano, Lasagne and Fuel, which are older than wheels and which pip
cannot build by itself.
"""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from importlib import import_module
from importlib.metadata import PackageNotFoundError, requires
from importlib.util import find_spec
from pathlib import Path

from pixelvae.machine.console.command import ArgumentParser
from pixelvae.machine.errors import UserError

#: The module in ``pixelvae.experiments`` of each.
EXPERIMENTS = {
    "mnist": "mnist_pixelvae",
    "mnist-256": "mnist_256",
    "lsun-bedrooms": "lsun_bedrooms",
    "imagenet64": "imagenet64",
    "photographs": "pictures",
}


def parse(arguments: list[str]) -> tuple[ArgumentParser, str]:
    """The parser, which reports errors, and the experiment or ``setup``."""
    parser = ArgumentParser(
        prog="pixelvae",
        description="PixelVAE (Gulrajani et al., 2016). EXPERIMENT --help lists its subcommands.",
        epilog="pixelvae setup installs Theano, Lasagne and Fuel.",
    )
    names = [*EXPERIMENTS, "setup"]
    parser.add_argument(
        "experiment", choices=names, metavar="EXPERIMENT", help=", ".join(EXPERIMENTS)
    )
    return parser, parser.parse_args(arguments).experiment


def main() -> int:
    """The exit status of the command line."""
    parser, name = parse(sys.argv[1:2])
    try:
        if name == "setup":
            return _setup()
        if find_spec("theano") is None:
            raise UserError("Theano is not installed: pixelvae setup")
    except UserError as error:
        parser.error(str(error))
    from pixelvae.experiments import command_line

    experiment = import_module(f"pixelvae.experiments.{EXPERIMENTS[name]}").EXPERIMENT
    return command_line.main(replace(experiment, prog=f"pixelvae {name}"), sys.argv[2:])


def _setup() -> int:
    """Install the extra ``theano`` with this environment's setuptools; pip's exit status.

    Fuel brings an extension in C that no longer compiles and that nothing here uses: ``true`` as
    its compiler leaves it out. Raises UserError if the package is not installed.
    """
    try:
        listed = requires("pixelvae") or []
    except PackageNotFoundError:
        raise UserError("this is a clone, whose environment is built by: make setup") from None
    packages = [line.partition(";")[0].strip() for line in listed if 'extra == "theano"' in line]
    building = str(Path(__file__).parent / "building")
    environment = {"PYTHONPATH": building, "CC": "true", "CXX": "true", "LDSHARED": "true"}
    pip = [sys.executable, "-m", "pip", "install", "--no-build-isolation", "--no-deps", *packages]
    return subprocess.run(pip, env={**os.environ, **environment}).returncode


if __name__ == "__main__":
    sys.exit(main())
