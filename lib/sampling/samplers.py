"""Drawing images, pixel by pixel and colour by colour, from an autoregressive network."""

from __future__ import annotations

from typing import Callable, Optional, Sequence

import numpy as np
import theano

from pixelvae.lib.sampling.network import Network
from pixelvae.lib.sampling.plan import Plan
from pixelvae.machine.console.progress import Progress
from pixelvae.machine.errors import UserError


class Sampler:
    """Draws images from an autoregressive network, which is given as a Theano expression.

    Parameters
    ----------
    x
        The image, a variable (N, C, H, W).
    outputs
        The network: an expression (N, O, H, W) whose values at a pixel depend on earlier pixels of
        x (in raster order) alone, and at that pixel on earlier groups of channels.
    inputs
        Further variables that outputs depends on, such as the latent z.
    draw
        How values (N, C) are drawn at a position from its outputs (N, O) and noise (N, C), such as
        :meth:`pixelvae.lib.pixels.Pixels.draw`.
    groups
        How many groups of channels are drawn one after another: 3 for red, green and blue. Channel
        c of x and of outputs belongs to group c modulo groups; ``draw`` is given one group's
        channels.
    method
        "cached", or "naive": one pass of the whole network for each pixel and group. Both give the
        same images for the same noise, up to rounding of the outputs.

    Raises NotImplementedError if the cached sampler has no rule for an operation, and ValueError if
    the network looks ahead, which is sometimes known only in a call, from the weights.
    """

    def __init__(
        self,
        x,
        outputs,
        inputs: Sequence,
        draw: Callable[[np.ndarray, np.ndarray], np.ndarray],
        groups: int = 1,
        method: str = "cached",
    ):
        if method not in METHODS:
            raise UserError(f"there is no sampling method {method}: choose {' or '.join(METHODS)}")
        self._open = METHODS[method](x, outputs, list(inputs), groups)
        self._draw, self._groups, self._dtype = draw, groups, x.dtype

    def __call__(
        self, noise: np.ndarray, *values: np.ndarray, progress: Optional[Progress] = None
    ) -> np.ndarray:
        """Images (N, C, H, W) of x's type.

        ``noise`` (N, C, H, W) is of the kind that ``draw`` wants, ``values`` are those of the
        inputs; ``progress`` counts rows.
        """

        def choose(outputs, at):
            return self._draw(outputs, noise[at])

        return self._scan(noise.shape, values, choose, progress)

    def outputs(self, images: np.ndarray, *values: np.ndarray) -> np.ndarray:
        """The outputs (N, O, H, W) met on the way when the pixels drawn are those of ``images``."""
        met = []

        def choose(outputs, at):
            met.append((at, outputs.copy()))
            return images[at]

        self._scan(images.shape, values, choose)
        first = met[0][1]
        shape = (len(images), self._groups * first.shape[1]) + images.shape[2:]
        result = np.empty(shape, first.dtype)
        for at, outputs in met:
            result[at] = outputs
        return result

    def _scan(self, shape, values, choose, progress=None) -> np.ndarray:
        images = np.zeros(shape, self._dtype)
        network = self._open(images, values)
        for i in range(shape[2]):
            network.begin_row(i)
            for j in range(shape[3]):
                for group in range(self._groups):
                    channels = slice(group, None, self._groups)
                    at = (slice(None), channels, i, j)
                    images[at] = choose(network.outputs(i, j, group)[:, channels], at)
                network.end_pixel(i, j)
            if progress is not None:
                progress.update()
        return images


class _Cached:
    """What does not depend on the image is computed once, the rest once for each position."""

    def __init__(self, x, outputs, inputs, groups):
        self._x, self._outputs, self._groups = x, outputs, groups
        self._plan = Plan(x, outputs)
        # The image itself is an input for the sake of its size.
        self._fixed = theano.function(
            [x] + inputs, self._plan.fixed, on_unused_input="ignore", name="fixed part"
        )

    def __call__(self, images, values):
        fixed = dict(zip(self._plan.fixed, self._fixed(images, *values)))
        return Network(self._plan, self._x, self._outputs, fixed, images, self._groups)


class _Naive:
    """One full pass for each pixel and group; also the network that it runs."""

    def __init__(self, x, outputs, inputs, groups):
        self._pass = theano.function(
            [x] + inputs, outputs, on_unused_input="ignore", name="full pass"
        )

    def __call__(self, images, values):
        return _FullPasses(lambda: self._pass(images, *values))


class _FullPasses:
    def __init__(self, run: Callable[[], np.ndarray]):
        self._run = run

    def begin_row(self, i: int) -> None:
        """Nothing is kept."""

    def outputs(self, i: int, j: int, group: int) -> np.ndarray:
        return self._run()[:, :, i, j]

    def end_pixel(self, i: int, j: int) -> None:
        """Nothing is kept."""


METHODS: dict[str, Callable] = {"cached": _Cached, "naive": _Naive}
