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
    on_nan: str = "stop"
