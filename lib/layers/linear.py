"""Weight-normalised linear layers."""

from __future__ import annotations

import numpy as np
import theano.tensor as T

from lib.layers import initial
from lib.layers.parameters import Parameters, check_size
from lib.ops.weight_norm import WeightNorm


class Linear:
    """Weight-normalised linear layer, (N, inputs) -> (N, outputs).

    With ``blocks`` it stands for that many separate layers of ``outputs // blocks`` outputs side by side: weight
    normalisation works output by output, so only the initial values know the difference.
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
        check_size((outputs, inputs))
        v = [initial.linear(p.rng, outputs // blocks, inputs, glorot) for _ in range(blocks)]
        self.v, self.g = p.new_normed(name, np.concatenate(v))
        self.b = p.new(f"{name}.b", np.zeros(outputs))

    def __call__(self, x):
        w = WeightNorm(1)(self.v.dimshuffle(0, 1, "x"), self.g)
        return T.dot(x, w[:, :, 0].T) + self.b
