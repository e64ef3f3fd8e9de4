"""Weight-normalised linear layers."""

from __future__ import annotations

import numpy as np
import theano.tensor as T

from pixelvae.lib.layers import initial
from pixelvae.lib.layers.parameters import Parameters
from pixelvae.lib.ops.weight_norm import WeightNorm


class Linear:
    """Weight-normalised linear layer, (N, inputs) -> (N, blocks·outputs).

    ``blocks`` layers share the input; their outputs lie side by side. Weight normalisation works
    output by output, so only the initial values differ from those of one large layer.

    Examples
    --------
    >>> linear = Linear(Parameters(seed=0), "linear", inputs=3, outputs=2, blocks=2)
    >>> linear(np.ones((1, 3))).eval().shape
    (1, 4)
    """

    def __init__(
        self,
        p: Parameters,
        name: str,
        inputs: int,
        outputs: int,
        blocks: int = 1,
        glorot: bool = False,
    ):
        def draw(rng: np.random.RandomState) -> np.ndarray:
            each = [initial.linear(rng, outputs, inputs, glorot) for _ in range(blocks)]
            return np.concatenate(each)

        self.v, self.g = p.new_normed(name, (blocks * outputs, inputs), draw)
        self.b = p.new(f"{name}.b", (blocks * outputs,), 0)

    def __call__(self, x):
        w = WeightNorm(1)(self.v.dimshuffle(0, 1, "x"), self.g)
        # Not w[:, :, 0], whose gradient is copied into zeros.
        return T.dot(x, w.flatten(2).T) + self.b
