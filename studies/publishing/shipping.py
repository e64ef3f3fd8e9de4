"""From a run to trained weights in ``pretrained/``, and a record and pictures in ``results/``."""

from __future__ import annotations

import hashlib
import math
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pixelvae.datasets.duplicates import repeated
from pixelvae.experiments import figures, together
from pixelvae.experiments.experiment import Experiment, check_fits, trained_on
from pixelvae.experiments.invocations import training_command
from pixelvae.experiments.summaries import (
    SampleSizes,
    checked_sizes,
    describe,
    describe_two_stages,
    is_known,
    summarise,
)
from pixelvae.machine.console.command import ArgumentParser, path, positive_int
from pixelvae.machine.console.progress import say
from pixelvae.machine.errors import UserError
from pixelvae.machine.parallel.world import on_rank_0
from pixelvae.models.mnist.table1 import Row
from studies.publishing.records import ROOT, read_json, write_record

if TYPE_CHECKING:
    from pixelvae.lib.data import Dataset
    from pixelvae.models.weights import Weights


@dataclass(frozen=True)
class Shipped:
    """What is shipped of an experiment's models, and where.

    Parameters
    ----------
    folder
        Of ``results/``, for records and pictures.
    name
        What weights are called.
    size
        The model's settings that a record contains.
    more
        What a record holds beside the bounds, made of weights, their data set and those bounds.
    subset
        Test images, evenly spaced, on which the tests look a number up that is quickly computed.
    draw
        Draws the pictures (:func:`pixelvae.experiments.figures.draw_all`).
    """

    experiment: Experiment
    folder: str
    name: Callable[[Any], str]
    size: Sequence[str]
    more: Callable[[Any, Any, Mapping[str, Any]], dict[str, Any]]
    subset: int = 1_000
    draw: Callable[..., object] = figures.draw_all

    def record(self, weights, dataset) -> dict[str, Any]:
        """The numbers of a record: bounds on all validation and test images, on parts of others.

        All in the model's unit. Of the training images there are as many as for validation, evenly
        spaced: their bound shows how much better the model fits what it was trained on. "new" are
        the test images that are in no other split, where some are.
        """
        from pixelvae.lib.evaluation import Bound

        bound = Bound(weights.model, seed=0, batch_size=self.experiment.family.evaluation_batch)
        numbers: dict[str, Any] = {}
        for split, images in (("train", training_images(dataset)), ("valid", None), ("test", None)):
            values = bound(dataset, split, images)
            numbers[split] = summarise(weights, split, values, remarks=dataset.remarks)
            say(describe(numbers[split]))
        new = ~repeated(dataset, "test", ("train", "valid"))
        if new.any() and not new.all():  # the last split that was evaluated is the test set
            values = replace(values, values={n: v[new] for n, v in values.values.items()})
            numbers["new"] = summarise(weights, "test", values)
        few = min(self.subset, dataset.size("test"))
        numbers["subset"] = summarise(weights, "test", bound(dataset, "test", few))
        return {**numbers, **self.more(weights, dataset, numbers)}


def training_images(dataset: Dataset) -> int:
    """How many training images are measured: no more than there are for validation."""
    return min(dataset.size("train"), dataset.size("valid"))


def weighted(weights: Weights, dataset: Dataset, sizes: SampleSizes) -> dict[str, Any]:
    """Under ``weighted``, importance-weighted estimates of the test images in two stages.

    In the model's unit; nothing for a model without latents, whose bound is exact.
    """
    from pixelvae.lib.evaluation import ImportanceWeighted

    model = weights.model
    if not model.latents:
        return {}
    weigh = ImportanceWeighted(model, seed=0, batch_size=weights.family.evaluation_batch)
    estimates = weigh.in_two_stages(dataset, "test", *_within(sizes, dataset))
    summary = estimates.measured_in(model.unit).summary()
    say(describe_two_stages(summary, model.unit.name))
    return {"weighted": summary}


def _within(sizes: SampleSizes, dataset: Dataset) -> SampleSizes:
    return sizes._replace(images=min(sizes.images, dataset.size("test")))


def evaluation_commands(
    command: str, weights: Weights, sizes: SampleSizes, dataset: Dataset
) -> dict[str, str]:
    """The commands that print a record's numbers, made of the one for the test set's bound.

    An exact likelihood needs no importance weighting.
    """
    commands = {
        "bound": command,
        "valid": f"{command} --split valid",
        "train": f"{command} --split train --images {training_images(dataset)}",
    }
    if weights.model.latents:
        few, samples, images = _within(sizes, dataset)
        commands["weighted"] = (
            f"{command} --importance-samples {samples} --images {images} --few-samples {few}"
        )
    return commands


def add_sample_sizes(parser: ArgumentParser, default: SampleSizes) -> None:
    """Add how many importance samples of how many images a record has."""
    parser.add_argument("--few-samples", type=positive_int, default=default.few, metavar="F",
                        help="importance samples of each test image")  # fmt: skip
    parser.add_argument("--importance-samples", type=positive_int, default=default.samples, metavar="S",
                        help="more of them, of some images")  # fmt: skip
    parser.add_argument("--images", type=positive_int, default=default.images, metavar="M",
                        help="of how many images, evenly spaced")  # fmt: skip


def sample_sizes(arguments) -> SampleSizes:
    """What these options say. Raises UserError unless the second stage has more samples."""
    return checked_sizes(arguments.few_samples, arguments.importance_samples, arguments.images)


def add_into_option(parser: ArgumentParser) -> None:
    """Add the folder that is shipped into."""
    parser.add_argument("--into", default=ROOT, type=path, metavar="FOLDER",
                        help="where pretrained/ and results/ are (default: this repository)")  # fmt: skip


def ship_run(run: Path, into: Path, shipped: Shipped) -> dict[str, Any]:
    """One run: weights, pictures and record, which is returned.

    The record is the last to be written.

    Ranks share the evaluation.
    """
    from pixelvae.lib.runs.metrics import read_metrics
    from pixelvae.models.weights import is_name, read

    if not (run / "best.npz").exists():
        raise UserError(f"{run} holds no best.npz: name the folder of a training")
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:  # a training may continue meanwhile
        copy = shutil.copy(run / "best.npz", folder)
        rows = on_rank_0(read_metrics)(run / "metrics.csv")
        rows = [row for row in rows if row["split"] == "valid"]
        weights = together.load(copy, shipped.experiment.family)
        arrays, header = on_rank_0(read)(copy)
    name = shipped.name(weights)
    say(f"{run}: {name}, weights of iteration {header['iteration']:,}")
    dataset = _data_of(weights)
    described = describe_run(shipped, name, header, rows)
    begun = header["config"]["settings"].get("from")
    if begun is not None:
        records = into / "results" / shipped.folder
        earlier, other = on_rank_0(read_json)(records / f"{name}.json"), None
        if earlier is None:  # weights of another name, or a run that was shipped by its own
            other = begun["weights"] if is_name(begun["weights"]) else Path(begun["weights"]).name
            earlier = on_rank_0(read_json)(records / f"{other}.json")
        described["training"] = joined(begun, earlier, described, other)
    record = {
        "model": name,
        **described,
        "parameters": int(weights.model.parameters.count()),
        **shipped.record(weights, dataset),
    }
    pictures = into / "results" / shipped.folder
    pictures.mkdir(parents=True, exist_ok=True)
    shipped.draw(figures.of(weights), weights, dataset, pictures, f"{name}-")
    record["evaluation_seconds"] = round(time.monotonic() - start)
    return _write(into, shipped, name, record, arrays, header)


def measure_again(name: str, into: Path, shipped: Shipped) -> dict[str, Any]:
    """The record of shipped weights with its numbers measured again, by a changed evaluation.

    Weights and pictures stay. Raises UserError if there is no record, or it is of other weights.
    """
    start = time.monotonic()
    path = into / "results" / shipped.folder / f"{name}.json"
    record = on_rank_0(read_json)(path)
    if record is None:
        raise UserError(f"there is no {path}: ship the weights first")
    file = into / record["weights"]["file"]
    weights = together.load(str(file), shipped.experiment.family)
    if hashlib.sha256(file.read_bytes()).hexdigest() != record["weights"]["sha256"]:
        raise UserError(f"{file} holds other weights than those of {path}: ship them")
    record.update(shipped.record(weights, _data_of(weights)))
    record["evaluation_seconds"] = round(time.monotonic() - start)
    on_rank_0(write_record)(path, record)
    return record


def _data_of(weights):
    """What weights were trained on."""
    dataset = together.open_data(trained_on(weights), image_size=weights.model.image_shape[1])
    check_fits(dataset, weights)
    return dataset


@on_rank_0
def _write(
    into: Path, shipped: Shipped, name: str, record: dict[str, Any], arrays, header
) -> dict[str, Any]:
    from pixelvae.machine.files.arrays import save_arrays

    file = into / "pretrained" / f"{name}.npz"
    file.parent.mkdir(parents=True, exist_ok=True)
    save_arrays(file, {n: a.astype("float32") for n, a in arrays.items()}, header)
    record["weights"] = {
        "file": f"pretrained/{name}.npz",
        "bytes": file.stat().st_size,
        "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
    }
    write_record(into / "results" / shipped.folder / f"{name}.json", record)
    return record


def describe_run(
    shipped: Shipped, name: str, header: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """What was trained, and how, from the weights' header and ``metrics.csv``'s validation rows.

    Raises UserError if there are no rows.
    """
    if not rows:
        raise UserError("the run has no evaluation in its metrics.csv yet")
    settings, environment = header["config"]["settings"], header["config"]["environment"]
    preset, experiment = environment["preset"], shipped.experiment
    few = [*rows[:: math.ceil(len(rows) / 10)], rows[-1]]
    return {
        "preset": preset,
        "size": {key: settings["model"][key] for key in shipped.size},
        "data": settings["data"],
        "training": {
            "command": training_command(experiment, settings, preset, f"runs/{name}"),
            "seed": settings["seed"],
            "batch_size": experiment.family.recipe(settings).batch_size,
            "iterations_asked": settings["iterations"],
            "iterations": rows[-1]["iteration"],
            "best_iteration": header["iteration"],
            "seconds": round(rows[-1]["seconds"]),
            "backend": environment["backend"],
            "cpu_count": environment["cpu_count"],
            "git_commit": environment["git_commit"],
            "valid_bounds": {str(row["iteration"]): round(row["bound"], 4) for row in few},
        },
    }


def joined(
    begun: Mapping[str, Any],
    earlier: Mapping[str, Any] | None,
    record: Mapping[str, Any],
    other: str | None = None,
) -> dict[str, Any]:
    """The record of a training that began with shipped weights: the whole time, and curve.

    ``begun`` is the run's setting ``from``, ``earlier`` the model's last record, of those weights,
    of others from the same run, or of what that run has become since, and ``before`` in the result
    what was recorded of the training before. ``other`` is the name of weights that are those of
    another model, or were trained on other data; the curve then begins with this training. Raises
    UserError if the record is of none of these.
    """
    training, earlier_training = record["training"], _until(begun["iteration"], earlier)
    if earlier_training is None:
        raise UserError(
            f"the run began with {begun['weights']} at iteration {begun['iteration']:,}, "
            "and there is no record of their training to join its own to"
        )
    before = {**earlier_training, **({"weights": other} if other else {})}
    until = {t: v for t, v in before["valid_bounds"].items() if int(t) <= begun["iteration"]}
    return {
        **training,
        "seconds": before["seconds"] + training["seconds"],
        "valid_bounds": {**({} if "weights" in before else until), **training["valid_bounds"]},
        "before": before,
    }


def _until(iteration: int, record: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """The training of a record, or one before it, as it was at an iteration; None if it was not.

    Each of a training's iterations counts for as long as the others.
    """
    training = (record or {}).get("training")
    while training:
        if training["best_iteration"] == iteration:
            return training
        before = training.get("before")
        first, earlier = (before or {}).get("best_iteration", 0), (before or {}).get("seconds", 0)
        if first < iteration < training["iterations"]:
            bounds = training["valid_bounds"]
            share = (iteration - first) / (training["iterations"] - first)
            command = re.sub(r" --iterations \d+", "", training["command"])
            return {
                **training,
                "command": command.replace(" --out ", f" --iterations {iteration} --out "),
                "iterations": iteration,
                "best_iteration": iteration,
                "seconds": round(earlier + share * (training["seconds"] - earlier)),
                "valid_bounds": {t: v for t, v in bounds.items() if int(t) <= iteration},
            }
        training = before
    return None


def paper_gap(paper: Row, bound: Mapping[str, float]) -> dict[str, float]:
    """The paper's figure, our distance from it, and what the tests hold it to, all in nats.

    ``band`` is the distance plus two standard errors, rounded up to a tenth: the bound of these
    weights on all test images is never further above the paper's figure.
    """
    gap, se = bound["mean"] - paper.bound, bound["se"] if is_known(bound["se"]) else 0.0
    return {
        "bound": paper.bound,
        "gap": round(gap, 2),
        "band": math.ceil(10 * (gap + 2 * se)) / 10,
    }
