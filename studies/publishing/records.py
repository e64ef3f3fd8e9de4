"""The records of our numbers in ``results/``, and what is calculated from them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import takewhile
from pathlib import Path
from statistics import mean
from typing import Any

from pixelvae.experiments.summaries import combined
from pixelvae.machine.files.atomic import user_errors, write_json
from pixelvae.models.mnist.table1 import VARIANTS

ROOT = Path(__file__).resolve().parents[2]
Record = Mapping[str, Any]

#: Below the repository: the records of races, by name, and of ablations.
RACES = Path("results/race")
PHOTOGRAPHS_RACES = Path("results/photographs/race")
ABLATIONS = Path("results/photographs/ablations.json")

#: What the names of weights end in that were trained on ``mnist_dynamic``, and the numbers that
#: others published there.
DYNAMIC = "-dynamic"
PUBLISHED_DYNAMIC = (
    ("IAF VAE (Kingma et al., 2016)", "≈ 79.10"),
    ("VLAE (Chen et al., 2016)", "≈ 78.53"),
    ("PixelHVAE with VampPrior (Tomczak & Welling, 2018)", "≈ 78.45"),
)

#: The rows of table 1 that are the authors' own, by model.
PAPER = {name: variant.paper for name, variant in VARIANTS.items() if variant.paper}


def read_records(root: Path, suffix: str = "") -> dict[str, Record]:
    """The records of ``mnist_table1.py ship``, by the weights' names, in the order of table 1.

    ``suffix``: of the names, :data:`DYNAMIC` for the weights trained on other data than table 1's.
    """
    names = [f"{name}{suffix}" for name in VARIANTS]
    files = {name: root / "results" / "mnist" / f"{name}.json" for name in names}
    return {name: read_json(file) for name, file in files.items() if file.exists()}


def read_photographs(root: Path) -> dict[str, Record]:
    """The records of ``natural_images.py ship``, by the name of the weights.

    ``seen`` in each is what was seen in its pictures, by picture, and in those of which iteration.
    """
    records = read_folder(root / "results" / "photographs")
    return {
        name: {**record, "seen": records.get(f"{name}-seen", {})}
        for name, record in records.items()
        if "weights" in record
    }


def read_json(file: Path) -> Any:
    """A record's content; None if the file does not exist."""
    return json.loads(file.read_text(encoding="utf-8")) if file.exists() else None


def read_folder(folder: Path) -> dict[str, Record]:
    """All records in a folder, by name."""
    return {file.stem: read_json(file) for file in sorted(folder.glob("*.json"))}


def write_record(file: Path, value: Any) -> None:
    """Write a record, and its folder first. Raises UserError if it cannot be written."""
    with user_errors(f"cannot write {file}"):
        file.parent.mkdir(parents=True, exist_ok=True)
    write_json(file, value)


def groups(runs: Iterable[Record], *keys: str) -> list[tuple[tuple[Any, ...], list[Record]]]:
    """Runs that are alike in all keys, such as those that differ in their seed alone.

    In the order of the first.
    """
    alike: dict[tuple[Any, ...], list[Record]] = {}
    for run in runs:
        alike.setdefault(tuple(run[key] for key in keys), []).append(run)
    return list(alike.items())


def over_seeds(runs: Sequence[Record], name: str) -> dict[str, float]:
    """A test number's mean over seeds.

    The standard error over images stays: all seeds have the same ones.
    """
    return {key: mean(run["test"][name][key] for run in runs) for key in ("mean", "se")}


def difference(run: Record, reference: Record) -> dict[str, float]:
    """How much larger a test bound is than another, with the error as if on different images."""
    a, b = run["test"]["bound"], reference["test"]["bound"]
    return {"mean": a["mean"] - b["mean"], "se": combined(a["se"], b["se"]) or float("inf")}


def training_commands(record: Record) -> list[str]:
    """The trainings that made the weights, each but the first ``--from`` its predecessor's."""
    return [training["command"] for training in _trainings(record)]


def trainings_told_once(
    records: Mapping[str, Record],
) -> Iterator[tuple[str, tuple[int, str] | None, list[str]]]:
    """For a listing of how weights were made: name, what stands elsewhere, commands to add.

    What stands elsewhere is how many of the first commands, and the earlier name that has them.
    """
    told: dict[str, str] = {}
    for name, record in records.items():
        commands = training_commands(record)
        shared = list(takewhile(told.__contains__, commands))
        own = commands[len(shared) :]
        yield name, (len(shared), told[shared[-1]]) if shared else None, own
        told.update(dict.fromkeys(own, name))


def _trainings(record: Record) -> list[Record]:
    """The trainings that made the weights, the first one first."""
    training = record["training"]
    before = _trainings({"training": training["before"]}) if "before" in training else []
    return [*before, training]


def images_seen(record: Record) -> int:
    """How many images a training has seen, each as often as it was seen."""
    return sum(images_of_each(record))


def images_of_each(record: Record) -> list[int]:
    """The same for each of the trainings that made the weights, in their order, to the best."""
    trainings = _trainings(record)
    reached = [0, *(training["best_iteration"] for training in trainings)]
    return [
        (end - begin) * training["batch_size"]
        for begin, end, training in zip(reached, reached[1:], trainings)
    ]


def generalisation_gap(record: Record) -> float:
    """How far the validation bound is above the training bound."""
    return record["valid"]["bound"]["mean"] - record["train"]["bound"]["mean"]


def best_at_the_end(record: Record) -> bool:
    """Whether no evaluation before the last had a better validation bound."""
    return record["training"]["best_iteration"] == record["training"]["iterations"]
