"""One step of training: Adam on one packed vector of parameters."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import theano
import theano.tensor as T

from pixelvae.lib.model import Model, noise_variables
from pixelvae.lib.ops.adam import BETA_1, BETA_2, Adam, AveragedAdam, SumOfSquares
from pixelvae.lib.ops.pack import Pack
from pixelvae.lib.training.recipe import Recipe
from pixelvae.machine.errors import UserError
from pixelvae.machine.parallel.world import world


class NotFinite(ArithmeticError):
    """A training step gave NaN or infinity; its update was not made.

    Parameters
    ----------
    values
        The cost and each term, batch means in nats, by name.
    gradients
        The gradient of each parameter by name, in its shape, before clipping.
    """

    def __init__(self, values: Mapping[str, float], gradients: Mapping[str, np.ndarray]):
        self.values, self.gradients = values, gradients
        super().__init__(self._text())

    def _text(self) -> str:
        what = [f"{n} is {v:.4g}" for n, v in self.values.items() if not np.isfinite(v)]
        bad = self.bad_gradients()
        if bad:
            what.append(f"the gradient of {bad[0]} is not finite, the first of {len(bad)}")
        return ", ".join(what) or "the gradient or the updated parameters are too large for float32"

    def bad_gradients(self) -> list[str]:
        """The parameters whose gradients hold NaN or infinity, in the model's order."""
        return [name for name, g in self.gradients.items() if not np.isfinite(g).all()]


class TrainingStep:
    """The compiled step: one batch in, its terms out, all parameters updated by Adam.

    While training, the parameters live in one vector: clipping and Adam are then a few nodes for
    the whole model rather than a dozen for each of its arrays, which saves most of the compile
    time. :meth:`sync` brings the model's own variables up to date. Vectors of that length stay
    where they are, on a GPU in its memory: a step brings scalars alone from there.

    The step has three parts, compiled apart, which meet in one vector: :meth:`losses` makes the
    gradient of a batch; what is found of its size says whether there is anything to learn from it;
    :meth:`updates` is what it changes. Several ranks work on a slice of the batch each, and add
    their vectors up after the first part.
    """

    def __init__(self, model: Model, recipe: Recipe):
        if recipe.dropout and not model.droppable:
            raise UserError(f"{model.name} has no maps to drop: leave it out", setting="dropout")
        self._model, self._recipe = model, recipe
        self._variables = model.parameters.trained
        values = [v.get_value(borrow=True) for v in self._variables]
        packed = np.concatenate([v.ravel() for v in values])
        self._packed = theano.shared(packed, name="packed", borrow=True)
        self._size = packed.size
        self._norm = np.inf  # of the parameters, at most
        self._evaluated = self._packed
        if recipe.average_decay is not None:
            self._evaluated = theano.shared(packed.copy(), name="averaged", borrow=True)
        self._scalars = {name: T.scalar(name) for name in recipe.schedule(1)}

        inputs, outputs, gradients = self.losses()
        self.names = list(outputs)[1:]
        # What ranks add up: the gradient, cost and terms.
        means = [T.cast(mean, theano.config.floatX) for mean in outputs.values()]
        first = np.zeros(self._size + len(outputs), theano.config.floatX)
        self._message = theano.shared(first, name="message", borrow=True)
        self._losses = theano.function(
            [*inputs, *self._scalars.values()],
            updates=[(self._message, Pack()(self._message, *gradients, *means))],
            givens=self._views(),
            on_unused_input="ignore",  # a model's objective need not use every scalar of the recipe
        )
        gradient = self._message[: self._size]
        means = [self._message[self._size + i] for i in range(len(outputs))]
        self._sizes = theano.function([], [*means, SumOfSquares()(gradient)[0]])
        rate, factor = T.scalar("learning_rate"), T.scalar("factor")
        updates = self.updates(gradient, rate, factor)
        self._update = theano.function([rate, factor], updates=list(updates.items()))
        self.sync()

    @property
    def functions(self) -> tuple:
        """The compiled parts, for those who look at their graphs."""
        return self._losses, self._sizes, self._update

    def losses(self) -> tuple[list, dict[str, Any], list]:
        """The inputs of a step (images and noise), cost and terms by name, and the gradients.

        All symbolic. The terms are means over the batch in nats; the gradients are those of all
        trained parameters, before clipping.
        """
        images = T.tensor4("images", dtype="uint8")
        noise = noise_variables(self._model)
        if self._recipe.dropout:
            noise["dropout"] = T.matrix("dropout")
        x = T.cast(images, theano.config.floatX)
        cost, terms = self._model.objective(x, noise, self._scalars)
        gradients = theano.grad(cost, self._variables)
        means = {"cost": cost, "reconstruction": terms.reconstruction.mean()}
        means.update({name: kl.mean() for name, kl in terms.kls.items()})
        return [images, *noise.values()], means, gradients

    def updates(self, gradient, rate, factor) -> dict[Any, Any]:
        """The updates of parameters, moments and average for a packed gradient, all symbolic.

        The gradient is multiplied by ``factor``, its entries are bounded as in the recipe, then
        comes Adam (Kingma & Ba 2015) with learning rate ``rate``.
        """
        zeros = [np.zeros(shape, theano.config.floatX) for shape in (self._size, self._size, ())]
        m, v, count = (theano.shared(zero, borrow=True) for zero in zeros)
        self._state = {"packed": self._packed, "adam.0": m, "adam.1": v, "adam.2": count}
        t, bound, decay = count + 1, self._recipe.clip_entry, self._recipe.average_decay
        if self._recipe.rate_warmup is not None:
            rate = rate * T.minimum(1, t / self._recipe.rate_warmup)
        vectors, adam, weight = [self._packed, m, v], Adam(), 0.0
        if decay is not None:
            self._state["averaged"] = self._evaluated
            vectors, adam = [*vectors, self._evaluated], AveragedAdam()
            # The average's horizon grows with t, to the last ninth of the training, until 1 / (1 -
            # decay).
            weight = T.maximum(1 - decay, 9 / (10 + t))
        size = rate * T.sqrt(1 - BETA_2**t) / (1 - BETA_1**t)
        numbers = T.stack([size, factor, np.inf if bound is None else bound, weight])
        packed = self._packed
        if self._recipe.weight_decay is not None:
            lost = rate * np.float32(self._recipe.weight_decay) * self._decaying()
            packed = packed - packed * lost
        numbers = T.cast(numbers, theano.config.floatX)
        new = adam(gradient, numbers, packed, *vectors[1:])
        return {**dict(zip(vectors, new)), count: t}

    def _decaying(self) -> np.ndarray:
        """1 for each packed number that is a weight, 0 for others.

        Of weight-normalised weights that is their length g: the length of v says nothing.
        """
        return np.concatenate(
            [
                np.full(v.get_value(borrow=True).size, v.name.endswith((".g", ".w", ".table")))
                for v in self._variables
            ]
        ).astype(theano.config.floatX)

    def _parts(self, vector) -> Iterator[tuple]:
        """Each of the model's variables with its part of a packed vector, in its shape."""
        start = 0
        for variable in self._variables:
            shape = variable.get_value(borrow=True).shape
            end = start + int(np.prod(shape))
            yield variable, vector[start:end].reshape(shape)
            start = end

    def _views(self) -> dict:
        return {v: T.patternbroadcast(p, v.broadcastable) for v, p in self._parts(self._packed)}

    def __call__(
        self, images: np.ndarray, noise: Sequence[np.ndarray], scalars: Mapping[str, float]
    ) -> np.ndarray:
        """One update. Returns the cost, then batch means in nats in the order of ``names``.

        Every rank is given the whole batch and takes its slice.

        Raises
        ------
        NotFinite
            Cost, a term or the gradient are not finite, or the new parameters might not be (their
            squares' sums as float32 included); nothing is changed then.
        """
        given = [np.asarray(scalars[name], theano.config.floatX) for name in self._scalars]
        mine = world().slice_of(len(images))
        if mine.start < mine.stop:
            self._losses(images[mine], *(n[mine] for n in noise), *given)
        if world().size > 1:
            self._add((mine.stop - mine.start) / len(images))
        *values, gradient = np.array(self._sizes(), "float64")
        rate = float(scalars["learning_rate"])
        if not np.isfinite([*values, gradient]).all() or not self._stays_finite(rate):
            raise NotFinite(dict(zip(["cost", *self.names], values)), self.gradients())
        norm, most = gradient**0.5, self._recipe.clip_norm
        factor = most / norm if most is not None and norm > most else 1.0
        self._update(*np.array([rate, factor], theano.config.floatX))
        return np.array(values)

    def _stays_finite(self, rate: float) -> bool:
        """Whether the parameters' squares have a finite sum after any further update."""
        # It moves none of them by more than 7.3 rates (Cauchy-Schwarz on Adam's moments). The norm
        # is looked at only if all moves since then might have made it too large.
        move, limit = 8 * rate * self._size**0.5, float(np.finfo(theano.config.floatX).max) ** 0.5
        self._norm += move
        if not self._norm < limit:
            self._norm = float(np.linalg.norm(self._packed.get_value(borrow=True))) + move
        return self._norm < limit

    def _add(self, weight: float) -> None:
        """Sum the ranks' messages, each weighted by its part of the batch."""
        message = self._message.get_value(borrow=True)  # a GPU's is a copy
        if weight:
            message *= weight
        else:
            message[...] = 0  # of an earlier batch
        world().add(message)
        self._message.set_value(message, borrow=True)

    def _by_name(self, vector: np.ndarray) -> dict[str, np.ndarray]:
        return {variable.name: np.array(part) for variable, part in self._parts(vector)}

    def parameters(self) -> dict[str, np.ndarray]:
        """The trained parameters as they are, not averaged, by name."""
        return self._by_name(self._packed.get_value(borrow=True))

    def gradients(self) -> dict[str, np.ndarray]:
        """The last step's gradient, before it was clipped, by parameter."""
        return self._by_name(self._message.get_value())

    def sync(self) -> None:
        """Let the model have the packed vector, or its average if the recipe has one.

        On a CPU its variables are views of that vector, which saves the memory for a copy; they
        change with the next steps.
        """
        for variable, part in self._parts(self._evaluated.get_value(borrow=True)):
            variable.set_value(part, borrow=True)

    def state(self) -> dict[str, np.ndarray]:
        """All arrays a checkpoint needs."""
        return {name: np.asarray(v.get_value()) for name, v in self._state.items()}

    def checksum(self) -> str:
        """Of all arrays of :meth:`state`, some hexadecimal digits."""
        digest = hashlib.blake2b(digest_size=8)
        for array in self.state().values():
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()

    def restore(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Set what :meth:`state` gave; raises UserError if sizes differ or it is not finite."""
        for name, variable in self._state.items():
            shape = variable.get_value(borrow=True).shape
            if name not in arrays or arrays[name].shape != shape:
                raise UserError(f"this checkpoint does not fit the model: {name} is not {shape}")
            if not np.isfinite(arrays[name]).all():
                raise UserError(f"this checkpoint holds NaN or infinity in {name}: take another")
        for name, variable in self._state.items():
            variable.set_value(arrays[name].astype(variable.dtype))
        self._norm = np.inf
        self.sync()
