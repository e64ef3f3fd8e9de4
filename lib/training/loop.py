"""The training loop: steps, evaluations, checkpoints.

A run is a pure function of its settings: batches and noise depend on the seed and the iteration
alone, so a checkpoint needs the parameters, Adam's state, the iteration and the sums since the last
evaluation to resume bit for bit.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import cast

import numpy as np

from pixelvae.lib.data import Dataset
from pixelvae.lib.evaluation import Bound, Evaluation
from pixelvae.lib.model import Model, MovingModel
from pixelvae.lib.runs.folder import Run
from pixelvae.lib.runs.saver import Saver
from pixelvae.lib.training.batches import Batch, batches
from pixelvae.lib.training.recipe import Recipe
from pixelvae.lib.training.replay import report_arrays
from pixelvae.lib.training.state import State
from pixelvae.lib.training.statistics import MovingStatistics, batches_after
from pixelvae.lib.training.step import NotFinite, TrainingStep
from pixelvae.machine.console.compiling import compiling
from pixelvae.machine.console.progress import Progress, quietly, say
from pixelvae.machine.console.stop import GracefulStop, exit_status
from pixelvae.machine.errors import NotFiniteError, UserError
from pixelvae.machine.parallel.world import OnRank0, world

CHECKPOINT_SECONDS = 300  # beside the checkpoint at every evaluation
MAX_SKIPS = 100  # in a row: more are no coincidence
SHOWING = 0.02  #: at most this share of a training's time goes into pictures on the way
BOUND = 0.3  # the share of an image's training that its evaluation takes, until that is measured


class Trainer:
    """Trains a model in a run's folder, resuming from its checkpoint if it holds one.

    Every ``eval_every`` iterations and at the end: the bound (α = 1) on the whole validation set, a
    row for training and one for validation in metrics.csv, the best weights by validation bound, a
    checkpoint.

    Every rank has a trainer, does the same, and holds the same weights; rank 0's alone saves. Their
    number changes nothing but rounding, so any number may resume a run.

    A step that is not finite stops the training or is skipped, by the recipe's ``on_nan``;
    trouble.npz in the run's folder then holds all that takes the step again. If saving fails,
    training continues and the next save tries again.

    A new run begins at iteration ``first`` with what the model holds: 0, or where its weights are
    from. Adam's moments and the average begin there too.

    ``show`` draws and shows pictures of the model as it is after an evaluation, unless that took
    too long so far (:data:`SHOWING`); it gives them as PNG files by name, for TensorBoard. The time
    left includes as many further evaluations as ``follow`` the training.

    Attributes
    ----------
    bound
        What evaluates the model, for those evaluations, too.

    Raises
    ------
    UserError
        The checkpoint does not fit the model, or the first one cannot be written.
    """

    def __init__(
        self,
        model: Model,
        dataset: Dataset,
        recipe: Recipe,
        run: Run,
        show: Callable[[], Mapping[str, bytes]] | None = None,
        first: int = 0,
        follow: int = 0,
    ) -> None:
        self._model, self._dataset, self._recipe = model, dataset, recipe
        self._show, self._follow = show, follow
        self._showing = -1.0  # seconds; below 0 before the first time
        self.bound = Bound(model, recipe.seed, recipe.evaluation_batch)
        self._statistics: MovingStatistics | None = None
        if recipe.statistics_batches:
            if not isinstance(model, MovingModel):
                raise ValueError("the recipe is for a model with moving statistics")
            self._statistics = MovingStatistics(model)
        with compiling("the training step", len(model.parameters)):
            self._step = TrainingStep(model, recipe)
        self._saver = cast(Saver, OnRank0(Saver(run)))
        self._folder = run.folder
        self._state = self._begin(first)
        self._skips = 0  # in a row

    def _begin(self, first: int) -> State:
        terms = len(self._step.names)
        saved = self._saver.load()
        if saved is None:
            state = State.first(terms, first)
            self._saver.start(self._step.state(), state.header())
            return state
        arrays, header = saved
        self._step.restore(arrays)
        state = State.of(header, terms)
        say(f"resuming from iteration {state.iteration}")
        return state

    def run(self) -> int:
        """Train until ``recipe.iterations``.

        Returns
        -------
        0 when done, else the exit status of the signal that stopped it, 130 or 143 (the run is
        saved then)

        Raises
        ------
        UserError
            A step is not finite, no evaluation was finite, or the last save failed.
        """
        recipe, state = self._recipe, self._state
        stream = self._dataset.training_stream(recipe.batch_size, recipe.seed, state.iteration)
        following = batches(self._model, recipe, stream, state.iteration)
        self._stamped = time.monotonic()
        evaluation = BOUND * self._dataset.size("valid") / recipe.batch_size
        further = self._evaluations_to_come() * evaluation
        bar = Progress(recipe.iterations, state.iteration, further=further)
        with bar, GracefulStop() as stop:
            while True:
                # All ranks stop after the same step, and save after the same.
                signal, since = world().largest(stop.signal, time.monotonic() - self._stamped)
                if signal or state.iteration >= recipe.iterations:
                    break
                if since > CHECKPOINT_SECONDS:
                    self._save(False, bar)
                t = state.iteration + 1
                self._take_step(t, next(following), bar)
                state.iteration = t
                if t % recipe.eval_every == 0 or t == recipe.iterations:
                    self._save(True, bar)
            if signal:
                if not stop.signal:
                    say("stopping after this step, as another rank was asked to")
                self._stamp()
                self._saver.checkpoint(self._step.state(), state.header())
        self._step.sync()
        self._saver.finish()
        if not signal and state.best is None:
            raise NotFiniteError(
                f"no evaluation of {self._folder} was finite, so there are no best weights: "
                "restart with a lower learning rate"
            )
        return exit_status(int(signal))

    def _evaluations_to_come(self) -> int:
        every, last = self._recipe.eval_every, self._recipe.iterations
        return -(-last // every) - self._state.iteration // every + self._follow

    def _take_step(self, t: int, batch: Batch, bar: Progress) -> None:
        try:
            values = self._step(*batch)
        except NotFinite as trouble:
            self._skips += 1
            if self._skips == 1:
                self._report(t, batch, trouble)
            if self._recipe.on_nan == "stop" or self._skips > MAX_SKIPS:
                raise self._stopped(t, trouble) from None
            if self._skips == 1:
                bar.write(f"iteration {t} is skipped: {trouble}")
            self._state.skipped += 1
            bar.update(1)
        else:
            self._skips = 0
            self._state.add(values[1:].tolist())
            bar.update(1, bound=float(values[1:].sum()) / self._model.unit.nats)

    def _report(self, t: int, batch: Batch, trouble: NotFinite) -> None:
        header = {
            "model": self._model.header(),
            "iteration": t,
            "scalars": dict(batch.scalars),
            "trouble": str(trouble),
        }
        self._saver.report(report_arrays(self._step.state(), batch.images, batch.noise), header)

    def _stopped(self, t: int, trouble: NotFinite) -> UserError:
        if self._recipe.on_nan == "stop":
            which, way_on = f"iteration {t} is", 'on_nan "skip" leaves such steps out'
        else:
            which = f"the last {self._skips} iterations are"
            way_on = "that many in a row are no coincidence: restart with a lower learning rate"
        return NotFiniteError(
            f"{which} not finite: {trouble}; the last checkpoint is kept. "
            f'"replay {self._folder}" looks at the first such step, {way_on}',
            setting="on_nan" if self._recipe.on_nan == "stop" else None,
        )

    def _stamp(self) -> None:
        """Add the time since the last stamp, before the last checkpoint, to that of training."""
        now = time.monotonic()
        self._state.seconds += now - self._stamped
        self._stamped = now

    def _save(self, evaluate: bool, bar: Progress) -> None:
        self._stamp()
        if self._saver.folder_made_again(self._step.state(), self._state.header()):
            self._state.best = None
        if evaluate:
            world().check_same(
                {"weights of checksum": self._step.checksum()},
                "a machine or its libraries compute something else; the last checkpoint is kept",
            )
            self._step.sync()
            with bar.aside():
                self.bound.compile()
            with bar.aside(again=self._evaluations_to_come()):
                valid, line = self._evaluate()
            left = bar.left()
            bar.write(f"{line}; {left}" if left else line)
        with bar.aside():
            self._saver.checkpoint(self._step.state(), self._state.header())
            if evaluate and np.isfinite(valid):
                self._show_pictures()
        self._stamped = time.monotonic()  # evaluations are not training

    def _show_pictures(self) -> None:
        (late,) = world().largest(self._showing - SHOWING * self._state.seconds)
        if self._show is None or late > 0:
            return
        start = time.monotonic()
        with quietly():
            self._saver.pictures(self._state.iteration, self._show())
        # The first time is for compiling, without which a training does not end either.
        first = self._showing < 0
        self._showing = 0.0 if first else self._showing + time.monotonic() - start

    def _evaluate(self) -> tuple[float, str]:
        """Log two rows, keep the weights if they are best; the bound, and a line for the user."""
        state, unit = self._state, self._model.unit
        schedule = dict(self._recipe.schedule(state.iteration))
        schedule.pop("learning_rate")
        trained = {n: m / unit.nats for n, m in zip(self._step.names, state.means())}
        self._log("train", trained, {**schedule, "skipped": state.skipped})
        try:
            result = self._validate()
        except NotFiniteError as problem:
            valid, text = dict.fromkeys(self._step.names, float("nan")), f"none valid: {problem}"
        else:
            self._keep(result.mean("bound"))
            valid = result.measured_in(unit).means()
            parts = [f"{n} {v:.{unit.digits}f}" for n, v in valid.items() if n != "bound"]
            text = f"{valid['bound']:.{unit.digits}f} valid ({', '.join(parts)}) {unit.name}"
        self._log("valid", valid, {k: 1.0 for k in schedule if k.startswith("alpha")})
        line = (
            f"iteration {state.iteration}: bound {sum(trained.values()):.{unit.digits}f} train, "
            + text
            + (f"; {state.skipped} iterations skipped" if state.skipped else "")
        )
        state.evaluated()
        return valid.get("bound", float("nan")), line

    def _validate(self) -> Evaluation:
        if self._statistics is not None:
            after = self._state.iteration
            of_statistics = batches_after(self._model, self._dataset, self._recipe, after)
            self._statistics(of_statistics, self._recipe.statistics_batches)
        return self.bound(self._dataset, "valid")

    def _keep(self, bound: float) -> None:
        """Save the weights, which have this validation bound in nats, if none had a better one."""
        state = self._state
        if state.best is None or bound < state.best:
            state.best = bound
            self._saver.best(
                self._model.parameters.arrays(),
                {"model": self._model.header(), "iteration": state.iteration, "valid_bound": bound},
            )

    def _log(self, split: str, terms: Mapping[str, float], more: Mapping[str, float]) -> None:
        kls = {n: v for n, v in terms.items() if n not in ("bound", "reconstruction", "kl")}
        kl = terms["kl"] if "kl" in terms else sum(kls.values())
        row = {"reconstruction": terms["reconstruction"], "kl": kl, **kls, **more}
        row["bound"] = row["reconstruction"] + kl
        state = self._state
        self._saver.log(
            {"iteration": state.iteration, "split": split, "seconds": state.seconds, **row}
        )
