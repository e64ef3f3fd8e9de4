"""The bound and the importance-weighted likelihood of a data set, with standard errors over images.

All numbers are nats an image, accumulated in float64. The noise of an image is a function of the
seed, the purpose and the image's number within its split, so that the same call gives the same
numbers, neither the batches nor the other images that are evaluated change them beyond rounding,
and two models are compared on the same noise. The images are cut into units of work, which
processes may share (:func:`pixelvae.machine.parallel.world.share`): that changes nothing at all.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import theano
import theano.tensor as T

from pixelvae.lib import noise as random_noise
from pixelvae.lib.data import Dataset
from pixelvae.lib.model import Model, draw_image_noise, noise_variables
from pixelvae.lib.ops.gaussian import Gaussian
from pixelvae.lib.units import Unit
from pixelvae.machine.console.compiling import compiling
from pixelvae.machine.console.progress import Progress
from pixelvae.machine.errors import NotFiniteError, UserError
from pixelvae.machine.parallel.world import share


@dataclass(frozen=True)
class Evaluation:
    """Values of images in nats, float64 (N,): reconstruction, kl (and its parts), bound."""

    values: dict[str, np.ndarray]

    def mean(self, name: str) -> float:
        """Mean over the images."""
        return float(self.values[name].mean())

    def se(self, name: str) -> float:
        """Standard error of the mean over images; NaN for a single one, which has none."""
        v = self.values[name]
        return float(v.std(ddof=1) / np.sqrt(len(v))) if len(v) > 1 else float("nan")

    def measured_in(self, unit: Unit) -> Evaluation:
        """The same values in another unit than nats an image."""
        return Evaluation({name: v / unit.nats for name, v in self.values.items()})

    def means(self) -> dict[str, float]:
        """The mean of each by name."""
        return {name: self.mean(name) for name in self.values}

    def summary(self, name: str) -> dict[str, float]:
        """``{"mean": …, "se": …}`` as results.json holds it."""
        return {"mean": self.mean(name), "se": self.se(name)}


def evenly_spaced(dataset: Dataset, split: str, images: int | None = None) -> np.ndarray:
    """The numbers of ``images`` images of a split, evenly spaced, by default of all.

    Evenly, because sets may be sorted, as binarized MNIST's test set is.

    Raises
    ------
    UserError
        The split has fewer images, or none are asked for.
    """
    size = dataset.size(split)
    count = size if images is None else images
    if not 0 < count <= size:
        raise UserError(
            f"{count} images of the {split} split are asked for, and it has {size}: "
            f"choose from 1 to {size}",
            setting="images",
        )
    return np.arange(count) * size // count


def units(numbers: np.ndarray, size: int) -> list[np.ndarray]:
    """The numbers cut into units of work, ``size`` images each; the last may be smaller."""
    return [numbers[start : start + size] for start in range(0, len(numbers), size)]


def read(dataset: Dataset, split: str, numbers: np.ndarray) -> np.ndarray:
    """The images of a split by their rising numbers: uint8 (N, C, H, W); neighbours at once."""
    runs = np.split(numbers, np.flatnonzero(np.diff(numbers) != 1) + 1)
    return np.concatenate([dataset.images(split, int(r[0]), int(r[-1]) + 1) for r in runs])


class Bound:
    """The bound with α = 1, one posterior sample an image by default.

    Compiled at the first call at the latest, so that training starts without waiting for it.
    """

    def __init__(self, model: Model, seed: int, batch_size: int = 100):
        self._model, self._seed, self._batch_size = model, seed, batch_size
        self._function: Any = None

    def compile(self) -> None:
        """Compile it now, unless that has been done."""
        if self._function is not None:
            return
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
        self,
        dataset: Dataset,
        split: str,
        images: int | None = None,
        samples: int = 1,
        seed: int | None = None,
    ) -> Evaluation:
        """Evaluate a split, or ``images`` evenly spaced ones of it, averaging over samples.

        The seed is the one that this was made with, unless another is given.

        Raises
        ------
        NotFiniteError
            A value of an image is NaN or infinite; the message names split and image.
        UserError
            The split has fewer images.
        """
        self.compile()
        if not self._model.noise_shapes:
            samples = 1
        seed = self._seed if seed is None else seed
        parts = units(evenly_spaced(dataset, split, images), self._batch_size)
        results = share(
            lambda part: self._evaluate(dataset, split, parts[part], samples, seed), len(parts)
        )
        values = dict(zip(self._names, np.concatenate(results, axis=1)))
        kls = [v for name, v in values.items() if name != "reconstruction"]
        values["kl"] = np.sum(kls, axis=0) if kls else np.zeros_like(values["reconstruction"])
        values["bound"] = values["reconstruction"] + values["kl"]
        return Evaluation(values)

    def _evaluate(
        self, dataset: Dataset, split: str, numbers: np.ndarray, samples: int, seed: int
    ) -> np.ndarray:
        """One unit of work, a function of its arguments and the weights alone: (terms, N)."""
        batch = read(dataset, split, numbers)
        sums = np.zeros((len(self._names), len(numbers)))
        for sample in range(samples):
            noise = draw_image_noise(self._model, seed, f"{split} {sample}", numbers)
            sums += self._function(batch, *noise)
        for name, values in zip(self._names, sums):
            _check_finite(values, name, split, numbers.tolist())
        return sums / samples


@dataclass(frozen=True)
class TwoStages:
    """An importance-weighted estimate of a split in two stages.

    From ``few`` samples an image, and what more of them gain on some of its images.

    Parameters
    ----------
    whole
        Estimates in nats with ``few`` samples, of all images.
    gain
        By how much ``samples`` samples lower the estimate of an image; of some images.
    """

    few: int
    samples: int
    whole: Evaluation
    gain: Evaluation

    def measured_in(self, unit: Unit) -> TwoStages:
        """The same in another unit than nats an image."""
        whole, gain = self.whole.measured_in(unit), self.gain.measured_in(unit)
        return TwoStages(self.few, self.samples, whole, gain)

    def summary(self) -> dict[str, Any]:
        """Both, and their difference: an estimate of what all samples would give on all images.

        The error of the difference takes the two means to be independent.
        """
        whole, gain = self.whole.summary("importance_weighted"), self.gain.summary("gain")
        return {
            "few": {
                **whole,
                "samples": self.few,
                "images": len(self.whole.values["importance_weighted"]),
            },
            "gain": {**gain, "samples": self.samples, "images": len(self.gain.values["gain"])},
            "importance_weighted": {
                "mean": whole["mean"] - gain["mean"],
                "se": math.hypot(whole["se"], gain["se"]),
            },
        }


class ImportanceWeighted:
    """−log (1/S) Σ p(x, z_s) / q(z_s|x) of single images, z_s ~ q (Burda et al. 2015).

    z stands for all latents of the model. Table 1 has S = 5,000. The encoder runs once an image.
    Samples stream through in batches of ``batch_size``, so memory does not grow with S; the sum of
    exponentials is kept in float64 with its maximum taken out.

    Raises UserError for a model without latents, whose bound is exact.
    """

    def __init__(self, model: Model, seed: int, batch_size: int = 100):
        if not model.noise_shapes:
            raise UserError(f"{model.name} has no latent: its likelihood is exact, and its bound")
        self._seed, self._batch_size = seed, batch_size
        self._shapes = model.noise_shapes
        x = T.TensorType("uint8", (True, False, False, False))("image")
        noise = noise_variables(model)
        one = T.cast(x, theano.config.floatX)
        with compiling("the importance weights", len(model.parameters) // 2):
            moments = [v for q in model.posteriors(one).values() for v in (q.mean, q.log_sigma)]
            self._encode = theano.function([x], moments)
            given = {name: Gaussian(_row(v), _row(v)) for name, v in noise.items()}
            weights = model.log_weights(one, given, noise)
            inputs = [v for q in given.values() for v in (q.mean, q.log_sigma)]
            self._log_weights = theano.function([x, *inputs, *noise.values()], weights)

    def __call__(
        self,
        dataset: Dataset,
        split: str,
        samples: int,
        images: int | None = None,
        seed: int | None = None,
    ) -> Evaluation:
        """Estimates for a split, or for ``images`` evenly spaced ones of it, from S ``samples``.

        Under the name ``importance_weighted``; seed and exceptions are as :class:`Bound`'s.
        """
        return self._estimate(dataset, split, [samples], images, seed)[0]

    def in_two_stages(
        self, dataset: Dataset, split: str, few: int, samples: int, images: int
    ) -> TwoStages:
        """What S ``samples`` of each image would give, for the price of ``few`` samples of most.

        Every image of the split gets the first few samples alone, ``images`` evenly spaced ones get
        all. Raises as :class:`Bound` does, and ValueError unless few < samples.
        """
        if not few < samples:
            raise ValueError(f"{few} samples are not fewer than {samples}")
        [whole] = self._estimate(dataset, split, [few], None)
        first, last = self._estimate(dataset, split, [few, samples], images)
        name = "importance_weighted"
        gain = Evaluation({"gain": first.values[name] - last.values[name]})
        return TwoStages(few, samples, whole, gain)

    def _estimate(
        self,
        dataset: Dataset,
        split: str,
        samples: Sequence[int],
        images: int | None,
        seed: int | None = None,
    ) -> list[Evaluation]:
        """One evaluation for each number of samples.

        The larger ones begin with the smaller ones'.
        """
        numbers = evenly_spaced(dataset, split, images)
        mine: list[float] = []  # of those that this process estimates

        def estimate(image: int) -> list[float]:
            number = int(numbers[image])
            estimates = self._evaluate(
                dataset, split, number, samples, self._seed if seed is None else seed
            )
            mine.append(estimates[-1])
            return estimates

        with Progress(len(numbers), 0, unit="image") as bar:
            estimates = share(
                estimate, len(numbers), lambda count: bar.update(count, nll=float(np.mean(mine)))
            )
        return [Evaluation({"importance_weighted": v}) for v in np.array(estimates).T]

    def _evaluate(
        self, dataset: Dataset, split: str, number: int, samples: Sequence[int], seed: int
    ) -> list[float]:
        """One unit of work, a function of its arguments and the weights alone."""
        x = dataset.images(split, number, number + 1)
        moments = self._encode(x)
        draws = random_noise.generator(seed, f"{split} importance", number)
        sizes = [math.prod(shape) for shape in self._shapes.values()]
        total, drawn = LogSumExp(), 0
        estimates = []
        for count in samples:
            while drawn < count:
                size = min(self._batch_size, count - drawn)
                # A sample's noise is drawn for all latents at once, so that batches do not matter.
                flat = draws.standard_normal((size, sum(sizes)), dtype=np.float32)
                parts = np.split(flat, np.cumsum(sizes)[:-1], axis=1)
                noise = [v.reshape(size, *s) for v, s in zip(parts, self._shapes.values())]
                weights = self._log_weights(x, *moments, *noise)
                if not np.isfinite(weights).all():
                    _check_finite(weights, "importance weight", split, [number] * len(weights))
                total.add(weights)
                drawn += size
            estimates.append(float(np.log(count)) - total.value())
        return estimates


def _row(many):
    """A variable for one item of what the given variable has many of, (1, ...)."""
    return T.TensorType(many.dtype, (True, *many.broadcastable[1:]))()


def _check_finite(values: np.ndarray, what: str, split: str, numbers: Sequence[int]) -> None:
    for value, number in zip(values, numbers):
        if not np.isfinite(value):
            raise NotFiniteError(
                f"the {what} of image {number} of the {split} split is {value}, so no number is "
                "reported: take other weights"
            )


class LogSumExp:
    """log Σ exp(v) of values that come in batches, in float64, whatever their size.

    NaN if one of them is NaN.
    """

    def __init__(self) -> None:
        self._top, self._sum = -np.inf, 0.0

    def add(self, values: np.ndarray) -> None:
        """Take in more values, of any shape."""
        values = np.asarray(values, "float64")
        top = float(np.maximum(self._top, values.max()))
        if np.isfinite(top):
            self._sum = self._sum * np.exp(self._top - top) + float(np.exp(values - top).sum())
        elif not np.isneginf(top):
            self._sum = 1.0
        self._top = top

    def value(self) -> float:
        """Of all values so far; −∞ of none."""
        return self._top + float(np.log(self._sum)) if self._sum else self._top
