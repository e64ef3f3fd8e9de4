"""The records of our numbers in ``results/``, and how they and the paper's are written."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

from pixelvae.experiments.report import with_error
from pixelvae.models.mnist.table1 import VARIANTS

ROOT = Path(__file__).resolve().parents[2]
Record = Mapping[str, Any]

#: Below the repository: the records of ``mnist_race.py``, one a model.
RACES = Path("results/race")

#: The rows of table 1 that are the authors' own, by model.
PAPER = {name: variant.paper for name, variant in VARIANTS.items() if variant.paper}


def read_records(root: Path) -> dict[str, Record]:
    """The records of ``mnist_table1.py ship``, by model, in the order of table 1."""
    files = {name: root / "results" / "mnist" / f"{name}.json" for name in VARIANTS}
    return {name: read_json(file) for name, file in files.items() if file.exists()}


def read_photographs(root: Path) -> dict[str, Record]:
    """The records of ``natural_images.py ship``, by the name of the weights."""
    files = sorted((root / "results" / "photographs").glob("*.json"))
    records = {file.stem: read_json(file) for file in files}
    return {name: record for name, record in records.items() if "weights" in record}


def read_json(file: Path) -> Any:
    """A record's content; None where there is no such file."""
    return json.loads(file.read_text(encoding="utf-8")) if file.exists() else None


def groups(runs: Iterable[Record], *keys: str) -> Iterator[tuple[tuple[Any, ...], list[Record]]]:
    """Runs that are alike in all keys, such as those that differ in their seed alone; in the order of the first."""
    alike: dict[tuple[Any, ...], list[Record]] = {}
    for run in runs:
        alike.setdefault(tuple(run[key] for key in keys), []).append(run)
    yield from alike.items()


def over_seeds(runs: Sequence[Record], name: str) -> dict[str, float]:
    """A test number's mean over seeds. The standard error over images stays: all seeds have the same ones."""
    return {key: mean(run["test"][name][key] for run in runs) for key in ("mean", "se")}


def paper(name: str) -> str:
    """The paper's numbers for a model; nothing for one that is not in table 1."""
    return str(PAPER[name]) if name in PAPER else ""


def band(record: Record) -> str:
    """How far above the paper's bound the weights may be; nothing for a model that is not in table 1."""
    return f"{record['paper']['band']:.1f}" if "paper" in record else ""


def table(head: list[str], rows: list[list[str]]) -> list[str]:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return [f"| {' | '.join(cells)} |" for cells in lines]


def text(block: str) -> str:
    """An indented block of Markdown without its indentation."""
    return textwrap.dedent(block).strip("\n")


def value(numbers: Mapping[str, Any]) -> str:
    """Mean and standard error."""
    return with_error(numbers)


def size(record: Record) -> str:
    """L, D and K, where the model has them."""
    s = record["size"]
    parts = []
    variant = VARIANTS[record["model"]]
    if variant.autoregressive:
        parts.append(f"L = {s['layers']}, D = {s['dim_pix']}")
    if variant.latent:
        parts.append(f"K = {s['latent_dim']}")
    return ", ".join(parts)


def iterations(record: Record) -> str:
    """Of the best weights, and of how many where the training is unfinished."""
    training = record["training"]
    done, asked = training["iterations"], training["iterations_asked"]
    best = f"{training['best_iteration']:,}"
    return best if done == asked else f"{best} (of {asked:,}, unfinished)"


def training_commands(record: Record) -> list[str]:
    """The trainings that made the weights, each but the first ``--from`` what the one before had shipped."""
    training = record["training"]
    commands = [training["command"]]
    while "before" in training:
        training = training["before"]
        commands.insert(0, training["command"])
    return commands


def bound(record: Record) -> str:
    """On all test images."""
    exact = record["test"]["bound"].get("exact")
    return f"{'=' if exact else '≤'} {value(record['test']['bound'])}"


def weighted(record: Record) -> str:
    """The importance-weighted estimate, with its samples."""
    samples = f" (S = {record['weighted']['gain']['samples']:,})" if "weighted" in record else ""
    return estimate(record) + samples


def estimate(record: Record) -> str:
    """The importance-weighted estimate for the whole test set, in two stages."""
    if "weighted" not in record:
        return "exact" if record["test"]["bound"].get("exact") else "not measured"
    return "≈ " + value(record["weighted"]["importance_weighted"])
