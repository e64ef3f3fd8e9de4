"""train_and_use.py FOLDER: trains a tiny model, evaluates it and samples from it; arrays of what came of it in a file.

For tests/gpu/test_run.py, which holds two devices against each other. The device is what ``PIXELVAE_DEVICE`` says.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from pixelvae.machine.backend import device

ITERATIONS = 8


def main(folder: Path) -> None:
    print(device.use(None))
    np.savez(folder / "results.npz", **trainings(folder), **uses(), **variations())


def trainings(folder: Path) -> dict[str, np.ndarray]:
    """What the checkpoint holds after one step; after a training with averages; after another; after one in two pieces;
    and after one with a step that is not finite. The bounds of the first training."""
    import tiny_training

    def train(name: str, iterations: int = ITERATIONS, **changes):
        run = tiny_training.run_for(folder / name, iterations, average_decay=0.9, **changes)
        return {f"{name} {key}": np.asarray(value) for key, value in run[1].items()}, run[3]

    def schedule(t):
        usual = tiny_training.recipe(1).schedule(t)
        return {**usual, "alpha": np.nan} if t == 3 else usual

    once, rows = train("once")
    train("resumed", ITERATIONS // 2)
    return {
        **train("first", 1)[0],
        **once,
        **train("twice")[0],
        **train("resumed")[0],
        **train("skipped", schedule=schedule, on_nan="skip")[0],
        "bounds": np.array([float(row["bound"]) for row in rows if row["split"] != "train"]),
    }


def uses() -> dict[str, np.ndarray]:
    """Bound, importance weights, samples and reconstructions of a model of given weights."""
    from tiny_training import SETTINGS, Images

    from pixelvae.lib.evaluation import Bound, ImportanceWeighted
    from pixelvae.lib.sampling import ImageSampler
    from pixelvae.models.mnist.model import MnistModel

    model, data = MnistModel(SETTINGS, seed=7), Images()
    weighted = ImportanceWeighted(model, 0)(data, "test", samples=3)
    sampler = ImageSampler(model)
    return {
        "bound": Bound(model, 0)(data, "test", samples=2).values["bound"],
        "importance weighted": weighted.values["importance_weighted"],
        "picture cached": sampler.sample(3, 0),
        "picture naive": ImageSampler(model, "naive").sample(3, 0),
        "picture reconstructed": sampler.reconstruct(data.images("test")[:3], 0),
    }


def variations() -> dict[str, np.ndarray]:
    """Images of a model of two levels, in which the noise of one level changes."""
    from pixelvae.experiments.figures import variation_grid
    from pixelvae.lib.sampling import ImageSampler
    from pixelvae.models.hierarchical.presets import HIERARCHICAL

    model = HIERARCHICAL.build(HIERARCHICAL.presets["tiny"].settings)
    sampler = ImageSampler(model)
    return {"picture varied": variation_grid(sampler, sampler.drawn, 2, 1, seed=0)}


if __name__ == "__main__":
    main(Path(sys.argv[1]))
