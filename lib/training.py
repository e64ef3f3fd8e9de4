"""The training loop: Lasagne's Adam on one packed vector of parameters, evaluations, checkpoints.

A run is a pure function of its settings: batches and noise depend on the seed and the iteration alone, so a
checkpoint needs the parameters, Adam's state, the iteration and the sums since the last evaluation to go on
bit for bit.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice

import lasagne
import numpy as np
import theano
import theano.tensor as T

from lib import noise as random_noise
from lib.backend import device
from lib.compiling import compiling
from lib.console import GracefulStop, Progress, say
from lib.errors import UserError
from lib.evaluation import Bound
from lib.model import Model, noise_variables
from lib.moving import MovingStatistics
from lib.runs import Run
from lib.saving import Saver
from lib.trouble import NotFinite, report_arrays

CHECKPOINT_SECONDS = 300  # beside the checkpoint at every evaluation
ON_NAN = ("stop", "skip")
MAX_SKIPS = 100  # in a row: more are no accident


@dataclass(frozen=True)
class Recipe:
    """How to train. ``schedule(t)`` gives the learning rate and the model's other scalars at iteration t >= 1.

    clip_entry bounds each entry of the gradient (MNIST); clip_norm its global norm (the hierarchical models).
    statistics_batches: how many training batches a model's moving statistics are averaged over before an evaluation;
    0 for models that have none.
    average_decay: evaluate (and keep as the best) the exponential moving average of the weights with this decay,
    rather than the last ones. It starts faster: the decay is at most (1 + t) / (10 + t) at iteration t.
    on_nan: "stop" at the first step that is not finite, or "skip" it, its update taken back.
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


class TrainingStep:
    """The compiled step: one batch in, its terms out, all parameters updated by Adam.

    While training, the parameters live in one vector: clipping and Adam are then a few nodes for the whole model
    rather than a dozen for each of its arrays, which saves most of the compile time. :meth:`sync` brings the
    model's own variables up to date. Vectors of that length stay where they are, on a GPU in its memory: a step
    brings scalars alone from there.
    """

    def __init__(self, model: Model, recipe: Recipe):
        self._model = model
        self._variables = model.parameters.trained
        values = [v.get_value(borrow=True) for v in self._variables]
        self._packed = theano.shared(np.concatenate([v.ravel() for v in values]), name="packed")

        images = T.tensor4("images", dtype="uint8")
        noise = noise_variables(model)
        self._scalars = {name: T.scalar(name) for name in recipe.schedule(1)}
        x = T.cast(images, theano.config.floatX)
        cost, terms = model.objective(x, noise, self._scalars)

        gradients = theano.grad(cost, self._variables)
        raw = gradient = T.concatenate([g.flatten() for g in gradients])
        if recipe.clip_entry is not None:
            gradient = T.clip(gradient, -recipe.clip_entry, recipe.clip_entry)
        if recipe.clip_norm is not None:
            norm = T.sqrt(T.sum(T.sqr(gradient)))
            gradient *= recipe.clip_norm / T.maximum(norm, recipe.clip_norm)
        updates = lasagne.updates.adam(
            [gradient], [self._packed], self._scalars["learning_rate"], 0.9, 0.999, 1e-8
        )
        # Adam's own state, in the order Lasagne makes it: the moments, then the step.
        adam = [v for v in updates if v is not self._packed]
        self._state = {"packed": self._packed, **{f"adam.{i}": v for i, v in enumerate(adam)}}
        self._evaluated = self._packed
        if recipe.average_decay is not None:
            self._evaluated = theano.shared(self._packed.get_value(), name="averaged")
            self._state["averaged"] = self._evaluated
            t = updates[adam[-1]]
            weight = T.maximum(1 - recipe.average_decay, 9 / (10 + t))
            newest = T.cast(weight, theano.config.floatX) * (
                updates[self._packed] - self._evaluated
            )
            updates[self._evaluated] = self._evaluated + newest
        self._before = {name: _value(v).copy() for name, v in self._state.items()}
        self._gradient = theano.shared(np.zeros_like(self._packed.get_value()), name="gradient")
        updates[self._gradient] = raw

        outputs = [cost, terms.reconstruction.mean()] + [kl.mean() for kl in terms.kls.values()]
        self.names = ["reconstruction", *terms.kls]
        self._on_gpu = device.active()
        if self._on_gpu:
            outputs += [T.sqr(v).sum() for v in (raw, updates[self._packed])]
        self._step = theano.function(
            [images, *noise.values(), *self._scalars.values()],
            [T.cast(o, theano.config.floatX) for o in outputs],
            updates=updates,
            givens=self._views(),
            on_unused_input="ignore",  # a model's objective need not use every scalar of the recipe
        )

    def _parts(self, vector) -> Iterator[tuple]:
        """Each of the model's variables with its part of the packed vector (NumPy or symbolic), in its shape."""
        start = 0
        for variable in self._variables:
            shape = variable.get_value(borrow=True).shape
            end = start + int(np.prod(shape))
            yield variable, vector[start:end].reshape(shape)
            start = end

    def _views(self) -> dict:
        return {v: T.patternbroadcast(p, v.broadcastable) for v, p in self._parts(self._packed)}

    def __call__(self, images: np.ndarray, noise, scalars: Mapping[str, float]) -> np.ndarray:
        """One update. Returns the cost, then batch means in nats in the order of ``names``.

        Raises NotFinite where cost, a term, the gradient or the new parameters are not finite (or their squares
        too large for float32); nothing is changed then.
        """
        given = [np.asarray(scalars[name], theano.config.floatX) for name in self._scalars]
        for name, variable in self._state.items():
            self._before[name][...] = _value(variable)
        outputs = self._step(images, *noise, *given)
        values = np.array(outputs[: 1 + len(self.names)], "float64")
        # Squares add up to something finite only if each entry is, and that takes less time than looking at each.
        # A CPU's are not in the graph, whose C code may be compiled to take all numbers for finite.
        if self._on_gpu:
            squares = outputs[len(values) :]
        else:
            with np.errstate(all="ignore"):
                squares = [v @ v for v in map(_value, (self._gradient, self._packed))]
        if not np.isfinite([*values, *squares]).all():
            for name, variable in self._state.items():
                variable.set_value(self._before[name])
            raise NotFinite(dict(zip(["cost", *self.names], values)), self.gradients())
        return values

    def _by_name(self, vector: np.ndarray) -> dict[str, np.ndarray]:
        return {variable.name: np.array(part) for variable, part in self._parts(vector)}

    def parameters(self) -> dict[str, np.ndarray]:
        """The trained parameters as they are, not averaged, by name."""
        return self._by_name(self._packed.get_value(borrow=True))

    def gradients(self) -> dict[str, np.ndarray]:
        """The last step's gradient, before it was clipped, by parameter."""
        return self._by_name(self._gradient.get_value())

    def sync(self) -> None:
        """Copies the packed vector, or its average where the recipe asks for one, into the model's parameters."""
        for variable, part in self._parts(self._evaluated.get_value()):
            variable.set_value(part)

    def state(self) -> dict[str, np.ndarray]:
        """All arrays a checkpoint needs."""
        return {name: np.asarray(v.get_value()) for name, v in self._state.items()}

    def restore(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Sets what :meth:`state` gave. Raises UserError where sizes differ."""
        for name, variable in self._state.items():
            shape = variable.get_value(borrow=True).shape
            if name not in arrays or arrays[name].shape != shape:
                raise UserError(f"this checkpoint does not fit the model: {name} is not {shape}")
        for name, variable in self._state.items():
            variable.set_value(arrays[name].astype(variable.dtype))
        self.sync()


def _value(variable):
    """What a shared variable holds, where it holds it: an array of NumPy's or of the device's, not a copy."""
    return variable.get_value(borrow=True, return_internal_type=True)


def draw_noise(model: Model, seed: int, purpose: str, index: int, count: int) -> list[np.ndarray]:
    """Standard normal noise for ``count`` images, in the order of ``model.noise_shapes``."""
    return [
        random_noise.standard_normal(seed, f"{purpose} {name}", index, (count, *shape))
        for name, shape in model.noise_shapes.items()
    ]


def train(model: Model, dataset, recipe: Recipe, run: Run) -> int:
    """Trains until ``recipe.iterations``, going on from the run's checkpoint where there is one.

    Every ``eval_every`` iterations and at the end: the bound (α = 1) on the whole validation set, a row for
    training and one for validation in metrics.csv, the best weights by validation bound, a checkpoint.

    A step that is not finite stops the training or is skipped, as the recipe says; trouble.npz in the run's folder
    then holds all that takes the step again. Where saving fails, training goes on and the next save tries again.

    Returns 0 when done, else the exit status of the signal that stopped it, 130 or 143 (the run is saved then).
    Raises UserError when a step is not finite, or when the last save failed.
    """
    bound = Bound(model, recipe.seed, recipe.evaluation_batch)
    statistics = MovingStatistics(model) if recipe.statistics_batches else None
    with compiling("the training step", len(model.parameters)):
        step = TrainingStep(model, recipe)
    progress = _State(iteration=0, seconds=0.0, best=None, count=0, sums=[0.0] * len(step.names))
    saved = run.load_checkpoint()
    if saved is not None:
        arrays, header = saved
        step.restore(arrays)
        progress = _State.of(header, len(step.names))
        say(f"going on from iteration {progress.iteration}")
    else:
        run.save_checkpoint(step.state(), progress.header())
    saver = Saver(run)

    stream = dataset.training_stream(recipe.batch_size, recipe.seed, start=progress.iteration)
    clock = _Clock(progress)
    skips = 0  # in a row
    with Progress(recipe.iterations, progress.iteration) as bar, GracefulStop() as stop:
        while progress.iteration < recipe.iterations and not stop.requested:
            t = progress.iteration + 1
            images = next(stream)
            noise = draw_noise(model, recipe.seed, "training", t, len(images))
            scalars = recipe.schedule(t)
            try:
                values = step(images, noise, scalars)
            except NotFinite as trouble:
                skips += 1
                if skips == 1:
                    _report(run, model, step, t, images, noise, scalars, trouble)
                if recipe.on_nan == "stop" or skips > MAX_SKIPS:
                    raise _stopped(run, t, trouble, skips) from None
                if skips == 1:
                    bar.write(f"iteration {t} is skipped: {trouble}")
                progress.skipped += 1
                bar.update(1)
            else:
                skips = 0
                progress.count += 1
                progress.sums = [a + b for a, b in zip(progress.sums, values[1:].tolist())]
                bar.update(1, bound=float(values[1:].sum()) / model.unit.nats)
            progress.iteration = t
            evaluate = t % recipe.eval_every == 0 or t == recipe.iterations
            if not evaluate and clock.since_checkpoint() <= CHECKPOINT_SECONDS:
                continue
            clock.stamp()
            if saver.folder_made_again(step.state(), progress.header()):
                progress.best = None
            if evaluate:
                step.sync()
                if statistics is not None:
                    statistics(_next_batches(model, dataset, recipe, t))
                _evaluate(model, dataset, bound, recipe, saver, progress, step, scalars, bar)
                clock.restart()
            saver.checkpoint(step.state(), progress.header())
        if stop.requested:
            clock.stamp()
            saver.checkpoint(step.state(), progress.header())
    step.sync()
    saver.finish()
    return stop.exit_status


def _report(run, model, step, iteration, images, noise, scalars, trouble) -> None:
    header = {
        "model": model.header(), "iteration": iteration, "scalars": dict(scalars), "trouble": str(trouble),
    }  # fmt: skip
    try:
        run.save_report(report_arrays(step.state(), images, noise), header)
    except UserError as problem:
        say(f"no report of the trouble at iteration {iteration}: {problem}")


def _stopped(run: Run, iteration: int, trouble: NotFinite, skips: int) -> UserError:
    which = f"iteration {iteration} is" if skips == 1 else f"the last {skips} iterations are"
    return UserError(
        f'{which} not finite: {trouble}; the last checkpoint is kept. "replay {run.folder}" looks at the step, '
        "--on-nan skip leaves such steps out"
    )


def _next_batches(model: Model, dataset, recipe: Recipe, iteration: int):
    """The batches that come after the iteration, with noise of their own."""
    stream = dataset.training_stream(recipe.batch_size, recipe.seed, start=iteration)
    for index, images in enumerate(islice(stream, recipe.statistics_batches)):
        yield images, draw_noise(model, recipe.seed, "statistics", index, len(images))


@dataclass
class _State:
    """Where a training stands: what a checkpoint's header holds beside the arrays."""

    iteration: int
    seconds: float  # of training, evaluations not counted
    best: float | None  # validation bound, nats
    count: int  # iterations since the last evaluation, and the sums of their terms
    sums: list[float]
    skipped: int = 0  # iterations since the last evaluation that were not finite

    def header(self) -> dict:
        """For a checkpoint."""
        return {"iteration": self.iteration, "state": vars(self).copy()}

    @classmethod
    def of(cls, header: Mapping, terms: int) -> _State:
        """What :meth:`header` gave, of a model with so many terms. Raises UserError where it is something else."""
        try:
            state = cls(**header["state"])
            counts = [state.iteration, state.count, state.skipped]
            numbers = [*counts, state.seconds, state.best or 0, *state.sums]
            whole = (
                state.iteration == header["iteration"]
                and len(state.sums) == terms
                and all(isinstance(n, int) and n >= 0 for n in counts)
                and all(isinstance(n, (int, float)) for n in numbers)
            )
        except (KeyError, TypeError):
            whole = False
        if not whole:
            raise UserError("this checkpoint does not fit the model: its state is not a training's")
        return state


class _Clock:
    """Adds up training time in the state, and tells when a checkpoint is due."""

    def __init__(self, state: _State):
        self._state = state
        self.restart()

    def restart(self) -> None:
        self._last = time.monotonic()

    def since_checkpoint(self) -> float:
        return time.monotonic() - self._last

    def stamp(self) -> None:
        now = time.monotonic()
        self._state.seconds += now - self._last
        self._last = now


def _evaluate(model, dataset, bound, recipe, saver, state, step, scalars, bar) -> None:
    means = [s / state.count if state.count else np.nan for s in state.sums]
    result = bound(dataset, "valid")
    unit, value = model.unit, result.mean("bound")
    schedule = {k: v for k, v in scalars.items() if k != "learning_rate"}
    trained = {n: m / unit.nats for n, m in zip(step.names, means)}
    valid = result.measured_in(unit)
    _log(saver, state, "train", trained, {**schedule, "skipped": state.skipped})
    alphas = {k: 1.0 for k in schedule if k.startswith("alpha")}
    _log(saver, state, "valid", valid.means(), alphas)
    parts = [f"{n} {valid.mean(n):.{unit.digits}f}" for n in valid.values if n != "bound"]
    bar.write(
        f"iteration {state.iteration}: bound {sum(trained.values()):.{unit.digits}f} train, "
        f"{valid.mean('bound'):.{unit.digits}f} valid ({', '.join(parts)}) {unit.name}"
        + (f"; {state.skipped} iterations skipped" if state.skipped else "")
    )
    if np.isfinite(value) and (state.best is None or value < state.best):
        state.best = value
        saver.best(
            model.parameters.arrays(),
            {"model": model.header(), "iteration": state.iteration, "valid_bound": value},
        )
    state.count, state.sums, state.skipped = 0, [0.0] * len(step.names), 0


def _log(saver: Saver, state: _State, split: str, terms: Mapping[str, float], more) -> None:
    kls = {n: v for n, v in terms.items() if n not in ("bound", "reconstruction", "kl")}
    kl = terms["kl"] if "kl" in terms else sum(kls.values())
    row = {"reconstruction": terms["reconstruction"], "kl": kl, **kls, **more}
    row["bound"] = row["reconstruction"] + kl
    saver.log({"iteration": state.iteration, "split": split, "seconds": state.seconds, **row})
