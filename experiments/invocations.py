"""Command lines as text, for pages and records that name the command to type."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from itertools import product
from typing import Any

from pixelvae.experiments.experiment import Experiment
from pixelvae.machine.console.command import flag
from pixelvae.machine.errors import UserError
from pixelvae.models.family import Preset


def command(experiment: Experiment, *words: Any) -> str:
    """A command line of an experiment, as a shell reads it."""
    program = experiment.prog  # a script's name, or where the package is installed "pixelvae NAME"
    if program.endswith(".py"):
        program = f"python experiments/{program}"
    return f"{program} {shlex.join(map(str, words))}"


def training_command(
    experiment: Experiment, settings: Mapping[str, Any], preset: str, out: Any
) -> str:
    """The command that trains with a run's settings: a preset, and what differs from it.

    Raises UserError if there is none, because presets have changed or the settings make no sense.
    """
    family = experiment.family
    model: Any = family.settings.parse(settings.get("model"))
    training = family.training.within(settings)
    if preset not in experiment.presets:
        raise UserError(f"there is no preset {preset!r}")
    options = (*family.settings.options(), *family.training.options())
    chosen = {**vars(model), **vars(training)}
    varied, words = experiment.presets[preset], None
    for candidate, with_words in _variations(experiment, varied):
        usual = {**vars(candidate.settings), **vars(candidate.training)}
        changes = {o.field: chosen[o.field] for o in options if chosen[o.field] != usual[o.field]}
        if None not in changes.values() and _gives(candidate.changed(changes), model, training):
            varied, words = candidate, with_words
            break
    if words is None:
        raise UserError(f"the preset {preset} is no longer what this run began with")
    # The kind of model goes first, and is always named.
    kinds = [o for o in options if o.kind.words]
    line = [word for o in kinds for word in (flag(o.name), chosen[o.field])]
    line += ["--preset", preset, *words, "--data", settings["data"]["name"]]
    if varied.settings.image_shape != model.image_shape:
        line += experiment.size_words(model.image_shape)
    for option in options:
        if option.field in changes and option not in kinds:
            line += [flag(option.name), changes[option.field]]
    if settings["seed"]:
        line += ["--seed", settings["seed"]]
    if "from" in settings:
        line += ["--from", settings["from"]["weights"]]
    return command(experiment, "train", *line, "--out", out)


def _gives(preset: Preset, model: Any, training: Any) -> bool:
    """Whether training a preset makes these settings, on data of the model's image size."""
    size = model.image_shape if preset.any_size else preset.settings.image_shape
    return (preset.settings.fitted(size), preset.training) == (model, training)


def _variations(experiment: Experiment, preset: Preset) -> Iterator[tuple[Preset, list[Any]]]:
    """The preset, itself and with each combination of the family's variations, and its options."""
    known = experiment.family.variations
    for words in product(*[v.words or (False, True) for v in known]):
        changed, line = preset, []
        try:
            for variation, word in zip(known, words):
                if word != (variation.words or (False,))[0]:
                    changed = variation.apply(changed, word)
                    line += [flag(variation.name), *([word] if variation.words else [])]
        except UserError:
            continue
        yield changed, line
