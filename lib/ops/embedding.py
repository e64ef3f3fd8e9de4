"""Pixel values as learned vectors (table E.2, "Embedding")."""

from __future__ import annotations

import numpy as np
import theano.tensor as T

from lib.ops._fused import FusedOp


class Embed(FusedOp):
    """Inputs: x (N, C, H, W) of whole numbers from 0 to levels − 1, table (levels, E). Output: (N,
    E·C, H, W).

    Channel e·C + c is entry e of colour c, so that an index modulo C is a colour. A value outside
    the table raises ValueError.
    """

    header = "embedding.h"
    ranks = (4, 2)
    sizes = "const long N = d0[0], C = d0[1], size = d0[2] * d0[3], levels = d1[0], E = d1[1];"
    fits = "true"
    results = ("N, E * C, d0[2], d0[3]",)
    call = "embed(a0, a1, r0, N, C, size, levels, E)"

    def infer_shape(self, node, shapes):
        (n, c, h, w), (_, e) = shapes
        return [(n, e * c, h, w)]

    def perform(self, node, inputs, outputs, params=None):
        x, table = inputs
        self.require(((x > -1) & (x < len(table))).all())
        n, c, h, w = x.shape
        vectors = table[x.astype(int)].transpose(0, 4, 1, 2, 3)  # (N, E, C, H, W)
        outputs[0][0] = np.ascontiguousarray(vectors.reshape(n, -1, h, w))

    def grad(self, inputs, output_gradients):
        x, table = inputs
        return [T.DisconnectedType()(), EmbedGradient()(x, table, output_gradients[0])]

    def connection_pattern(self, node):
        return [[False], [True]]


class EmbedGradient(FusedOp):
    """The gradient of :class:`Embed` in its table: (x, table, gy (N, E·C, H, W)) -> (levels, E)."""

    header = "embedding.h"
    ranks = (4, 2, 4)
    sizes = Embed.sizes
    fits = "(d2[0] == N && d2[1] == E * C && d2[2] == d0[2] && d2[3] == d0[3])"
    results = ("levels, E",)
    call = "embed_gradient(a0, a2, r0, N, C, size, levels, E)"

    def infer_shape(self, node, shapes):
        return [shapes[1]]

    def perform(self, node, inputs, outputs, params=None):
        x, table, g = inputs
        n, c, h, w = x.shape
        self.require(g.shape == (n, c * table.shape[1], h, w))
        total = np.zeros_like(table)
        vectors = g.reshape(n, -1, c, h, w).transpose(0, 2, 3, 4, 1)
        np.add.at(total, x.astype(int), vectors)
        outputs[0][0] = total


embed = Embed()
