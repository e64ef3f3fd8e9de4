"""Moving statistics of batch norm, averaged over training batches just before a model is tested."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import theano
import theano.tensor as T

from lib.console.compiling import compiling
from lib.model import noise_variables


class MovingStatistics:
    """Sets a model's moving statistics to averages over batches; compiled at the first call."""

    def __init__(self, model) -> None:
        self._model: Any = model
        self._function: Any = None

    def _compile(self) -> None:
        images, noise = T.tensor4("images", dtype="uint8"), noise_variables(self._model)
        values = self._model.statistics(T.cast(images, theano.config.floatX), noise)
        self._targets = list(values)
        with compiling("the batch statistics", len(self._model.parameters) // 2):
            self._function = theano.function(
                [images, *noise.values()],
                T.concatenate([v.flatten() for v in values.values()]),
                on_unused_input="ignore",  # what the last levels draw touches no statistic
            )

    def __call__(self, batches: Iterable[tuple[np.ndarray, list[np.ndarray]]]) -> None:
        """Averages over batches of images (N, C, H, W) with their noise; each counts alike."""
        if self._function is None:
            self._compile()
        total, count = np.zeros(()), 0
        for images, noise in batches:
            total = total + np.asarray(self._function(images, *noise), "float64")
            count += 1
        start = 0
        for target in self._targets:
            size = target.get_value(borrow=True).size
            target.set_value((total[start : start + size] / count).astype(target.dtype))
            start += size
