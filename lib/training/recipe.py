"""How a model is trained. Imports no Theano."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Recipe:
    """How to train.

    Parameters
    ----------
    schedule
        Gives the learning rate and the model's other scalars at iteration t >= 1.
    clip_norm
        Bounds the global norm of the gradient (the larger models).
    clip_entry
        Bounds each entry of the gradient (MNIST), after its norm.
    statistics_batches
        How many training batches a model's moving statistics are averaged over before an
        evaluation; 0 for models that have none.
    average_decay
        Evaluate (and keep as the best) the exponential moving average of the weights with this
        decay, rather than the last ones. It starts faster: the decay is at most (1 + t) / (10 + t)
        at iteration t.
    rate_warmup
        The learning rate rises from 0 in a straight line over the first so many steps, while Adam
        knows little of the gradients' sizes and moves every parameter by about the learning rate
        (Ma & Yarats 2021 recommend 2 / (1 - β₂) = 2,000). A run that begins with trained weights
        begins with new moments, too.
    weight_decay
        Each step first takes this times the learning rate off the weights (Loshchilov & Hutter
        2019); off none of biases, batch norm, or the directions of weight-normalised weights.
    dropout
        The share of a network's maps that is set to 0, drawn for each image and map (Srivastava et
        al. 2014; whole maps as by Tompson et al. 2015); the others grow to make up for it.
    shifted, mirrored
        The share of training images that are moved by a pixel to one of the eight sides, and that
        are turned from left to right.
    on_nan
        "stop" at the first step that is not finite, or "skip" it.
    """

    iterations: int
    batch_size: int
    eval_every: int
    seed: int
    schedule: Callable[[int], Mapping[str, float]]
    clip_entry: float | None = None
    clip_norm: float | None = None
    evaluation_batch: int = 100
    statistics_batches: int = 0
    average_decay: float | None = None
    rate_warmup: int | None = None
    weight_decay: float | None = None
    dropout: float | None = None
    shifted: float | None = None
    mirrored: float | None = None
    on_nan: str = "stop"
