"""The bound and the importance-weighted likelihood of a data set, with standard errors over images.

All numbers are nats an image, accumulated in float64. Noise depends on the seed alone, so that the same call
gives the same numbers, and two models are compared on the same noise.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import theano
import theano.tensor as T

from lib import noise as random_noise
from lib.console.compiling import compiling
from lib.console.progress import Progress
from lib.errors import UserError
from lib.model import Model, Unit, noise_variables


@dataclass(frozen=True)
class Evaluation:
    """Per-image values in nats, float64 (N,): reconstruction, kl (and its levels), bound."""

    values: dict[str, np.ndarray]

    def mean(self, name: str) -> float:
        return float(self.values[name].mean())

    def se(self, name: str) -> float:
        """Standard error of the mean over images."""
        v = self.values[name]
        return float(v.std(ddof=1) / np.sqrt(len(v))) if len(v) > 1 else float("nan")

    def measured_in(self, unit: Unit) -> Evaluation:
        """The same values in another unit than nats an image."""
        return Evaluation({name: v / unit.nats for name, v in self.values.items()})

    def means(self) -> dict[str, float]:
        return {name: self.mean(name) for name in self.values}

    def summary(self, name: str) -> dict[str, float]:
        """``{"mean": …, "se": …}`` as results.json holds it."""
        return {"mean": self.mean(name), "se": self.se(name)}


def limit(dataset, split: str, images: int | None) -> int:
    """How many images to evaluate: all, or the first ``images``. Raises UserError beyond the split's size."""
    size = dataset.size(split)
    if images is None:
        return size
    if images > size:
        raise UserError(f"--images {images} is more than the {size} images of the {split} split")
    return images


class Bound:
    """The bound with α = 1; calling it evaluates a split, one posterior sample an image unless told otherwise.

    Compiled at the first call, so that training starts without waiting for it.
    """

    def __init__(self, model: Model, seed: int, batch_size: int = 100):
        self._model, self._seed, self._batch_size = model, seed, batch_size
        self._function: Any = None

    def _compile(self):
        images = T.tensor4("images", dtype="uint8")
        noise = noise_variables(self._model)
        terms = self._model.terms(T.cast(images, theano.config.floatX), noise)
        self._names = ["reconstruction", *terms.kls]
        with compiling("the bound", len(self._model.parameters) // 2):
            self._function = theano.function(
                [images, *noise.values()],
                [terms.reconstruction, *terms.kls.values()],
            )

    def __call__(
        self, dataset, split: str, images: int | None = None, samples: int = 1
    ) -> Evaluation:
        """Evaluates the first ``images`` of a split (all by default), averaging over posterior samples."""
        if self._function is None:
            self._compile()
        total = limit(dataset, split, images)
        if not self._model.noise_shapes:
            samples = 1
        sums = np.zeros((len(self._names), total))
        for sample in range(samples):
            start = 0
            for index, batch in enumerate(dataset.batches(split, self._batch_size)):
                batch = batch[: total - start]
                if not len(batch):
                    break
                draw = [
                    random_noise.standard_normal(
                        self._seed, f"{split} {name} {sample}", index, (len(batch), *shape)
                    )
                    for name, shape in self._model.noise_shapes.items()
                ]
                sums[:, start : start + len(batch)] += self._function(batch, *draw)
                start += len(batch)
        values = dict(zip(self._names, sums / samples))
        kls = [v for name, v in values.items() if name != "reconstruction"]
        values["kl"] = np.sum(kls, axis=0) if kls else np.zeros(total)
        values["bound"] = values["reconstruction"] + values["kl"]
        return Evaluation(values)


class ImportanceWeighted:
    """−log (1/S) Σ p(x, z_s) / q(z_s|x) of single images, z_s ~ q (Burda et al. 2015; table 1 with S = 5,000).

    The encoder runs once an image. Samples stream through in batches of ``batch_size``, so memory does not grow
    with S; the sum of exponentials is kept in float64 with its maximum taken out.
    """

    def __init__(self, model, seed: int, batch_size: int = 100):
        self._model, self._seed, self._batch_size = model, seed, batch_size
        x = T.TensorType("uint8", (True, False, False, False))("image")
        noise = T.matrix("noise")
        one = T.cast(x, theano.config.floatX)
        with compiling("the importance weights", len(model.parameters) // 2):
            self._encode = theano.function([x], _parts(model.encode(one)))
            mean, log_sigma = T.row("mean"), T.row("log_sigma")
            weights = model.log_weights(one, mean, log_sigma, noise)
            self._log_weights = theano.function([x, mean, log_sigma, noise], weights)

    def __call__(self, dataset, split: str, samples: int, images: int | None = None) -> Evaluation:
        """Estimates for the first ``images`` of a split, under the name ``importance_weighted``."""
        total = limit(dataset, split, images)
        estimates = np.empty(total)
        with Progress(total, 0, unit="image") as bar:
            for n in range(total):
                x = dataset.images(split, n, n + 1)
                mean, log_sigma = self._encode(x)
                accumulated = LogSumExp()
                for index, start in enumerate(range(0, samples, self._batch_size)):
                    count = min(self._batch_size, samples - start)
                    purpose = f"{split} importance {n}"
                    noise = random_noise.standard_normal(
                        self._seed, purpose, index, (count, self._model.latent_dim)
                    )
                    accumulated.add(self._log_weights(x, mean, log_sigma, noise))
                estimates[n] = np.log(samples) - accumulated.value()
                bar.update(1, nll=float(estimates[: n + 1].mean()))
        return Evaluation({"importance_weighted": estimates})


def _parts(gaussian):
    return [gaussian.mean, gaussian.log_sigma]


class LogSumExp:
    """log Σ exp(v) of values that come in batches, in float64, whatever their size."""

    def __init__(self) -> None:
        self._top, self._sum = -np.inf, 0.0

    def add(self, values: np.ndarray) -> None:
        values = np.asarray(values, "float64")
        top = max(self._top, float(values.max()))
        if np.isneginf(top):
            return
        self._sum = self._sum * np.exp(self._top - top) + float(np.exp(values - top).sum())
        self._top = top

    def value(self) -> float:
        return self._top + float(np.log(self._sum)) if self._sum else -np.inf
