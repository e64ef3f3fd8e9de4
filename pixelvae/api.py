"""PixelVAE in Python: load a model, and encode, decode, sample and weigh images, NumPy in and out.

For example::

    import pixelvae

    m = pixelvae.load("gated-pixelvae-noup")
    x = pixelvae.open_dataset("binarized_mnist").images("test", 0, 100)
    m.bound(x).mean(), m.log_likelihood(x, importance_samples=50).mean()

Images are uint8 (N, C, H, W) with values 0 … levels − 1. What the command line computes goes
through the same functions: the images here are the first of a test split to it. All that is random
is a function of the weights, the seed and an image's place among those given. The examples below
are of a model ``m`` of 28×28 binary images with 2 latent dimensions, and of 3 images ``x``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cached_property
from types import MappingProxyType
from typing import Any, NamedTuple, Union

import numpy as np
import theano
import theano.tensor as T

from pixelvae.datasets import open_dataset
from pixelvae.datasets.memory import InMemory
from pixelvae.lib.evaluation import Bound, ImportanceWeighted
from pixelvae.lib.model import Model
from pixelvae.lib.sampling.images import ImageSampler
from pixelvae.machine.backend import device
from pixelvae.machine.console.compiling import compiling
from pixelvae.machine.errors import UserError
from pixelvae.machine.threads import queued
from pixelvae.models import weights as trained

__all__ = ["Moments", "PixelVAE", "UserError", "load", "open_dataset"]


class Moments(NamedTuple):
    """A diagonal Gaussian over a latent: float32 (N, ...) each."""

    mean: np.ndarray
    log_sigma: np.ndarray


Posteriors = Union[Moments, "tuple[Moments, ...]"]


@queued
def load(path: Any, **modes: str) -> PixelVAE:
    """The model of a NAME from ``pretrained/``, a RUN's folder or a weights FILE, of any family.

    Parameters
    ----------
    path
        NAME, RUN or FILE.
    modes
        How it is evaluated; for larger images ``batch_norm="blend"`` (as the released code does,
        the default) or ``"moving"``.

    Raises
    ------
    UserError
        There are no such weights, or they are damaged.

    Examples
    --------
    >>> pixelvae.load("conv-vae").image_shape
    (1, 28, 28)
    """
    return PixelVAE(trained.load(str(path), None, **modes), modes)


def _restored(
    arrays: Mapping[str, np.ndarray], header: Mapping[str, Any], modes: Mapping[str, str]
) -> PixelVAE:
    """What :meth:`PixelVAE.__reduce__` took apart."""
    return PixelVAE(trained.assemble("the pickled model", (arrays, header), None, **modes), modes)


class PixelVAE:
    """A trained model; :func:`load` gives one. Compiles what is used at its first use, once.

    Any thread may call it, and gets what it would get alone: calls of all models queue, compiling
    too. It works in a forked process (with one thread of OpenMP's if the model was used before the
    fork), and can be pickled or copied; the copy compiles again.

    ``name``, ``image_shape`` (C, H, W), ``levels`` (values that a pixel can have) and
    ``latent_shapes`` (the shape of each latent for one image, by name) describe it.
    """

    def __init__(self, weights: trained.Weights, modes: Mapping[str, str] = MappingProxyType({})):
        self._weights, self._modes = weights, dict(modes)
        self._model: Model = weights.model
        self._batch = weights.family.evaluation_batch
        self.name: str = self._model.name
        self.image_shape: tuple[int, int, int] = self._model.image_shape
        self.levels: int = self._model.levels
        self.latent_shapes: dict[str, tuple[int, ...]] = dict(self._model.noise_shapes)

    def __reduce__(self) -> tuple[Any, ...]:
        header = {**self._weights.header, "model": self._model.header()}
        return _restored, (self._model.parameters.arrays(), header, self._modes)

    @queued
    def encode(self, x: np.ndarray) -> Posteriors:
        """Mean and log sigma of q(z|x) (section 3); with two latents of q(z₁|x) and q(z₂|x) (3.1).

        Parameters
        ----------
        x
            Images (N, C, H, W), whole numbers from 0 to levels − 1.

        Returns
        -------
        A pair (mean, log_sigma), float32 (N, K) each; with two latents a tuple of two such pairs,
        z₁ first, whose maps are (N, K, h, w).

        Raises
        ------
        UserError
            The images are not such ones, or the model has no latent.

        Examples
        --------
        >>> mean, log_sigma = m.encode(x)
        >>> mean.shape, log_sigma.shape
        ((3, 2), (3, 2))
        """
        pairs = self._posteriors(x)
        return pairs if len(pairs) > 1 else pairs[0]

    @queued
    def decode(self, z: np.ndarray, seed: int = 0) -> np.ndarray:
        """An image drawn from p(x|z) for each z (section 3): uint8 (N, C, H, W).

        Parameters
        ----------
        z
            Latents (N, K). With two levels z₂ (N, K), beneath which z₁ is drawn too, or maps z₁
            (N, K, h, w).
        seed
            What is drawn is a function of z, the seed and the image's place.

        Raises
        ------
        UserError
            z has another shape or type or is not finite, or the model has no latent.

        Examples
        --------
        >>> m.decode(m.encode(x).mean).shape
        (3, 1, 28, 28)
        """
        z, name = self._latent(z)
        return self._sampler.decode(z, _whole(seed, "the seed"), name=name)

    @queued
    def sample(self, n: int, seed: int = 0) -> np.ndarray:
        """Images drawn from the model (figures 1, 7, 9), as by ``sample``: uint8 (n, C, H, W).

        A larger n only adds images. Raises UserError if n is not a whole number above 0.

        Examples
        --------
        >>> m.sample(2, seed=1).shape
        (2, 1, 28, 28)
        """
        n = _whole(n, "n", least=1)
        self._check_memory(n)
        return self._sampler.sample(n, _whole(seed, "the seed"))

    @queued
    def reconstruct(self, x: np.ndarray, seed: int = 0) -> np.ndarray:
        """For each image one drawn from p(x|z), z drawn from q(z|x) (figures 8 and 10): uint8.

        x is as in :meth:`encode`, and so is what is drawn, (N, C, H, W). With two levels z₂ is kept
        and z₁ drawn again. Raises UserError as :meth:`encode` does.

        Examples
        --------
        >>> m.reconstruct(x).shape == x.shape
        True
        """
        x = self._images(x)
        self._require_latent()
        return self._sampler.reconstruct(x, _whole(seed, "the seed"))

    @queued
    def interpolate(
        self, a: np.ndarray, b: np.ndarray, steps: int = 8, seed: int = 0
    ) -> np.ndarray:
        """Images on the line from a's latent to b's, ends included: uint8 (steps, C, H, W).

        The paper has none. All other noise is the same at every step, so that the latent alone
        changes.

        Parameters
        ----------
        a, b
            An image (C, H, W) each, of which the posterior's mean is taken, or a latent (K,) each;
            with two levels z₂.
        steps
            How many, 2 or more.

        Raises
        ------
        UserError
            a or b is neither, steps is not such a number, or the model has no latent.

        Examples
        --------
        >>> m.interpolate(x[0], x[1], steps=4).shape
        (4, 1, 28, 28)
        """
        steps, seed = _whole(steps, "steps", least=2), _whole(seed, "the seed")
        self._check_memory(steps)
        self._require_latent()
        first, last = self._end(a), self._end(b)
        along = np.linspace(0, 1, steps, dtype="float32")[:, None]
        line = (1 - along) * first + along * last
        return self._sampler.decode(line.astype("float32"), seed, numbers=[0] * steps)

    @queued
    def bound(self, x: np.ndarray, seed: int = 0, samples: int = 1) -> np.ndarray:
        """The bound on −log p(x) of each image (equation 2), as by ``evaluate``: float64 (N,).

        In nats an image, an upper bound, the mean over so many posterior samples; exact for a model
        without latent. Raises UserError as :meth:`encode` does, but not for such a model;
        NotFiniteError, which is one too, if a value is not finite.

        Examples
        --------
        >>> m.bound(x).shape
        (3,)
        """
        dataset = InMemory(self._images(x), levels=self.levels)
        seed, samples = _whole(seed, "the seed"), _whole(samples, "samples", least=1)
        return self._bound(dataset, "test", samples=samples, seed=seed).values["bound"]

    @queued
    def log_likelihood(
        self, x: np.ndarray, importance_samples: int = 100, seed: int = 0
    ) -> np.ndarray:
        """log p(x) of each image, importance-weighted (Burda et al. 2015): float64 (N,), in nats.

        log (1/S) Σ p(x, z_s) / q(z_s|x) with z_s ~ q(z|x), z being all latents; as ``evaluate
        --importance-samples S`` computes −log p(x). Table 1 has S = 5,000. Of a model without
        latent it is exact, whatever S. Raises UserError as :meth:`bound` does.

        Examples
        --------
        >>> m.log_likelihood(x, importance_samples=5).shape
        (3,)
        """
        seed = _whole(seed, "the seed")
        samples = _whole(importance_samples, "importance_samples", least=1)
        if not self.latent_shapes:
            return -self.bound(x, seed)
        dataset = InMemory(self._images(x), levels=self.levels)
        estimate = self._weighted(dataset, "test", samples, seed=seed)
        return -estimate.values["importance_weighted"]

    @queued
    def export(self, path: Any) -> None:
        """Write the weights as safetensors, as by ``export`` (docs/pytorch.md).

        The arrays bear the names and the shapes that they have in a weights file, whose header is
        the metadata ``header``, as JSON. Raises UserError if the name does not end in
        ``.safetensors`` or the file cannot be written.

        Examples
        --------
        >>> from safetensors.numpy import load_file
        >>> m.export("weights.safetensors")
        >>> load_file("weights.safetensors")["encoder.conv1.v"].shape
        (32, 1, 9)
        """
        self._weights.export(path)

    @cached_property
    def _sampler(self) -> ImageSampler:
        return ImageSampler(self._model)

    @cached_property
    def _bound(self) -> Bound:
        return Bound(self._model, 0, self._batch)

    @cached_property
    def _weighted(self) -> ImportanceWeighted:
        return ImportanceWeighted(self._model, 0, self._batch)

    @cached_property
    def _encoder(self) -> Any:
        x = T.tensor4("images", dtype="uint8")
        with compiling("the encoder", len(self._model.parameters) // 2):
            q = self._model.posteriors(T.cast(x, theano.config.floatX)).values()
            return theano.function([x], [v for each in q for v in (each.mean, each.log_sigma)])

    def _posteriors(self, x: Any) -> tuple[Moments, ...]:
        """What :meth:`encode` gives, a pair for each latent, the lowest first."""
        x = self._images(x)
        self._require_latent()
        parts = [self._encoder(x[at : at + self._batch]) for at in range(0, len(x), self._batch)]
        values = [np.concatenate(each) for each in zip(*parts)]
        return tuple(Moments(*pair) for pair in zip(values[::2], values[1::2]))

    def _check_memory(self, images: int) -> None:
        """Raise UserError if the noise of so many images is more than the machine's memory."""
        per_image = math.prod(self.image_shape) + sum(map(math.prod, self.latent_shapes.values()))
        needed, memory = 4 * images * per_image, device.memory()
        if needed > memory:
            raise UserError(
                f"{images:,} images take {needed / 2**30:,.0f} GiB, and this machine has "
                f"{memory / 2**30:,.0f}: ask for fewer at a time"
            )

    def _require_latent(self) -> None:
        if not self.latent_shapes:
            raise UserError(f"{self.name} has no latent: take a model that has one")

    def _images(self, x: Any) -> np.ndarray:
        wanted = f"images (N, {', '.join(map(str, self.image_shape))})"
        x = _array(x, wanted)
        if x.ndim != 4 or x.shape[1:] != self.image_shape or not len(x):
            raise UserError(f"{self.name} takes {wanted}, at least one; these are {x.shape}")
        if x.dtype.kind not in "biu":
            raise UserError(f"images are whole numbers, such as uint8, and these are {x.dtype}")
        if x.min() < 0 or x.max() >= self.levels:
            raise UserError(
                f"{self.name} takes values from 0 to {self.levels - 1}, and these images have "
                f"{x.min()} to {x.max()}"
            )
        return x.astype("uint8")

    def _latent(self, z: Any) -> tuple[np.ndarray, str]:
        """z as float32, and the name of the latent that it is."""
        self._require_latent()
        shapes = {name: ("N", *shape) for name, shape in self.latent_shapes.items()}
        said = " or ".join(f"{n} ({', '.join(map(str, s))})" for n, s in shapes.items())
        z = _array(z, f"latents {said}")
        if z.dtype.kind not in "biuf":
            raise UserError(f"latents are real numbers, such as float32, and these are {z.dtype}")
        names = [name for name, shape in self.latent_shapes.items() if z.shape[1:] == shape]
        if not names or not z.ndim or not len(z):
            raise UserError(f"{self.name} takes {said}, at least one; these are {z.shape}")
        with np.errstate(over="ignore"):
            z = z.astype("float32")
        if not np.isfinite(z).all():
            raise UserError("latents must be finite, and there is NaN or infinity among these")
        return z, names[0]

    def _end(self, value: Any) -> np.ndarray:
        """The top latent (1, K) of an image or of a latent of its own."""
        value = _array(value, "an image or a latent")
        if value.ndim == 3:
            return self._posteriors(value[None])[-1].mean
        return self._latent(value[None])[0]


_MOST = 2**31 - 1  # as on the command line


def _array(value: Any, wanted: str) -> np.ndarray:
    try:
        return np.asarray(value)
    except Exception as problem:  # rows of unequal lengths; what tensors of other libraries raise
        raise UserError(f"not a valid array of {wanted}: {problem}") from None


def _whole(value: Any, what: str, least: int = 0) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
        raise UserError(f"{what} must be a whole number from {least} on, and it is {value!r:.50}")
    if value > _MOST:
        raise UserError(f"{what} must be at most {_MOST:,}, and it is {value}")
    return int(value)
