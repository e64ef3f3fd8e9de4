"""Results of operations and models on a device: ``python -m benchmarks.agreement FOLDER [CASE]``.

Each case becomes a file of arrays in the folder, from the same random numbers wherever it runs: on
a GPU if ``PIXELVAE_DEVICE`` names one, else on the CPU. :func:`compare` holds two such folders
against each other.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pixelvae.models.hierarchical.presets import HIERARCHICAL
from pixelvae.models.mnist import presets as mnist_presets
from pixelvae.models.mnist.presets import MNIST
from pixelvae.models.mnist.table1 import VARIANTS

TOLERANCE = 1e-4
NODES = "nodes on the device, and native ones on the host"  # an array in each case's file
MODELS = (*VARIANTS, "tiny", "64px_small")


def operations() -> dict[str, Any]:
    """Functions by name, and the shapes of their arguments; the first result is differentiated."""
    import theano.tensor as T

    from pixelvae.lib.ops.native import examples

    return {**examples(), "matrix product": (T.dot, ((6, 4), (4, 5)))}


def of_operation(name: str) -> dict[str, np.ndarray]:
    """Outputs, and the gradients of half the sum of the first one's squares."""
    import theano
    import theano.tensor as T

    from pixelvae.lib.ops.native import as_list

    function, shapes = operations()[name]
    rng = np.random.RandomState(0)
    given = [rng.standard_normal(shape).astype("float32") for shape in shapes]
    inputs = [T.TensorType("float32", (False,) * v.ndim)() for v in given]
    outputs = as_list(function(*inputs))
    gradients = theano.grad(T.sqr(outputs[0]).sum() / 2, inputs)
    compiled = theano.function(inputs, [*outputs, *gradients])
    results = compiled(*given)
    names = [f"output {i}" for i in range(len(outputs))]
    names += [f"gradient {i}" for i in range(len(inputs))]
    return {
        **{name: np.asarray(value) for name, value in zip(names, results)},
        **_nodes(compiled),
    }


def _nodes(*functions: Any) -> dict[str, np.ndarray]:
    """How many nodes of compiled functions are on a GPU, and how many of ours are left for CPUs."""
    from pixelvae.lib.ops.native import NativeOp
    from pixelvae.machine.backend.placement import placement

    nodes = (node for f in functions for node in f.maker.fgraph.toposort())
    natives = [n for n in nodes if isinstance(n.op, NativeOp)]
    return {NODES: np.array([placement(*functions).device, len(natives)])}


def step_of(name: str) -> tuple[Any, Any, Mapping[str, float]]:
    """A model (of MNIST's a narrow one), its training step, the scalars of its first iteration."""
    from pixelvae.lib.training.step import TrainingStep

    if name in VARIANTS:
        preset = MNIST.presets["paper"]
        model = MNIST.build(mnist_presets.Settings(name, 2, 8, 8))
    else:
        preset = HIERARCHICAL.presets[name]
        model = HIERARCHICAL.build(preset.settings)
    recipe = preset.training.recipe(seed=0)
    return model, TrainingStep(model, recipe), recipe.schedule(1)


def of_model(name: str, batch: int = 2) -> dict[str, np.ndarray]:
    """The cost and its terms, and the gradient of each parameter."""
    from pixelvae.lib.model import draw_noise

    model, step, scalars = step_of(name)
    rng = np.random.RandomState(0)
    images = rng.randint(0, model.levels, (batch, *model.image_shape)).astype("uint8")
    terms = step(images, draw_noise(model, 0, "agreement", 1, batch), scalars)
    return {"cost and terms": terms, **step.gradients(), **_nodes(*step.functions)}


def compare(
    ours: Path, truth: Path, cases: Sequence[str], on_gpu: bool = False
) -> list[dict[str, Any]]:
    """The difference's norm over the truth's, for each output and for all gradients of each case.

    None where one of the two has not come to it. ``on_gpu``: what did not run on a GPU does not
    agree, and neither does what was held against another GPU; ``nodes`` is how many nodes ran
    there.

    Gradients count together, for some are zero but for rounding; ``worst`` is the array that
    differs most by itself.
    """
    rows = []
    for case in cases:
        row: dict[str, Any] = dict(case=case, error=None, agrees=False, worst="", nodes=0)
        rows.append(row)
        files = [folder / f"{case}.npz" for folder in (truth, ours)]
        if not all(file.exists() for file in files):
            continue
        with np.load(files[0]) as a, np.load(files[1]) as b:
            pairs = {
                name: (b[name].astype("float64"), a[name].astype("float64"))
                for name in a.files
                if name != NODES
            }
            (device, natives), (elsewhere, _) = b[NODES].tolist(), a[NODES].tolist()
        forward = [p for name, p in pairs.items() if name.startswith(("output", "cost"))]
        backward = [p for name, p in pairs.items() if not name.startswith(("output", "cost"))]
        errors = [*(_distance([pair]) for pair in forward), _distance(backward)]
        row["error"] = max(errors)
        row["worst"] = max(pairs, key=lambda name: _distance([pairs[name]]))
        real = device > 0 and not natives and not elsewhere if on_gpu else True
        row["agrees"], row["nodes"] = bool(row["error"] <= TOLERANCE and real), device
    return rows


def _distance(pairs) -> float:
    difference = sum(float(np.square(b - a).sum()) for b, a in pairs)
    size = sum(float(np.square(a).sum()) for _, a in pairs)
    distance = (difference / size) ** 0.5 if size else difference**0.5
    return distance if math.isfinite(distance) else math.inf  # what is not a number differs most


def main(folder: str, *cases: str) -> None:
    """Writes the results of these cases, of all by default, into a folder."""
    from pixelvae.machine.backend import device

    device.use(os.environ.get("PIXELVAE_DEVICE", "cpu"))
    for case in cases or (*operations(), *MODELS):
        results = of_operation(case) if case in operations() else of_model(case)
        part = Path(folder, f"{case}.part")
        with part.open("wb") as file:
            np.savez(file, **results)
        part.rename(part.with_suffix(".npz"))


if __name__ == "__main__":
    main(*sys.argv[1:])
