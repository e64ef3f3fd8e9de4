#!/usr/bin/env python
"""How long a training step of a preset takes on this machine, and how much memory.

    python -m benchmarks.step 64px_big --batch-size 2

The step is that of a real training (gradients of the whole bound, clipping, Adam), on images of
noise.
"""

from __future__ import annotations

import resource
import sys
import time
from itertools import repeat

from pixelvae.machine.console import command
from pixelvae.machine.console.command import ArgumentParser, positive_int
from pixelvae.machine.console.progress import say
from pixelvae.models.family import Family, named
from pixelvae.models.registry import FAMILIES


def _families() -> list[Family]:
    return [named(path) for path in FAMILIES.values()]


def parse(argv: list[str]):
    """The command line."""
    parser = ArgumentParser(prog="python -m benchmarks.step", description=__doc__.splitlines()[0])
    parser.add_argument(
        "preset",
        choices=[name for family in _families() for name in family.presets],
        help="the preset",
    )
    parser.add_argument(
        "--batch-size", type=positive_int, help="images in a batch (default: as the preset trains)"
    )
    parser.add_argument("--steps", type=positive_int, default=3, help="steps that are timed")
    command.add_device_options(parser)
    parser.set_defaults(function=measure)
    return parser.parse_args(argv)


def measure(options) -> None:
    """Prints seconds of each step, by the clock and of the processor, and the peak memory."""
    import numpy as np

    from pixelvae.lib.training.batches import timed_step
    from pixelvae.machine.backend.device import summary

    say(summary())
    family = next(family for family in _families() if options.preset in family.presets)
    preset = family.presets[options.preset]
    model, recipe = family.build(preset.settings), preset.training.recipe(seed=0)
    batch = options.batch_size or recipe.batch_size
    print(f"{options.preset}: {model.parameters.count():,} parameters, batch {batch}")
    shape = (batch, *model.image_shape)
    images = np.random.RandomState(0).randint(0, model.levels, shape).astype("uint8")
    take = timed_step(model, recipe, repeat(images))
    for t in range(1, options.steps + 1):
        before = time.process_time()
        seconds = take()
        busy = time.process_time() - before
        print(f"step {t}: {seconds:.4f} s, of processor time {busy:.4f} s", flush=True)
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.2f} GB")


if __name__ == "__main__":
    parsed = parse(sys.argv[1:])
    sys.exit(command.main(command.run, parsed))
