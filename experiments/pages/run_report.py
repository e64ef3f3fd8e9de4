"""A run's ``report.html``: its settings, curves, numbers and pictures."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pixelvae.experiments.experiment import Experiment
from pixelvae.experiments.invocations import command, training_command
from pixelvae.experiments.summaries import duration, with_error
from pixelvae.lib.units import NATS, Unit
from pixelvae.machine.errors import UserError

if TYPE_CHECKING:
    from pixelvae.models.weights import Weights

PAGE = "report.html"

_QUANTITIES = {
    "bound": "bound",
    "reconstruction": "reconstruction",
    "kl": "KL",
    "kl2": "KL of z₂ (top)",
    "kl1": "KL of z₁",
}


def write_report(
    experiment: Experiment,
    folder: Path,
    weights: Weights | None = None,
    drawn: Mapping[str, bytes] | None = None,
) -> Path:
    """Write the page of a run, finished or not, into its folder; gives the path.

    Pictures are those in the folder. Without one of samples, a few are drawn.

    Parameters
    ----------
    weights
        The run's best ones, if they are loaded already.
    drawn
        PNG files by name that are shown in place of all other pictures, on a page that reloads
        itself: the training goes on.

    Raises
    ------
    UserError
        It is not the folder of a run of this family, holds no weights yet, or is damaged.
    """
    from pixelvae.experiments.pages.gallery import of_training, pictures
    from pixelvae.experiments.pages.html import TEMPLATES, write_page
    from pixelvae.models.weights import load

    if not (folder / "config.json").is_file():
        raise UserError(f"{folder} is not a run's folder: it holds no config.json")
    weights = weights or load(str(folder), experiment.family)
    texts = {**_texts(experiment, folder, weights), "goes_on": drawn is not None}
    shown = of_training(drawn) if drawn else pictures(experiment, folder, weights)
    write_page(folder / PAGE, TEMPLATES / PAGE, run=texts, pictures=list(shown))
    return folder / PAGE


def _texts(experiment: Experiment, folder: Path, weights: Weights) -> dict[str, Any]:
    """All that is not a picture. Raises UserError if a file of the run is damaged."""
    from pixelvae.experiments.pages import curves
    from pixelvae.lib.runs.metrics import read_metrics

    rows = read_metrics(folder / "metrics.csv")
    config = _read_json(folder / "config.json")
    results = _read_json(folder / "results.json") if (folder / "results.json").exists() else {}
    try:
        settings, environment = config["settings"], config["environment"]
        done, asked = rows[-1]["iteration"] if rows else 0, settings["iterations"]
        train = _training_command(experiment, settings, environment["preset"], folder)
        return {
            "name": weights.model.name,
            "data": Path(settings["data"]["name"]).name,
            "folder": folder,
            "state": f"{done:,} iterations of {asked:,}",
            "cards": list(_cards(rows, weights, results)),
            "trouble": list(_trouble(experiment, folder, rows, asked, train)),
            "unit": weights.model.unit.name,
            "results": _results(results, weights),
            "evaluations": [
                command(experiment, "evaluate", folder, "--split", split)
                for split in experiment.splits
            ],
            "curves": list(curves.draw(rows, weights.model.unit)) if rows else [],
            "training": train if done >= asked else None,
            "settings": list(_settings(experiment, settings)),
            "environment": list(_environment(environment)),
        }
    except (KeyError, TypeError, ValueError, AttributeError) as problem:
        raise UserError(
            f"config.json, metrics.csv or results.json in {folder} is damaged "
            f"({type(problem).__name__}: {problem})"
        ) from problem


def _read_json(path: Path) -> Any:
    from pixelvae.machine.files.atomic import user_errors

    with user_errors(f"cannot read {path}"):
        text = path.read_bytes()
    try:
        return json.loads(text)
    except ValueError as problem:
        raise UserError(f"{path} is damaged: {problem}") from problem


def _training_command(
    experiment: Experiment, settings: Mapping[str, Any], preset: str, folder: Path
) -> str | None:
    try:
        return training_command(experiment, settings, preset, folder)
    except UserError:
        return None  # presets have changed since


@dataclass(frozen=True)
class Card:
    """A number to be seen first."""

    label: str
    value: str
    more: str = ""


def _cards(rows: list, weights: Weights, results: Mapping[str, Any]) -> Iterator[Card]:
    unit = weights.model.unit
    measured = [numbers for numbers in results.values() if isinstance(numbers, Mapping)]
    if measured:
        numbers = measured[-1]
        what = "−log p(x)" if numbers["bound"].get("exact") else "bound"
        label = f"{what}, {numbers['images']:,} {numbers['split']} images"
        yield _measured(label, numbers["bound"], unit)
    else:
        bounds = [row["bound"] for row in rows if row["split"] == "valid" and row["bound"]]
        label = "best of the evaluations on validation images"
        yield Card(label, f"{min(bounds):.{unit.digits}f}" if bounds else "none", unit.name)
    if measured and "kl" in numbers:
        yield _measured("of it KL", numbers["kl"], unit)
    yield Card("parameters", f"{weights.model.parameters.count():,}")
    if weights.iteration is not None:
        yield Card("best weights", f"{weights.iteration:,}", "iterations")
    if rows:
        seconds = rows[-1]["seconds"]
        yield Card("training time", duration(seconds) if seconds >= 60 else f"{seconds:.0f} s")


def _measured(label: str, numbers: Mapping[str, Any], unit: Unit) -> Card:
    mean, error = with_error(numbers, unit.digits).split(" ", 1)
    return Card(label, mean, f"{error} {unit.name}")


def _trouble(
    experiment: Experiment, folder: Path, rows: list, asked: int, train: str | None
) -> Iterator[tuple[str, str | None]]:
    """What is wrong or missing with the training, and the command that helps."""
    from pixelvae.lib.runs.folder import REPORT

    done = rows[-1]["iteration"] if rows else 0
    if done < asked:
        more = "; this resumes it" if train else ""
        yield (
            f"The training is not finished: {done:,} of {asked:,} iterations are evaluated{more}.",
            train,
        )
    skipped = max((row["skipped"] or 0 for row in rows), default=0)
    if skipped:
        yield f"{skipped:,.0f} iterations were not finite and were skipped.", None
    if (folder / REPORT).exists():
        yield (
            f"{REPORT} holds a step that was not finite; this looks at it.",
            command(experiment, "replay", folder),
        )


def _results(results: Mapping[str, Any], weights: Weights) -> dict[str, Any]:
    """The table of results.json: a row a quantity, a column a split; and remarks on it."""
    splits = {name: n for name, n in results.items() if isinstance(n, Mapping)}
    unit, rows, notes = weights.model.unit, [], []
    for name, label in _QUANTITIES.items():
        if any(name in numbers for numbers in splits.values()):
            cells = [_cell(numbers.get(name), unit.digits) for numbers in splits.values()]
            rows.append((label, cells))
    if any(NATS.name in numbers for numbers in splits.values()):
        cells = [_cell(numbers[NATS.name]["bound"], 1) for numbers in splits.values()]
        rows.append((f"bound, {NATS.name}", cells))
    if not splits:
        notes.append("A training writes results.json when it ends, and this one has not.")
    elif results.get("iteration") != weights.iteration:
        notes.append(
            f"These are numbers of the weights of iteration {results.get('iteration'):,}; the best "
            f"ones are of iteration {weights.iteration:,} by now."
        )
    counts = [f"{numbers['images']:,} {name}" for name, numbers in splits.items()]
    remarks = {r: None for numbers in splits.values() for r in numbers.get("remarks", ())}
    return {
        "splits": list(splits),
        "rows": rows,
        "notes": notes,
        "remarks": list(remarks),
        "images": " and ".join(counts),
        "exact": not weights.model.latents,
    }


def _cell(numbers: Mapping[str, Any] | None, digits: int) -> str:
    if numbers is None:
        return ""
    return with_error(numbers, digits) + (" (exact)" if numbers.get("exact") else "")


def _settings(
    experiment: Experiment, settings: Mapping[str, Any]
) -> Iterator[tuple[str, str, str]]:
    """Name, value and meaning of each setting."""
    family = experiment.family
    about = {o.field: o.about for o in (*family.settings.options(), *family.training.options())}
    flat = {**settings["model"], **{n: v for n, v in settings.items() if n != "model"}}
    for name, value in flat.items():
        if name == "data":
            yield "data", str(value["name"]), f"SHA-256 {value['checksum']}"
        else:
            text = value if isinstance(value, str) else json.dumps(value)
            yield name, "none" if value is None else text, about.get(name, "")


def _environment(environment: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What config.json holds of machine and software, in a reader's words."""
    labels = {"cpu_count": "CPU cores", "tf32": "TF32"}
    for name, value in environment.items():
        if isinstance(value, bool):
            value = "on" if value else "off"
        elif isinstance(value, Mapping):
            value = ", ".join(f"{k} {v}" for k, v in value.items())
        yield labels.get(name, name.replace("_", " ")), "unknown" if value is None else str(value)
