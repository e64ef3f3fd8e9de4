"""Residual blocks of the models for larger images, plain and masked, and their parts (section E.2).

Layers declare their parameters when made. Those that hold a batch norm are called with ``norm``, a
function of the :class:`BatchNorm` layer and its maps, which says whose statistics count:
:class:`BatchStatistics` while training, :class:`KnownStatistics` afterwards. Maps are (N, C, H, W).
"""

from __future__ import annotations

from collections.abc import Sequence

from pixelvae.lib.layers.conv import Conv
from pixelvae.lib.layers.norm import BatchNorm, Norm
from pixelvae.lib.layers.parameters import Parameters
from pixelvae.lib.ops.elu import elu
from pixelvae.lib.ops.gate import gate


def depth_to_space(x):
    """(N, 4C, H, W) -> (N, C, 2H, 2W), the rearrangement of subpixel convolution.

    The four C's fill the corners of each square of four.

    Examples
    --------
    >>> depth_to_space(T.arange(4).reshape((1, 4, 1, 1))).eval()
    array([[[[0, 1],
             [2, 3]]]])
    """
    n, c, h, w = x.shape[0], x.shape[1] // 4, x.shape[2], x.shape[3]
    squares = x.reshape((n, 2, 2, c, h, w)).dimshuffle(0, 3, 4, 1, 5, 2)
    return squares.reshape((n, c, 2 * h, 2 * w))


class ResidualBlock:
    """ELU, convolution, ELU, convolution, batch norm; plus the shortcut (He et al. 2016).

    ``resample``: "down" has stride 2 in the second convolution, "up" is a subpixel convolution in
    the first. The shortcut is a 1x1 convolution, resampled alike, where width or size changes.

    Examples
    --------
    >>> from pixelvae.lib.layers.norm import KnownStatistics
    >>> block = ResidualBlock(Parameters(seed=0), "block", inputs=2, outputs=4, resample="down")
    >>> block(np.ones((1, 2, 4, 4)), KnownStatistics(own=0.0)).eval().shape
    (1, 4, 2, 2)
    """

    def __init__(
        self, p: Parameters, name: str, inputs: int, outputs: int, resample: str | None = None
    ):
        self._up = resample == "up"
        more, stride = (4 if self._up else 1), (2 if resample == "down" else 1)
        middle = outputs if self._up else inputs
        self.first = Conv(p, f"{name}.conv1", inputs, more * middle, 3, weight_norm=False)
        self.second = Conv(
            p, f"{name}.conv2", middle, outputs, 3, stride=stride, weight_norm=False, bias=False
        )
        self.norm = BatchNorm(p, f"{name}.norm", outputs)
        self.shortcut = None
        if resample or inputs != outputs:
            self.shortcut = Conv(
                p, f"{name}.shortcut", inputs, more * outputs, 1, stride=stride, he=False
            )

    def __call__(self, x, norm: Norm):
        h, short = self.first(elu(x)), x if self.shortcut is None else self.shortcut(x)
        if self._up:
            h, short = depth_to_space(h), depth_to_space(short)
        return short + norm(self.norm, self.second(elu(h)))


class Stages:
    """Residual blocks at one size after another.

    ``stages`` are pairs (width, number of blocks); between two of them a block resamples, "down" or
    "up".

    Examples
    --------
    >>> from pixelvae.lib.layers.norm import KnownStatistics
    >>> stages = Stages(Parameters(seed=0), "encoder", [(2, 1), (4, 1)], "down")
    >>> stages(np.ones((1, 2, 4, 4)), KnownStatistics(own=0.0)).eval().shape
    (1, 4, 2, 2)
    """

    def __init__(self, p: Parameters, name: str, stages: Sequence[tuple[int, int]], resample: str):
        self.blocks, width = [], None
        for i, (outputs, count) in enumerate(stages, start=1):
            if width is not None:
                block = f"{name}.{resample}{i - 1}"
                self.blocks.append(ResidualBlock(p, block, width, outputs, resample))
            width = outputs
            for j in range(1, count + 1):
                block = f"{name}.stage{i}.block{j}"
                self.blocks.append(ResidualBlock(p, block, width, width))

    def __call__(self, x, norm: Norm):
        for block in self.blocks:
            x = block(x, norm)
        return x


class MaskedResidualBlock:
    """ELU, masked convolutions a and b, tanh(a)·σ(b), a masked convolution; plus the shortcut.

    Examples
    --------
    >>> block = MaskedResidualBlock(Parameters(seed=0), "block", 2, 4, kernel=3, groups=1)
    >>> block(np.ones((1, 2, 4, 4))).eval().shape
    (1, 4, 4, 4)
    """

    def __init__(
        self, p: Parameters, name: str, inputs: int, outputs: int, kernel: int, groups: int
    ):
        self.first = Conv(
            p, f"{name}.conv1", inputs, outputs, kernel, mask="B", groups=groups, blocks=2
        )
        self.second = Conv(p, f"{name}.conv2", outputs, outputs, kernel, mask="B", groups=groups)
        self.shortcut = None
        if inputs != outputs:
            self.shortcut = Conv(
                p, f"{name}.shortcut", inputs, outputs, 1, mask="B", groups=groups, he=False
            )

    def __call__(self, x):
        h = gate(self.first.without_bias(elu(x)), self.first.b)
        return self.second(h, acc=x if self.shortcut is None else self.shortcut(x))
