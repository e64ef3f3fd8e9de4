"""Log-likelihoods of discrete pixels, in nats."""

from __future__ import annotations

import theano.tensor as T


def bernoulli_log_likelihood(logits, x):
    """log p(x) of binary pixels, summed over each image: logits and x (N, ...) -> (N,).

    Written with softplus so that saturated logits stay finite.
    """
    return (x * logits - T.nnet.softplus(logits)).flatten(2).sum(axis=1)


def categorical_log_likelihood(logits, x):
    """log p(x) of pixels with ``levels`` values, summed over each image.

    logits (N, levels, C, H, W), x (N, C, H, W) integers in 0..levels-1 -> (N,).
    """
    levels = logits.shape[1]
    rows = logits.dimshuffle(0, 2, 3, 4, 1).reshape((-1, levels))
    top = rows.max(axis=1, keepdims=True)
    log_total = T.log(T.exp(rows - top).sum(axis=1)) + top[:, 0]
    chosen = rows[T.arange(rows.shape[0]), T.cast(x, "int64").flatten()]
    return (chosen - log_total).reshape((x.shape[0], -1)).sum(axis=1)
