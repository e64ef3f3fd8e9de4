"""The training loop: Lasagne's Adam on one packed vector of parameters, evaluations, checkpoints.

A run is a pure function of its settings: batches and noise depend on the seed and the iteration alone, so a
checkpoint needs the parameters, Adam's state, the iteration and the sums since the last evaluation to go on
bit for bit.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice

import numpy as np

from lib.console.compiling import compiling
from lib.console.progress import Progress, say
from lib.console.stop import GracefulStop
from lib.errors import UserError
from lib.evaluation import Bound
from lib.model import Model, draw_noise
from lib.runs.folder import Run
from lib.runs.saver import Saver
from lib.training.replay import report_arrays
from lib.training.statistics import MovingStatistics
from lib.training.step import NotFinite, Recipe, TrainingStep

CHECKPOINT_SECONDS = 300  # beside the checkpoint at every evaluation


MAX_SKIPS = 100  # in a row: more are no accident


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
