"""Named parameters, owned by one model.

There is no global registry: two models can live in one process. A parameter is a Theano shared
variable under a dotted name such as ``decoder.layer3.vertical.v``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Callable, Union

import numpy as np
import theano

from pixelvae.machine.backend import device
from pixelvae.machine.errors import NotFiniteError, UserError

MOST_ARRAYS = 2_000  # the paper's largest model has some 500
LEAST_COPIES = 4  # of all parameters, in training: themselves, two moments, the gradient

Draw = Callable[[np.random.RandomState], np.ndarray]


class Parameters(Mapping):
    """An ordered mapping from names to shared variables, with the random state that fills them.

    Parameters
    ----------
    seed
        Makes initialisation repeatable: initial values are drawn in the order of declaration.
    limit
        The most bytes that all together may take, for a model whose sizes come out of a file that
        is not trusted: it is no larger than its file. None for as much as training it on this
        machine allows.

    Examples
    --------
    >>> p = Parameters(seed=0)
    >>> w, b = p.new("w", (2, 3), lambda rng: rng.normal(size=(2, 3))), p.new("b", (2,), 0)
    >>> p.shapes(), p.count()
    ({'w': (2, 3), 'b': (2,)}, 8)
    >>> b.get_value()
    array([0., 0.], dtype=float32)
    """

    def __init__(self, seed: int, limit: int | None = None):
        self._rng = np.random.RandomState(seed)
        self._limit = limit
        self._shared: dict[str, theano.compile.SharedVariable] = {}
        self._trained: list[theano.compile.SharedVariable] = []
        self._bytes = 0

    def new(self, name: str, shape: tuple[int, ...], initial: Union[float, Draw], trained=True):
        """Declare a parameter.

        Parameters
        ----------
        name
            A new one.
        shape
            Of the parameter.
        initial
            The number that all entries are at first, or the function that draws them (see
            :mod:`pixelvae.lib.layers.initial`); called only if there is room for the parameter.
        trained
            False for what is saved with the weights and not learned by gradient: moving statistics.

        Returns
        -------
        The shared variable, of floatX.

        Raises
        ------
        UserError
            The model would become larger than allowed.
        """
        return self._declare(name, self._value(name, shape, initial), trained)

    def new_normed(self, name: str, shape: tuple[int, ...], initial: Draw) -> tuple:
        """Declare weight-normalised weights: ``name.v``; ``name.g``, the norm of each output's v.

        Salimans & Kingma 2016, with g = ‖v‖ at first; v is (O, ...), g (O,). Raises as :meth:`new`.
        """
        v = self._value(f"{name}.v", shape, initial)
        norm = np.sqrt((v.reshape(len(v), -1).astype("float64") ** 2).sum(axis=1))
        return self._declare(f"{name}.v", v), self.new(f"{name}.g", norm.shape, lambda _: norm)

    def _value(self, name: str, shape: tuple[int, ...], initial: Union[float, Draw]) -> np.ndarray:
        if name in self._shared:
            raise ValueError(f"there is a parameter {name} already")
        if len(self._shared) == MOST_ARRAYS:
            raise UserError(f"this model has more than {MOST_ARRAYS:,} arrays: choose fewer layers")
        size = self._bytes + math.prod(shape) * np.dtype(theano.config.floatX).itemsize
        if self._limit is not None and size > self._limit:
            raise UserError("the model is larger than its file")
        if size > device.memory() / LEAST_COPIES:
            raise UserError(
                "this model is too large for the machine's memory: choose smaller sizes"
            )
        self._bytes = size
        return initial(self._rng) if callable(initial) else np.full(shape, initial)

    def _declare(self, name: str, value: np.ndarray, trained: bool = True):
        self._shared[name] = theano.shared(np.asarray(value, theano.config.floatX), name=name)
        if trained:
            self._trained.append(self._shared[name])
        return self._shared[name]

    @property
    def trained(self) -> list:
        """The parameters that are learned by gradient."""
        return list(self._trained)

    def __getitem__(self, name: str):
        return self._shared[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._shared)

    def __len__(self) -> int:
        return len(self._shared)

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of every parameter."""
        return {name: tuple(v.get_value(borrow=True).shape) for name, v in self._shared.items()}

    def count(self) -> int:
        """How many numbers there are in all."""
        return int(sum(np.prod(shape) for shape in self.shapes().values()))

    def arrays(self) -> dict[str, np.ndarray]:
        """Copies of all values."""
        return {name: np.asarray(v.get_value()) for name, v in self._shared.items()}

    def assign(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Sets all values.

        Raises UserError unless names and shapes are exactly the model's and all numbers are finite;
        then nothing is changed.
        """
        shapes = self.shapes()
        missing = [n for n in shapes if n not in arrays]
        extra = [n for n in arrays if n not in shapes]
        if missing or extra:
            some = ", ".join((missing or extra)[:3])
            raise UserError(
                f"these weights belong to another model: {len(missing)} parameters are missing and "
                f"{len(extra)} are unknown (for instance {some})"
            )
        for name, shape in shapes.items():
            if tuple(arrays[name].shape) != shape:
                raise UserError(
                    f"these weights belong to another model: {name} has shape "
                    f"{tuple(arrays[name].shape)}, not {shape}"
                )
        with np.errstate(over="ignore"):
            values = {n: np.asarray(arrays[n], theano.config.floatX) for n in shapes}
        for name, value in values.items():
            if not np.isfinite(value).all():
                raise NotFiniteError(f"these weights hold NaN or infinity in {name}: take others")
        for name, variable in self._shared.items():
            variable.set_value(values[name])
