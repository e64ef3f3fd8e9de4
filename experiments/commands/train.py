"""Train a model, then evaluate it and draw pictures."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import lru_cache, partial
from itertools import count
from os.path import relpath
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pixelvae.experiments import figures, together
from pixelvae.experiments.experiment import Experiment
from pixelvae.experiments.invocations import command
from pixelvae.machine.console.command import (
    flag,
    missing_package,
    non_negative_int,
    path,
    path_or_name,
)
from pixelvae.machine.console.progress import say
from pixelvae.machine.errors import UserError
from pixelvae.machine.parallel.world import on_rank_0
from pixelvae.models.family import Preset

if TYPE_CHECKING:
    from pixelvae.lib.data import Dataset
    from pixelvae.lib.evaluation import Bound
    from pixelvae.lib.runs.folder import Run
    from pixelvae.models.weights import Weights


def add(parser: argparse.ArgumentParser, experiment: Experiment) -> None:
    """The preset, what can be changed of it, the data, and how the run is kept."""
    family = experiment.family
    parser.add_argument(
        "--preset",
        choices=list(experiment.presets),
        default=experiment.default,
        help="a size of the model, and how it is trained",
    )
    for variation in family.variations:
        how: dict[str, Any] = {"action": "store_true"}
        if words := variation.words:
            how = {"choices": words, "default": words[0]}
        parser.add_argument(flag(variation.name), help=variation.about, **how)
    for option in (*family.settings.options(), *family.training.options()):
        choices = list(option.kind.words)
        how = {"choices": choices} if choices else {"type": option.kind}
        parser.add_argument(flag(option.name), help=option.about, **how)
    folder = experiment.folder.format(model="MODEL", preset="PRESET")
    experiment.add_data_options(parser, "the experiment's own")
    parser.add_argument("--out", type=path, help=f"the run's folder (default: {folder})")
    parser.add_argument(
        "--seed",
        type=non_negative_int,
        default=0,
        help="of initial weights, noise and the order of images",
    )
    parser.add_argument(
        "--resume",
        action="store_true",
        default=True,
        help="resume from the checkpoint in --out, if there is one (the default)",
    )
    parser.add_argument(
        "--no-resume",
        dest="resume",
        action="store_false",
        help="refuse a folder that holds a checkpoint",
    )
    parser.add_argument(
        "--from",
        dest="start",
        type=path_or_name,
        metavar="WEIGHTS",
        help="begin a new run with these weights at their iteration, grown if they are of a smaller "
        "model: NAME, RUN or FILE",
    )
    parser.add_argument("--tensorboard", action="store_true", help="write event files too")
    parser.add_argument(
        "--on-nan",
        choices=("stop", "skip"),
        default="stop",
        help="what to do with a step that is not finite",
    )


def complete(experiment: Experiment, options: argparse.Namespace) -> None:
    """Set ``options.chosen``, the preset with all changes.

    Options that were left out get its values.

    Raises UserError if a change makes no sense for the preset.
    """
    family, preset = experiment.family, experiment.presets[options.preset]
    for variation in family.variations:
        word = getattr(options, variation.name)
        if word != (variation.words[0] if variation.words else False):
            preset = variation.apply(preset, word)
    known = (*family.settings.options(), *family.training.options())
    changes = {option.field: getattr(options, option.name) for option in known}
    preset = preset.changed({name: value for name, value in changes.items() if value is not None})
    values = {**vars(preset.settings), **vars(preset.training)}
    for option in known:
        setattr(options, option.name, values[option.field])
    options.chosen = preset
    options.out = options.out or Path(experiment.folder.format(**vars(options)))


def run(experiment: Experiment, options: argparse.Namespace) -> int:
    """Train the chosen preset in its folder, resumed from its checkpoint if there is one.

    Returns
    -------
    0, or the exit status of the signal that stopped it
    """
    from pixelvae.lib.runs.folder import Run
    from pixelvae.lib.training.loop import Trainer
    from pixelvae.machine.backend.device import summary

    family, preset = experiment.family, options.chosen
    name = "" if options.data else experiment.data_for(preset)
    dataset = experiment.open_data(options, name, preset.settings.image_shape)
    settings = fitted(experiment, preset, dataset)
    start = weights_to_begin_with(experiment, options, settings)
    run = Run(Path(options.out), configuration(options, settings, dataset, start), family.columns)
    on_rank_0(run.take)(options.resume, options.tensorboard)
    with run:
        say(summary())
        if start is None:
            model, first = family.build(settings, seed=options.seed), 0
        else:
            model, first = start.model, start.iteration or 0
            say(f"beginning with {options.start} at iteration {first:,}")
        recipe = preset.training.recipe(options.seed, options.on_nan)
        latents = ", ".join(f"{k} {shape}" for k, shape in model.noise_shapes.items()) or "none"
        say(
            f"training {settings.name} ({model.parameters.count():,} parameters, latents: {latents}) "
            f"on {dataset.size('train'):,} images of {dataset.name}: {recipe.iterations:,} "
            f"iterations of {recipe.batch_size} images, evaluated every {recipe.eval_every:,}"
        )
        # Made for the first pictures: a training begins without it.
        drawer = lru_cache(None)(partial(figures.Figures, model, family.pictured))
        show = partial(next, pictures_on_page(experiment, run.folder, drawer, dataset))
        follow = len(experiment.splits)
        trainer = Trainer(model, dataset, recipe, run, show, first, follow)
        status = trainer.run()
        if status == 0:
            # What training compiled serves the best weights, too.
            weights = together.load(str(run.folder), family)
            model.parameters.assign(weights.model.parameters.arrays())
            finish(experiment, run, dataset, replace(weights, model=model), trainer.bound, drawer())
        return status


def weights_to_begin_with(
    experiment: Experiment, options: argparse.Namespace, settings: Any
) -> Weights | None:
    """What ``--from`` names, for a new run; None if it names nothing, or the run is resumed.

    Smaller models grow. Raises UserError if the weights do not fit the settings even so.
    """
    from pixelvae.lib.runs.folder import is_begun
    from pixelvae.models.weights import grow

    if options.start is None or on_rank_0(is_begun)(options.out):
        return None
    start = together.load(options.start, experiment.family)
    if start.iteration is None:
        raise UserError(f"{options.start} does not contain its iteration", setting="from")
    try:
        start, changes = grow(start, settings, options.seed)
    except UserError as problem:
        raise UserError(
            f"cannot begin with {options.start}: {problem}", setting="from"
        ) from problem
    if changes:
        say(f"growing {options.start} ({', '.join(changes)})")
    return start


def configuration(
    options: argparse.Namespace, settings: Any, dataset: Dataset, start: Weights | None
) -> dict[str, Any]:
    """What ``config.json`` holds: the settings of the training, the machine and its software."""
    from pixelvae.lib.runs.environment import environment_record
    from pixelvae.machine.backend.device import summary

    chosen: dict[str, Any] = {
        "model": vars(settings),
        **vars(options.chosen.training),
        "seed": options.seed,
        "data": {"name": dataset.name, "checksum": dataset.checksum},
    }
    if start is not None:
        chosen["from"] = {"weights": options.start, "iteration": start.iteration}
    environment = {**environment_record(), "backend": summary(), "preset": options.preset}
    return {"settings": chosen, "environment": environment}


def fitted(experiment: Experiment, preset: Preset, dataset) -> Any:
    """The preset's settings for a data set's images. Raises UserError if they are for others."""
    settings, levels = preset.settings, experiment.family.levels
    shape = dataset.image_shape
    if preset.any_size and dataset.levels == levels:
        settings = settings.fitted(shape)
    if settings.image_shape != shape or dataset.levels != levels:
        raise UserError(
            f"{dataset.name} has images of {shape} with {dataset.levels} levels, and "
            f"{settings.name} is for {settings.image_shape} with {levels}: choose another preset "
            "or data"
        )
    return settings


def finish(
    experiment: Experiment,
    run: Run,
    dataset: Dataset,
    weights: Weights,
    bound: Bound,
    drawer: figures.Figures,
) -> None:
    """Test the best weights of a finished run and draw their pictures."""
    from pixelvae.experiments.summaries import describe, summarise

    results: dict[str, Any] = {"iteration": weights.iteration}
    for split in experiment.splits:
        values = bound(dataset, split, seed=0)
        results[split] = summarise(weights, split, values, remarks=dataset.remarks)
        say(describe(results[split]))
    on_rank_0(run.write_json)("results.json", results)
    drawn = figures.draw_all(drawer, weights, dataset, run.folder)
    page = write_page(experiment, run.folder, weights)
    say("to look at: " + ", ".join(map(str, [*([page] if page else []), *drawn][:3])))
    more = command(experiment, "sample", run.folder, "--seed", 1)
    say(f"next, to draw others: {more.replace('python', relpath(sys.executable), 1)}")


def pictures_on_page(
    experiment: Experiment, folder: Path, drawer: Callable[[], figures.Figures], dataset: Dataset
) -> Iterator[Mapping[str, bytes]]:
    """A few pictures of the model as it is when the next are asked for, which go onto the page."""
    page: Path | None = folder
    for number in count():
        drawn = drawer().few(dataset)
        try:
            page = page and write_page(experiment, folder, drawn=drawn)
        except UserError as problem:  # no reason to stop the training
            say(f"report.html is not of these weights: {problem}")
        if page and number == 0:
            say(f"to watch while it trains: {page}")
        yield drawn


@on_rank_0
def write_page(
    experiment: Experiment,
    folder: Path,
    weights: Weights | None = None,
    drawn: Mapping[str, bytes] | None = None,
) -> Path | None:
    """All of it to look at, if the packages that pages need are installed; gives its path.

    Without the ``drawn`` pictures, which a training shows on the way, it is that of its end.
    """
    from pixelvae.experiments.pages.run_report import write_report

    try:
        return write_report(experiment, folder, weights, drawn)
    except ModuleNotFoundError as problem:
        reason = missing_package(problem)
        if reason is None:
            raise
        say(f"report.html was not written: {reason}")
        return None
