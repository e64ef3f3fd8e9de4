"""Pixel values as learned vectors (table E.2, "Embedding")."""

from __future__ import annotations

import numpy as np
import theano.tensor as T

from pixelvae.lib.ops.native import NativeOp, example, pixels


class Embed(NativeOp):
    """A vector for each pixel value, from a table.

    Inputs: x (N, C, H, W) of whole numbers from 0 to levels − 1; table (levels, E). Output:
    (N, E·C, H, W). Channel e·C + c is entry e of colour c, so that an index modulo C is a colour.
    Raises ValueError if a value is not in the table.

    Examples
    --------
    >>> table = np.array([[1.0, 2.0], [3.0, 4.0]])
    >>> embed(np.array([0, 1]).reshape(1, 1, 1, 2), table).eval().reshape(2, 2)
    array([[1., 3.],
           [2., 4.]])
    """

    header = "embedding.h"
    takes = {"x": "N C H W", "table": "levels E"}
    gives = {"y": "N E*C H W"}
    call = "embed(x, table, y, N, C, H * W, levels, E)"

    def reference(self, x, table):
        self.require(((x > -1) & (x < len(table))).all(), "a value is outside 0 ... levels - 1")
        n, _, h, w = x.shape
        vectors = table[x.astype(int)].transpose(0, 4, 1, 2, 3)  # (N, E, C, H, W)
        return vectors.reshape(n, -1, h, w)

    def meaning(self, x, table):
        n, colours, height, width = x.shape
        vectors = table[T.cast(x, "int64").flatten()]
        vectors = vectors.reshape((n, colours, height, width, table.shape[1]))
        whole = (n, table.shape[1] * colours, height, width)
        return vectors.dimshuffle(0, 4, 1, 2, 3).reshape(whole)

    def at_positions(self, x, table):
        # The table is given at any position: (..., levels, 1 or none, E).
        vectors = table.reshape(-1, table.shape[-1])[x.astype(int)]  # (..., C, E)
        return vectors.swapaxes(-1, -2).reshape(*x.shape[:-1], -1)

    def connect(self, x, table):
        return np.concatenate([x] * table.shape[-1], axis=-1)

    def grad(self, inputs, output_gradients):
        x, table = inputs
        return [T.DisconnectedType()(), EmbedGradient()(x, table, output_gradients[0])]

    def connection_pattern(self, node):
        return [[False], [True]]


class EmbedGradient(NativeOp):
    """The gradient of :class:`Embed` in its table: (x, table, gy (N, E·C, H, W)) -> (levels, E)."""

    header = "embedding.h"
    takes = {"x": "N C H W", "table": "levels E", "gy": "N E*C H W"}
    gives = {"gtable": "levels E"}
    call = "embed_gradient(x, gy, gtable, N, C, H * W, levels, E)"

    def reference(self, x, table, gy):
        n, c, h, w = x.shape
        total = np.zeros_like(table)
        vectors = gy.reshape(n, -1, c, h, w).transpose(0, 2, 3, 4, 1)
        np.add.at(total, x.astype(int), vectors)
        return total

    def meaning(self, x, table, gy):
        n, colours, height, width = x.shape
        vectors = gy.reshape((n, table.shape[1], colours, height, width)).dimshuffle(0, 2, 3, 4, 1)
        rows = T.zeros_like(table)[T.cast(x, "int64").flatten()]
        return T.inc_subtensor(rows, vectors.reshape((-1, table.shape[1])))


embed = Embed()
example("embedding", lambda table: embed(pixels(11), table), (11, 7))
