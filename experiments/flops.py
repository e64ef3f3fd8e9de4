#!/usr/bin/env python
"""Table 2's last column: multiply-adds and parameters of any model, part by part.

    python experiments/flops.py                          # all models
    python experiments/flops.py 64px_big gated-pixelvae

The work is one evaluation of the bound of one image. "done" leaves out what masks make zero by
position (those taps are neither stored nor computed here); "unmasked" counts whole kernels, as a
plain convolution with zeros would do.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Any

from pixelvae.machine.console import command
from pixelvae.machine.console.command import ArgumentParser
from pixelvae.models.family import Family
from pixelvae.models.hierarchical.presets import HIERARCHICAL
from pixelvae.models.mnist.presets import MNIST, Settings
from pixelvae.models.mnist.table1 import VARIANTS

PAPER = 63e9  # table 2
TABLE_E2 = "64px_big-table-E.2"
# The paper's table has fewer residual blocks than the released code, and no 1x1 one among the
# masked.
CHANGED = {
    TABLE_E2: replace(
        HIERARCHICAL.presets["64px_big"].settings,
        name=TABLE_E2,
        stages=((192, 1), (256, 1), (512, 3)),
        top_stages=((512, 2), (512, 2), (512, 2)),
        latent_kernels=(3, 3, 3),
    )
}


def models() -> dict[str, tuple[Family, Any]]:
    """Family and settings of each model at the paper's sizes, by name."""
    larger = {name: preset.settings for name, preset in HIERARCHICAL.presets.items()}
    return {
        **{name: (MNIST, Settings(name)) for name in VARIANTS},
        **{name: (HIERARCHICAL, settings) for name, settings in {**larger, **CHANGED}.items()},
    }


def build(name: str):
    """The model of that name."""
    family, settings = models()[name]
    return family.build(settings)


def parse(argv: list[str]):
    """The command line."""
    names = list(models())
    parser = ArgumentParser(prog="flops.py", description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*", metavar="MODEL", help=", ".join(names))
    options = parser.parse_args(argv)
    for name in options.models:
        if name not in names:
            parser.error(f"there is no model {name!r}: choose among {', '.join(names)}")
    options.models = options.models or names
    return options


def run(options) -> None:
    """Print the parts of each model, and their sum."""
    from pixelvae.lib.flops import count

    print(f"{'model':<24}{'part':<16}{'done':>14}{'unmasked':>14}{'parameters':>14}")
    for name in options.models:
        result = count(build(name))
        for part, numbers in [*result.parts.items(), ("total", result.total)]:
            print(row(name, part, numbers))
        if name.startswith("64px_big"):
            done, unmasked = (n / PAPER - 1 for n in (result.total.done, result.total.unmasked))
            print(f"  against the 63e9 of table 2: done {done:+.1%}, unmasked {unmasked:+.1%}")


def row(name: str, part: str, numbers) -> str:
    """A line of the table."""
    counts = f"{numbers.done:>14.3e}{numbers.unmasked:>14.3e}{numbers.parameters:>14,}"
    return f"{name:<24}{part:<16}{counts}"


if __name__ == "__main__":
    parsed = parse(sys.argv[1:])
    sys.exit(command.main(run, parsed))
