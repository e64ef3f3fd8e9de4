"""The softmax over a pixel's levels: log-likelihoods in nats, of logits or of maps below them."""

from __future__ import annotations

import numpy as np
import theano.tensor as T
from scipy.special import logsumexp

from pixelvae.lib.ops.bias import ChannelSums
from pixelvae.lib.ops.conv import Correlate, CorrelateInputs, CorrelateWeights
from pixelvae.lib.ops.native import MAPS, NativeOp, example, pixels


class Categorical(NativeOp):
    """log softmax of the logits at the levels that pixels have.

    Inputs: logits (N, levels·C, H, W), whose channel k·C + c belongs to level k of colour c; x
    (N, C, H, W), whole numbers from 0 to levels − 1. Outputs: log p(x), summed over each image,
    (N,); the logarithms of the softmax's denominators, (N, C, H, W), through which no gradient
    flows. Raises ValueError if a pixel has another value.

    Examples
    --------
    >>> log_p, norms = Categorical()(np.zeros((1, 4, 1, 1)), np.ones((1, 1, 1, 1)))
    >>> log_p.eval().round(3)  # −log 4
    array([-1.386])
    """

    header = "categorical.h"
    takes = {"logits": "N levels*C H W", "x": "N C H W"}
    gives = {"log_p": "N", "norms": "N C H W"}
    call = "categorical(logits, x, log_p, norms, N, levels, C * H * W)"

    def reference(self, logits, x):
        per_level = _per_level(logits, x)
        levels = per_level.shape[1]
        self.require(((x > -1) & (x < levels)).all(), "a value is outside 0 ... levels - 1")
        norms = logsumexp(per_level, axis=1)
        chosen = np.take_along_axis(per_level, x.astype(int)[:, None], axis=1)[:, 0]
        return (chosen - norms).sum(axis=(1, 2, 3)), norms

    def meaning(self, logits, x):
        per_level, chosen = _chosen(logits, x)
        top = per_level.max(axis=1, keepdims=True)
        norms = T.log(T.exp(per_level - top).sum(axis=1)) + top[:, 0]
        log_p = T.switch(chosen, per_level, 0).sum(axis=1) - norms
        return [log_p.sum(axis=(1, 2, 3)), norms]

    def grad(self, inputs, output_gradients):
        logits, x = inputs
        norms = self(logits, x)[1]
        gradient = CategoricalGradient()(logits, x, norms, output_gradients[0])
        return [gradient, T.DisconnectedType()()]

    def connection_pattern(self, node):
        return [[True, False], [False, False]]


class CategoricalGradient(NativeOp):
    """Gradient of :class:`Categorical`: (logits, x, denominators, g (N,)) -> as the logits."""

    header = "categorical.h"
    takes = {"logits": "N levels*C H W", "x": "N C H W", "norms": "N C H W", "g": "N"}
    gives = {"glogits": "N levels*C H W"}
    call = "categorical_gradient(logits, x, norms, g, glogits, N, levels, C * H * W)"

    def reference(self, logits, x, norms, g):
        per_level = _per_level(logits, x)
        levels = np.arange(per_level.shape[1])[:, None, None, None]
        gradient = (levels == x[:, None]) - np.exp(per_level - norms[:, None])
        return (g[:, None, None, None, None] * gradient).reshape(logits.shape)

    def meaning(self, logits, x, norms, g):
        per_level, chosen = _chosen(logits, x)
        gradient = chosen - T.exp(per_level - norms.dimshuffle(0, "x", 1, 2, 3))
        return (g.dimshuffle(0, "x", "x", "x", "x") * gradient).reshape(logits.shape)


def _per_level(logits, x):
    """The logits as (N, levels, C, H, W)."""
    n, c, h, w = x.shape
    return logits.reshape((n, logits.shape[1] // c, c, h, w))


def _chosen(logits, x):
    """The logits by level, and for each of them whether the pixel has that level."""
    per_level = _per_level(logits, x)
    # Levels are counted by a sum, which a GPU computes itself; a range would be sent from the host.
    levels = T.cumsum(T.ones((per_level.shape[1],), x.dtype)) - 1
    return per_level, T.eq(levels.dimshuffle("x", 0, "x", "x", "x"), x.dimshuffle(0, "x", 1, 2, 3))


class CategoricalOfMaps(NativeOp):
    """:class:`Categorical` of logits that are a 1x1 convolution, which are never stored.

    They would be the largest array of a model. Inputs: h (N, D, H, W); w (levels·C, D, 1); bias
    (levels·C,) or None; x (N, C, H, W). Outputs and exceptions: as :class:`Categorical`'s.

    Examples
    --------
    >>> h, w, x = np.ones((1, 2, 1, 1)), np.zeros((4, 2, 1)), np.ones((1, 1, 1, 1))
    >>> CategoricalOfMaps()(h, w, None, x)[0].eval().round(3)
    array([-1.386])
    """

    header = "categorical_of_maps.h"
    takes = {"h": "N D H W", "w": "levels*C D 1", "bias": "levels*C?", "x": "N C H W"}
    gives = Categorical.gives
    call = "wide::categorical_of_maps(h, w, bias, x, log_p, norms, N, D, C, levels, H * W)"

    def reference(self, h, w, bias, x):
        return Categorical().reference(_ONE_BY_ONE.reference(h, w, bias, None), x)

    def meaning(self, h, w, bias, x):
        return Categorical()(_ONE_BY_ONE(h, w, bias), x)

    def grad(self, inputs, output_gradients):
        h, w, bias, x = self.given(inputs)
        norms = self(h, w, bias, x)[1]
        gradients = CategoricalOfMapsGradient()(h, w, bias, x, norms, output_gradients[0])
        gradients[1] = T.patternbroadcast(gradients[1], w.broadcastable)
        none = T.DisconnectedType()()
        return [*gradients[:2], none if bias is None else gradients[2], none]

    def connection_pattern(self, node):
        bias = self.given(node.inputs)[2]
        return [[True, False], [True, False], [bias is not None, False], [False, False]]


class CategoricalOfMapsGradient(NativeOp):
    """Gradients of :class:`CategoricalOfMaps`: (its inputs, norms, g (N,)) -> of h, w and bias."""

    header = "categorical_of_maps.h"
    takes = {**CategoricalOfMaps.takes, "norms": "N C H W", "g": "N"}
    gives = {"gh": "N D H W", "gw": "levels*C D 1", "gb": "levels*C"}
    call = (
        "wide::categorical_of_maps_gradient"
        "(h, w, bias, x, norms, g, gh, gw, gb, N, D, C, levels, H * W)"
    )

    def reference(self, h, w, bias, x, norms, g):
        logits = _ONE_BY_ONE.reference(h, w, bias, None)
        gl = CategoricalGradient().reference(logits, x, norms, g)
        gh = CorrelateInputs(1, 1, 1).reference(gl, w, *h.shape[2:], None, None)
        return [gh, CorrelateWeights(1, 1, 1).reference(h, gl), ChannelSums().reference(gl)]

    def meaning(self, h, w, bias, x, norms, g):
        gl = CategoricalGradient()(_ONE_BY_ONE(h, w, bias), x, norms, g)
        gh = CorrelateInputs(1, 1, 1)(gl, w, h.shape[2], h.shape[3])
        return [gh, CorrelateWeights(1, 1, 1)(h, gl), ChannelSums()(gl)]


_ONE_BY_ONE = Correlate(1, 1, 1)


def categorical_log_likelihood(logits, x):
    """log p(x) of pixels by a softmax over their levels, summed over each image: (N,).

    See :class:`Categorical`. Logits that are a 1x1 convolution are made where they are used alone.

    Examples
    --------
    >>> categorical_log_likelihood(T.zeros((1, 4, 1, 1)), T.ones((1, 1, 1, 1))).eval()
    array([-1.3862944], dtype=float32)
    """
    convolution = logits.owner
    if convolution and convolution.op == _ONE_BY_ONE:
        *maps, acc = _ONE_BY_ONE.given(convolution.inputs)
        if acc is None:
            return CategoricalOfMaps()(*maps, x)[0]
    return Categorical()(logits, x)[0]


example(
    "softmax likelihood",
    lambda logits: categorical_log_likelihood(logits, pixels(11)),
    (4, 33, 9, 8),
)
example(
    "softmax likelihood of maps",
    lambda h, w, bias: categorical_log_likelihood(_ONE_BY_ONE(h, w, bias), pixels(11)),
    MAPS,
    (33, 3, 1),
    (33,),
)
