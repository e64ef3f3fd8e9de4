"""The gated two-stack layer of the PixelCNN (van den Oord et al. 2016b; table E.1)."""

from __future__ import annotations

import theano.tensor as T

from pixelvae.lib.layers.conv import Conv
from pixelvae.lib.layers.parameters import Parameters
from pixelvae.lib.ops.gate import gate


class GatedLayer:
    """One layer of the gated two-stack PixelCNN (van den Oord et al. 2016b; table E.1).

    The vertical stack sees the rows up to its own; the horizontal stack sees the pixels to the left
    (and with ``mask`` "B" its own) and, through the 1x1 convolution, the vertical stack of the row
    above::

        vertical 3x3   horizontal, mask A   horizontal, mask B
          x x x          . . .                . . .
          x x x          x . .                x x .
          . . .

    The first layer, whose input is the image, has mask A, and no residual connection.

    Examples
    --------
    >>> layer = GatedLayer(Parameters(seed=0), "layer", 1, 2, kernel=3, mask="A")
    >>> x = np.ones((1, 1, 4, 4))
    >>> [stack.eval().shape for stack in layer(x, x)]
    [(1, 2, 4, 4), (1, 2, 4, 4)]
    """

    def __init__(self, p: Parameters, name: str, inputs: int, width: int, kernel: int, mask: str):
        self.residual = mask == "B"
        self.vertical = Conv(p, f"{name}.vertical", inputs, 2 * width, kernel, mask="rows")
        self.above = Conv(p, f"{name}.above", 2 * width, 2 * width, 1, reach=(3, 1))
        self.horizontal = Conv(p, f"{name}.horizontal", inputs, 2 * width, (1, kernel), mask=mask)
        self.out = Conv(p, f"{name}.out", width, width, 1)

    def __call__(self, vertical, horizontal, conditions=(0, 0), kept=None):
        """The two stacks, (N, C, H, W) each, one layer on.

        ``conditions``: what the latent adds inside the vertical and the horizontal gate, (N, 2D)
        each. ``kept``: the factors by which dropout multiplies what leaves each, (N, 2D) for both.
        """
        rows = self.vertical.without_bias(vertical)
        # The stack's own zero row on top has the bias as its value after the convolution. Adding
        # the bias late, here and below, makes that row zero, which is what the convolution that
        # looks one row up reads there.
        on_vertical = gate(rows, self.vertical.b + conditions[0])
        constant = T.dot(self.above.weights()[:, :, 0], self.vertical.b)
        bias = self.horizontal.b + self.above.b + constant
        y = self.horizontal.without_bias(horizontal, acc=self.above.without_bias(rows))
        on_horizontal = gate(y, bias + conditions[1])
        if kept is not None:
            factors = kept.reshape((kept.shape[0], 2, -1, 1, 1), ndim=5)
            on_vertical, on_horizontal = on_vertical * factors[:, 0], on_horizontal * factors[:, 1]
        residual = horizontal if self.residual else None
        return on_vertical, self.out(on_horizontal, acc=residual)
