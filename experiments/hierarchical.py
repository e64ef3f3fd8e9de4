"""What the experiments with larger images share: their command line, training and evaluation.

Numbers are bits a dimension (:func:`lib.model.bits_per_dim`), with nats an image beside them.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from experiments import figures
from experiments.weights import NONSENSE, load_weights, model_of, open_data
from lib.console import command
from lib.console.command import (
    ArgumentParser,
    non_negative_int,
    picture_int,
    positive_float,
    positive_int,
)
from lib.console.progress import say
from lib.errors import UserError
from lib.files.atomic import to_json
from models.presets import Preset, Training
from models.settings import BATCH_NORMS, DECODERS, Settings

WORDS = ("train", "evaluate", "sample", "reconstruct", "vary", "replay")
# Columns of metrics.csv beside those of every model.
COLUMNS = ("kl1", "kl2", "alpha1", "alpha2", "sigma_floor")


@dataclass(frozen=True)
class Experiment:
    """A data set with the presets that are trained on it; the first is the default.

    data: the data set's name for a preset's settings. splits: what a finished training is tested
    on.
    """

    prog: str
    doc: str
    presets: Mapping[str, Preset]
    data: Callable[[Settings], str]
    splits: Sequence[str] = ("valid", "test")

    def main(self, arguments: list[str]) -> int:
        """The exit status of a command line without the program's name."""
        options = self.parse(arguments)
        return command.main(command.run, options)

    def parse(self, arguments: list[str]) -> argparse.Namespace:
        """The command line; no word means ``train``."""
        if not arguments or arguments[0] not in (*WORDS, "-h", "--help"):
            arguments = ["train", *arguments]
        parser = ArgumentParser(prog=self.prog, description=self.doc.splitlines()[0])
        commands = parser.add_subparsers(dest="command", required=True)

        p = commands.add_parser("train", help="train a model, then evaluate and draw pictures")
        p.add_argument("--preset", choices=list(self.presets), default=next(iter(self.presets)))
        p.add_argument("--pixel-decoder", choices=DECODERS, default="pixelcnn", help="ablation")
        p.add_argument("--top-decoder", choices=DECODERS, default="pixelcnn", help="ablation")
        p.add_argument("--one-level", action="store_true", help="ablation: a single latent vector")
        _add_data(p, "default: the experiment's own")
        p.add_argument("--out", help="the run's folder (default: runs/PRESET)")
        p.add_argument("--iterations", type=positive_int)
        p.add_argument("--batch-size", type=positive_int)
        p.add_argument("--learning-rate", type=positive_float)
        p.add_argument("--eval-every", type=positive_int)
        p.add_argument(
            "--statistics-batches", type=positive_int, metavar="N",
            help="training batches that moving statistics are averaged over before an evaluation",
        )  # fmt: skip
        p.add_argument("--seed", type=non_negative_int, default=0)
        p.add_argument("--resume", dest="resume", action="store_true", default=True)
        p.add_argument("--no-resume", dest="resume", action="store_false")
        p.add_argument("--tensorboard", action="store_true", help="write event files too")
        p.add_argument(
            "--on-nan", choices=("stop", "skip"), default="stop",
            help="what to do with a step that is not finite",
        )  # fmt: skip
        p.set_defaults(function=self.train)

        p = _add_word(commands, "evaluate", evaluate, "bits/dim and its parts, and nats an image")
        _add_data(p, "default: what the weights were trained on")
        _add_split(p)
        p.add_argument(
            "--images", type=positive_int, metavar="M", help="only M images, evenly spaced"
        )
        p.add_argument("--samples", type=positive_int, default=1, help="posterior samples an image")
        p.add_argument("--batch-size", type=positive_int, default=16)
        p.add_argument("--json", action="store_true", help="one JSON object on the last line")

        p = _add_word(commands, "sample", figures.sample, "a picture of samples (figures 1 and 7)")
        p.add_argument("--count", type=picture_int, default=25)
        _add_picture(p)

        p = _add_word(
            commands, "reconstruct", figures.reconstruct, "originals and draws (figure 8)"
        )
        _add_data(p, "default: what the weights were trained on")
        _add_split(p)
        p.add_argument("--count", type=picture_int, default=8, help="originals")
        p.add_argument("--draws", type=picture_int, default=5, help="draws beside each")
        p.add_argument("--level", choices=("top", "bottom"), default="top", help="latents kept")
        _add_picture(p)

        p = _add_word(commands, "vary", figures.vary, "one level's noise varied (figures 6 and 11)")
        p.add_argument("--level", choices=(*figures.LEVELS, "all"), default="all")
        p.add_argument("--count", type=picture_int, default=8, help="variations in a row")
        p.add_argument("--scenes", type=picture_int, default=1, help="noises that are varied")
        _add_picture(p)

        p = commands.add_parser("replay", help="look at the step that was not finite")
        p.add_argument("report", metavar="RUN|TROUBLE.npz")
        p.set_defaults(function=replay)

        for p in commands.choices.values():
            command.add_device_options(p)
        options = parser.parse_args(arguments)
        if options.command == "train":
            settings = self.presets[options.preset].settings
            if options.top_decoder != "pixelcnn" and (options.one_level or not settings.top_stages):
                parser.error("--top-decoder is for models of two levels; leave it out")
        return options

    def train(self, options) -> int:
        from datasets import open_dataset
        from lib.backend.summary import summary
        from lib.runs.environment import environment_record
        from lib.runs.folder import Run
        from lib.training.loop import Trainer
        from models.hierarchical import HierarchicalModel

        preset = chosen_preset(self.presets[options.preset], options)
        name = options.data or self.data(preset.settings)
        dataset = open_dataset(name, Path(options.source) if options.source else None)
        settings, training = fitted(preset.settings, dataset), preset.training
        config = {
            "settings": {
                "model": vars(settings),
                **vars(training),
                "seed": options.seed,
                "data": {"name": dataset.name, "checksum": dataset.checksum},
            },
            "environment": {**environment_record(), "backend": summary(), "preset": options.preset},
        }
        out = options.out or f"runs/{options.preset}"
        with Run.open(out, config, options.resume, COLUMNS, options.tensorboard) as run:
            say(summary())
            model = HierarchicalModel(settings, seed=options.seed)
            count = model.parameters.count()
            say(f"{settings.name}: {count:,} parameters, latents {model.noise_shapes}")
            recipe = recipe_of({**vars(training), "seed": options.seed}, options.on_nan)
            status = Trainer(model, dataset, recipe, run).run()
            if status == 0:
                self._finish(run, dataset)
            return status

    def _finish(self, run, dataset) -> None:
        """Tests the best weights and draws the pictures."""
        from lib.evaluation import Bound

        model, header = load(str(run.folder))
        bound = Bound(model, seed=0, batch_size=model.settings.batch)
        results = {"iteration": header["iteration"]}
        for split in self.splits:
            results[split] = report(model, split, bound(dataset, split), header)
            say(describe(results[split]))
        run.write_json("results.json", results)
        figures.draw_all(model, dataset, run)
        say(f"results, samples, reconstructions and variations are in {run.folder}")


def recipe_of(settings: Mapping[str, Any], on_nan: str = "stop"):
    """The :class:`lib.training.step.Recipe` of a preset's training with a ``seed``, or of a run's settings."""
    from lib.training.step import Recipe

    training = Training(**{field.name: settings[field.name] for field in fields(Training)})
    return Recipe(
        training.iterations, training.batch, training.eval_every, settings["seed"],
        training.schedule, clip_norm=5.0, evaluation_batch=training.batch,
        statistics_batches=training.statistics, on_nan=on_nan,
    )  # fmt: skip


def replay(options) -> None:
    from experiments.weights import show_report
    from models.hierarchical import HierarchicalModel

    show_report(
        options.report,
        lambda header: HierarchicalModel(Settings.from_header(header["model"])),
        recipe_of,
    )


def _add_word(commands, word: str, function: Callable, about: str):
    p = commands.add_parser(word, help=about)
    p.add_argument("weights", metavar="RUN|WEIGHTS.npz")
    p.add_argument("--seed", type=non_negative_int, default=0)
    p.add_argument(
        "--batch-norm", choices=BATCH_NORMS, default="blend",
        help="statistics: blended with the image's own, as the released code does, or moving alone",
    )  # fmt: skip
    p.set_defaults(function=lambda options: function(options, *load(options.weights, options)))
    return p


def _add_data(p, default: str) -> None:
    p.add_argument("--data", help=f"a data set's name or a .npz file ({default})")
    p.add_argument("--source", metavar="DIR", help="the folder with the data set's source files")


def _add_split(p) -> None:
    p.add_argument("--split", choices=("train", "valid", "test"), default="test")


def _add_picture(p) -> None:
    p.add_argument("--sampler", choices=("cached", "naive"), default="cached")
    p.add_argument("--out", metavar="FILE.png")


def chosen_preset(preset: Preset, options) -> Preset:
    """The preset with what the command line changes."""
    if options.one_level and preset.settings.top_stages:
        preset = preset.one_level()
    settings, training = preset.settings, preset.training
    for what in ("pixel_decoder", "top_decoder"):
        if getattr(options, what) == "gaussian":
            name = f"{settings.name}, gaussian {what.split('_')[0]} decoder"
            changed: dict[str, Any] = {what: "gaussian"}
            settings = replace(settings, name=name, **changed)
    changes = {
        "batch": options.batch_size,
        "iterations": options.iterations,
        "learning_rate": options.learning_rate,
        "eval_every": options.eval_every,
        "statistics": options.statistics_batches,
    }
    training = replace(training, **{k: v for k, v in changes.items() if v is not None})
    return Preset(replace(settings, batch=training.batch), training)


def fitted(settings: Settings, dataset) -> Settings:
    """The settings for a data set's images; only the tiny preset takes images of any size.

    Raises UserError where they do not fit.
    """
    channels, height, width = dataset.image_shape
    if settings.name.startswith("tiny"):
        settings = replace(settings, channels=channels, height=height, width=width)
    shape = (settings.channels, settings.height, settings.width)
    if dataset.image_shape != shape or dataset.levels != settings.levels:
        raise UserError(
            f"{dataset.name} has images of {dataset.image_shape} with {dataset.levels} levels, and "
            f"{settings.name} is for {shape} with {settings.levels}: choose another preset or data"
        )
    return settings


def load(path: str, options=None):
    """The model of a run or a weights file, and the file's header."""
    from models.hierarchical import HierarchicalModel

    arrays, header = load_weights(path)
    batch_norm = options.batch_norm if options else "blend"
    model = model_of(
        path, arrays, header,
        lambda h: HierarchicalModel(Settings.from_header(h["model"]), batch_norm=batch_norm),
    )  # fmt: skip
    try:
        trained = {name: header["config"]["settings"][name] for name in ("seed", "data")}
        header = {**header, **trained, "iteration": int(header["iteration"])}
    except NONSENSE:
        raise UserError(f"{path} does not say how its weights were trained") from None
    return model, header


def report(model, split: str, bound, header, batch_norm: str = "blend") -> dict:
    """The numbers as JSON (the format of results.json), in bits/dim and, beside them, nats."""
    keys = [
        name for name in ("bound", "reconstruction", "kl", "kl1", "kl2") if name in bound.values
    ]
    in_unit = bound.measured_in(model.unit)
    return {
        "model": model.settings.name,
        "split": split,
        "images": len(bound.values["bound"]),
        "unit": model.unit.name,
        **{name: in_unit.summary(name) for name in keys},
        "nats/image": {name: bound.summary(name) for name in keys},
        "batch_norm": batch_norm,
        "iteration": header["iteration"],
        "seed": header["seed"],
    }


def describe(numbers: dict) -> str:
    """The same numbers as one line."""
    nats = numbers["nats/image"]
    parts = [f"{k} {numbers[k]['mean']:.4f} ± {numbers[k]['se']:.4f}" for k in nats]
    return (
        f"{numbers['model']}, {numbers['images']:,} {numbers['split']} images: {', '.join(parts)} "
        f"{numbers['unit']}; bound {nats['bound']['mean']:.1f} nats/image"
    )


def evaluate(options, model, header) -> None:
    from lib.evaluation import Bound

    dataset = open_data(options.data, header, model, options.source)
    bound = Bound(model, options.seed, options.batch_size)(
        dataset, options.split, options.images, options.samples
    )
    numbers = report(model, options.split, bound, header, options.batch_norm)
    print(describe(numbers) + " (± standard error)")
    if options.json:
        print(to_json(numbers))
