#!/usr/bin/env python
"""How long a training step of a preset takes on this machine, and how much memory.

    python experiments/step.py 64px_big --batch-size 2

The step is that of a real training (gradients of the whole bound, clipping, Adam), on images of noise.
"""

from __future__ import annotations

import resource
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lib import console  # noqa: E402
from lib.console import ArgumentParser, positive_int  # noqa: E402
from models.presets import SETTINGS, TRAINING  # noqa: E402


def parse(words: list[str]):
    parser = ArgumentParser(prog="step.py", description=__doc__.splitlines()[0])
    parser.add_argument("preset", choices=list(SETTINGS))
    parser.add_argument("--batch-size", type=positive_int, default=2)
    parser.add_argument("--steps", type=positive_int, default=3)
    console.add_device_options(parser)
    parser.set_defaults(function=measure)
    return parser.parse_args(words)


def measure(options) -> None:
    import numpy as np

    from lib.backend import summary
    from lib.training import Recipe, TrainingStep, draw_noise
    from models.hierarchical import HierarchicalModel

    console.say(summary())
    start = time.monotonic()
    model = HierarchicalModel(SETTINGS[options.preset])
    schedule = TRAINING[options.preset].schedule
    recipe = Recipe(options.steps, options.batch_size, options.steps, 0, schedule, clip_norm=5.0)
    step = TrainingStep(model, recipe)
    print(f"{options.preset}: {model.parameters.count():,} parameters, batch {options.batch_size}")
    print(f"ready after {time.monotonic() - start:.0f} s")
    rng = np.random.RandomState(0)
    for t in range(1, options.steps + 1):
        shape = (options.batch_size, *model.image_shape)
        images = rng.randint(0, model.levels, shape).astype("uint8")
        noise = draw_noise(model, 0, "step", t, options.batch_size)
        start = time.monotonic()
        cost, *_ = step(images, noise, schedule(t))
        print(f"step {t}: {time.monotonic() - start:.2f} s, cost {cost:.4f} nats/dim", flush=True)
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.2f} GB")


if __name__ == "__main__":
    parsed = parse(sys.argv[1:])
    sys.exit(console.main(console.run, parsed))
