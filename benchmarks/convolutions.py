"""GFLOP/s of a model's convolutions and of their gradients, shape by shape.

    python -m benchmarks.convolutions 64px_small --batch-size 2    # a preset for larger images
    python -m benchmarks.convolutions conv-vae --batch-size 100    # a model for MNIST

Each shape is timed by itself, on random numbers: the least of several calls, so its weights and
maps lie in caches as far as they fit. A transposed convolution stands under the shapes of the
convolution that it is the adjoint of. The last line sums over all layers: what the convolutions of
a training step need at the least.
"""

from __future__ import annotations

import sys
import time
from collections import Counter

from benchmarks.rows import MNIST
from pixelvae.machine.console.command import ArgumentParser, main, positive_int
from pixelvae.models.hierarchical.presets import HIERARCHICAL, SETTINGS
from pixelvae.models.mnist import presets

SECONDS = 0.3  # for each operation of each shape


def layers_of(name: str, batch: int) -> Counter:
    """How often each (geometry, shape of x, shape of w) comes in the loss.

    Geometry is kh, kw, taps, stride.
    """
    import theano
    import theano.tensor as T
    from theano.gof.graph import io_toposort

    from pixelvae.lib.model import noise_variables
    from pixelvae.lib.ops.conv import Correlate, CorrelateInputs

    larger = name in SETTINGS
    model = HIERARCHICAL.build(SETTINGS[name]) if larger else presets.MNIST.build(MNIST[name][1])
    x = T.tensor4("x")
    noise = noise_variables(model)
    bound = model.terms(x, noise).bound
    inputs = [x, *noise.values()]
    kinds = Correlate, CorrelateInputs
    nodes = [n for n in io_toposort(inputs, [bound]) if isinstance(n.op, kinds)]
    xs = [n.inputs[0] if isinstance(n.op, Correlate) else n.outputs[0] for n in nodes]
    shapes = [v.shape for n, x in zip(nodes, xs) for v in (x, n.inputs[1])]
    python = theano.Mode(linker="py", optimizer="fast_run")  # shapes alone: nothing to be compiled
    function = theano.function(inputs, shapes, mode=python, on_unused_input="ignore")
    sizes = [(batch, *model.image_shape), *((batch, *model.noise_shapes[n]) for n in noise)]
    found = [tuple(map(int, shape)) for shape in function(*map(_zeros, sizes))]
    geometries = [n.op.geometry for n in nodes]
    return Counter(zip(geometries, found[::2], found[1::2]))


def _zeros(shape):
    import numpy as np

    return np.zeros(shape, "float32")


def seconds_of(geometry, x_shape, w_shape) -> list[float]:
    """The least time of the convolution and of its adjoints in x and in w."""
    import numpy as np
    import theano

    from pixelvae.lib.ops.conv import Correlate, CorrelateInputs, CorrelateWeights

    rng, (*_, height, width) = np.random.RandomState(0), x_shape
    x, w = (theano.shared(rng.standard_normal(s).astype("float32")) for s in (x_shape, w_shape))
    y = theano.shared(theano.function([], Correlate(*geometry)(x, w))())
    times = []
    for output in (
        Correlate(*geometry)(x, w),
        CorrelateInputs(*geometry)(y, w, height, width),
        CorrelateWeights(*geometry)(x, y),
    ):
        function, least, end = theano.function([], output), float("inf"), time.monotonic() + SECONDS
        function()
        while time.monotonic() < end:
            start = time.perf_counter()
            function.fn()
            least = min(least, time.perf_counter() - start)
        times.append(least)
    return times


def measure(options) -> None:
    """Prints a line for each shape, and the sums over all layers."""
    from pixelvae.machine.backend.device import summary

    print(summary())
    print(
        f"{'kernel, taps, stride':22}{'x':>20}{'w':>18}{'layers':>8}  GFLOP  GFLOP/s: forward inputs weights"
    )
    work, total = 0.0, [0.0] * 3
    for (geometry, x, w), layers in layers_of(options.model, options.batch_size).items():
        kh, kw, taps, stride = geometry
        places = x[0] * -(-x[2] // stride) * -(-x[3] // stride)
        gflop = 2e-9 * places * w[0] * w[1] * w[2]
        seconds = seconds_of(geometry, x, w)
        work += 3 * layers * gflop
        total = [t + layers * s for t, s in zip(total, seconds)]
        kernel = f"{kh}x{kw}, {taps}, {stride}"
        speeds = "".join(f"{gflop / s:8.0f}" for s in seconds)
        print(
            f"{kernel:22}{_by(x):>20}{_by(w):>18}{layers:8}{gflop:7.2f}         {speeds}",
            flush=True,
        )
    parts = ", ".join(
        f"{t:.3f} s {name}" for t, name in zip(total, ("forward", "inputs", "weights"))
    )
    print(f"all: {work:.1f} GFLOP in {sum(total):.3f} s ({parts}), {work / sum(total):.0f} GFLOP/s")


def _by(shape) -> str:
    return "x".join(map(str, shape))


def parse(words: list[str]):
    """The command line."""
    parser = ArgumentParser(
        prog="python -m benchmarks.convolutions", description=__doc__.splitlines()[0]
    )
    parser.add_argument("model", choices=[*SETTINGS, *MNIST], help="a preset or model")
    parser.add_argument("--batch-size", type=positive_int, default=2, help="images in a batch")
    return parser.parse_args(words)


if __name__ == "__main__":
    sys.exit(main(measure, parse(sys.argv[1:])))
