#!/usr/bin/env python
"""What longer averages of the weights, and a cool-down of the learning rate, would give a run of mnist_pixelvae.py.

python studies/mnist_averages.py runs/NAME --iterations 6000 --cool-down 2000

Goes on from the run's checkpoint, in memory: the run stays as it is. First come --iterations of its own recipe, then
from the same weights twice --cool-down iterations, with the learning rate falling to zero and without. After each of
the three: the validation bound of the last weights and of averages with several decays, kept side by side.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pixelvae.machine.console.command import ArgumentParser, main, positive_int
from pixelvae.machine.console.progress import Progress, say

if TYPE_CHECKING:
    from pixelvae.lib.training.step import Recipe

DECAYS = (0.0, 0.999, 0.9997, 0.9999, 0.99997)


def parse(argv: list[str]):
    """The command line."""
    parser = ArgumentParser(prog="mnist_averages.py", description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, metavar="RUN", help="a run with a checkpoint")
    parser.add_argument("--iterations", type=positive_int, default=6_000, metavar="N")
    parser.add_argument("--cool-down", type=positive_int, default=2_000, metavar="N")
    parser.add_argument("--into", type=Path, metavar="FILE", help="also write the numbers as JSON")
    parser.set_defaults(function=compare)
    return parser.parse_args(argv)


def compare(arguments) -> int:
    """Prints the bounds, and writes them if asked."""
    from pixelvae.machine.files.atomic import write_json

    training = Continued(arguments.run)
    first = training.iteration
    bounds = {"as it was": training.go_on(arguments.iterations)}
    middle = training.state()
    bounds["as it was, longer"] = training.go_on(arguments.cool_down)
    training.restore(middle)
    bounds["cooled down"] = training.go_on(arguments.cool_down, cool=True)
    for name, of_decays in bounds.items():
        say(f"{name}: " + ", ".join(f"{d} {bound:.3f}" for d, bound in of_decays.items()))
    record = {
        "settings": training.settings,
        "from_iteration": first,
        "iterations": arguments.iterations,
        "cool_down": arguments.cool_down,
        "valid_bounds": bounds,
    }
    if arguments.into:
        write_json(arguments.into, record)
    return 0


class Continued:
    """A run's training that goes on in memory, with averages of its weights side by side.

    Raises UserError if the folder holds no run to go on with, or its data's name now stands for other images.
    """

    def __init__(self, folder: Path) -> None:
        from pixelvae.datasets import open_dataset
        from pixelvae.lib.evaluation import Bound
        from pixelvae.lib.runs.settings import check_data
        from pixelvae.lib.training.step import TrainingStep
        from pixelvae.machine.files.arrays import load_arrays
        from pixelvae.models.registry import MNIST

        arrays, header = load_arrays(folder / "checkpoint.npz", kind="checkpoint")
        settings = header["config"]["settings"]
        self.settings: Mapping[str, Any] = settings
        self.iteration: int = header["iteration"]
        self._dataset = open_dataset(settings["data"]["name"])
        check_data(settings, self._dataset)
        self._model = MNIST.build(MNIST.settings.parse(settings["model"]), seed=0)
        recipe = self._recipe(settings["iterations"])
        self._step = TrainingStep(self._model, recipe)
        self._step.restore({"averaged": arrays["packed"], **arrays})
        self._bound = Bound(self._model, recipe.seed, recipe.evaluation_batch)
        average = self._step.state()["averaged"].astype("float64")
        self._averages = {decay: average.copy() for decay in DECAYS}

    def _recipe(self, iterations: int, cool_down: int | None = None) -> Recipe:
        """The run's recipe, to another end."""
        from pixelvae.models.registry import MNIST

        # One average is compiled in: it takes each of the others in turn to be evaluated.
        changes = {"iterations": iterations, "cool_down": cool_down, "average_decay": 0.999}
        return MNIST.recipe({**self.settings, **changes})

    def state(self) -> tuple:
        """All that :meth:`restore` needs."""
        return self.iteration, self._step.state(), {d: a.copy() for d, a in self._averages.items()}

    def restore(self, state: tuple) -> None:
        """Go back to where :meth:`state` was called."""
        self.iteration, arrays, averages = state
        self._averages = {decay: average.copy() for decay, average in averages.items()}
        self._step.restore(arrays)

    def go_on(self, iterations: int, cool: bool = False) -> Mapping[str, float]:
        """Train so many iterations; the validation bounds in nats, by the average's decay."""
        from pixelvae.lib.model import draw_noise
        from pixelvae.lib.training.step import average_weight

        last = self.iteration + iterations
        recipe = self._recipe(last, iterations if cool else None)
        stream = self._dataset.training_stream(recipe.batch_size, recipe.seed, self.iteration)
        with Progress(last, self.iteration) as bar:
            while self.iteration < last:
                self.iteration += 1
                images = next(stream)
                noise = draw_noise(
                    self._model, recipe.seed, "training", self.iteration, len(images)
                )
                values = self._step(images, noise, recipe.schedule(self.iteration))
                packed = self._step.state()["packed"]
                for decay, average in self._averages.items():
                    average += average_weight(decay, self.iteration) * (packed - average)
                bar.update(1, bound=float(values[1:].sum()))
        return self._bounds()

    def _bounds(self) -> dict[str, float]:
        state = self._step.state()
        bounds = {}
        for decay, average in self._averages.items():
            self._step.restore({**state, "averaged": average})
            bounds[str(decay)] = self._bound(self._dataset, "valid").mean("bound")
            say(f"iteration {self.iteration}, decay {decay}: {bounds[str(decay)]:.3f}")
        self._step.restore(state)
        return bounds


if __name__ == "__main__":
    options = parse(sys.argv[1:])
    sys.exit(main(options.function, options))
