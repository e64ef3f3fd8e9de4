"""docs/natural-images.md: what was trained on photographs, and section 4.2 beside it, from the records."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pixelvae.experiments.report import NATS, combined, duration, with_error
from studies.publishing.race_section import kls, race
from studies.publishing.records import (
    Record,
    read_json,
    read_photographs,
    table,
    text,
    training_commands,
)

ABLATIONS = Path("results/photographs/ablations.json")
RACE = Path("results/photographs/race.json")

#: What section 4.2 says of each model, which it compares without giving numbers.
_PAPER = {
    "two-level-pixelvae": ("two-level PixelVAE", "the best of the four"),
    "two-level-vae": ("two-level VAE with Gaussian output", "worse likelihood and samples"),
    "one-level-pixelvae": ("one-level PixelVAE", "worse likelihood and samples"),
    "gaussian-top-decoder": ("Gaussian decoder at the higher level", "worse likelihood"),
}

#: Pictures of a record by name: heading, and the words of the command that draws them again.
PICTURES = {
    "samples": ("Samples (figures 1 and 7)", ("sample",)),
    "reconstructions": ("Reconstructions from z₂ (figure 8)", ("reconstruct", "--count", "6")),
    "reconstructions-z1": ("From z₁", ("reconstruct", "--count", "6", "--level", "bottom")),
    "vary": ("One level's noise varied (figures 6 and 11)", ("vary",)),
}


def photographs_page(root: Path) -> Iterator[str]:
    """docs/natural-images.md."""
    yield "# Natural images: section 4.2 on photographs"
    yield ""
    yield text(
        """
        Written by `make results` from the records in `results/photographs/`; no number here is typed by hand.
        The paper trains on LSUN bedrooms; these are photographs of Tiny ImageNet (200 classes), which is
        neither that set nor the ImageNet of table 2, so that no number here compares with one of the paper's.
        Bounds are with one posterior sample an image, ± the standard error over images, with batch norm's
        statistics blended ([hierarchical.md](hierarchical.md)).
        """
    )
    yield ""
    records, ablations = read_photographs(root), read_json(root / ABLATIONS)
    for name, record in records.items():
        yield from _model(name, record, ablations)
        yield from _pictures(root, name, record)
    if not records:
        yield "No weights are shipped yet."
        yield ""
    yield from _ablations(ablations)
    yield from _race(read_json(root / RACE))


def photograph(record: Record, split: str = "test") -> str:
    """The bound of a record's split, in bits a dimension."""
    return f"≤ {with_error(record[split]['bound'], 3)}"


def _model(name: str, r: Record, ablations: Record | None) -> Iterator[str]:
    training = r["training"]
    best = training["best_iteration"]
    seen = best * training["batch_size"]
    yield f"## `{name}`"
    yield ""
    yield "```sh"
    yield from training_commands(r)
    yield r["commands"]["bound"]
    yield r["commands"]["valid"]
    yield r["commands"]["train"]
    yield "```"
    yield ""
    yield text(
        f"""
        The data's name is a path under `$PIXELVAE_DATA`, where the weights find them again; `--data` names another
        place. {r["parameters"]:,} parameters, seed {training["seed"]}. The weights are those of iteration {best:,}, the
        best by validation bound of {training["iterations"]:,} so far ({training["iterations_asked"]:,} asked for). They
        saw {seen:,} images: each of {r["photographs"]["train"]:,} photographs
        {seen / r["photographs"]["train"]:.1f} times.
        {_time(r, ablations)}
        """
    )
    yield ""
    rows = [
        [split, f"{numbers['images']:,}", unit,
         *[with_error(parts[part], digits) for part in ("bound", "reconstruction", "kl1", "kl2")]]
        for split, numbers in (("training", r["train"]), ("validation", r["valid"]), ("test", r["test"]))
        for unit, parts, digits in (("bits/dim", numbers, 4), (NATS, numbers[NATS], 2))
    ]  # fmt: skip
    yield from table(
        ["split", "images", "unit", "bound", "reconstruction", "KL of z₁", "KL of z₂"], rows
    )
    yield ""
    z1, z2 = (r["test"][NATS][part]["mean"] for part in ("kl1", "kl2"))
    if z2 < 1:
        said = "z₂ says next to nothing of an image"
    else:
        said = f"z₂ is used: {z2 / (z1 + z2):.0%} of what the latents say of an image is its"
    yield f"With a KL of {z2:.2f} nats an image, {said}."
    for remark in r["test"].get("remarks", ()):
        yield f"Of the data: {remark}."
    yield ""
    steps = ", ".join(f"{int(t):,}: {bound:.3f}" for t, bound in training["valid_bounds"].items())
    yield f"Validation bounds on the way, bits/dim: {steps}."
    yield ""
    yield text(
        f"""
        The same command goes on where it stopped, from a run's folder; `--iterations` may change. Then
        `python studies/natural_images.py ship runs/{name}` writes weights, record, pictures and this page anew.
        """
    )
    yield ""


def _time(r: Record, ablations: Record | None) -> str:
    """How long the training took."""
    training = r["training"]
    clock = f"{duration(training['seconds'])} by the clock, with other work on the machine's cores"
    if ablations is None or ablations["preset"] != r["preset"]:
        return f"It took {clock}."
    seconds = ablations["runs"][0]["processor_seconds_a_step"]
    whole = duration(seconds * training["iterations"])
    return f"At the {seconds:.2f} s of processor time a step that the table below has, that is {whole} ({clock})."


def _pictures(root: Path, name: str, r: Record) -> Iterator[str]:
    folder = root / "results" / "photographs"
    seen: Mapping[str, Any] = read_json(folder / f"{name}-seen.json") or {}
    for picture, (heading, words) in PICTURES.items():
        if not (folder / f"{name}-{picture}.png").exists():
            continue
        yield f"### {heading}"
        yield ""
        yield f"`python experiments/pictures.py {words[0]} {' '.join([name, *words[1:]])}`"
        yield ""
        yield f"![{picture} of {name}](../results/photographs/{name}-{picture}.png)"
        yield ""
        if picture in seen:
            now = seen["iteration"] == r["training"]["best_iteration"]
            when = "" if now else f", at iteration {seen['iteration']:,}"
            yield f"Looked at{when}: {seen[picture]}"
            yield ""


def _ablations(record: Record | None) -> Iterator[str]:
    yield "## The ablations of section 4.2 at equal cost"
    yield ""
    if record is None:
        yield f"There is no record of it yet (`{ABLATIONS}`)."
        return
    yield text(
        f"""
        The four models of section 4.2, all of the preset `{record["preset"]}`, each trained for as many
        iterations as {record["minutes"]} minutes of processor time buy at its own cost a step (the median of
        {record["timed_steps"]} steps; evaluations are not counted), and tested at the weights with the best
        validation bound. The paper says which is better and gives no numbers. A difference's ± takes the two
        bounds as if measured on different images, which overstates it.
        """
    )
    yield ""
    yield "```sh"
    yield record["command"]
    yield "```"
    yield ""
    reference = {r["seed"]: r for r in record["runs"] if r["name"] == "two-level-pixelvae"}
    rows = []
    for r in record["runs"]:
        title, paper = _PAPER[r["name"]]
        rows.append(
            [title, str(r["seed"]), f"{r['processor_seconds_a_step']:.3f} s", f"{r['iterations']:,}",
             f"{r['iterations'] * r['batch'] / 1000:.0f} thousand",
             with_error(r["valid"]["bound"], 3), with_error(r["test"]["bound"], 3),
             kls(r["test"]), *_against(r, reference[r["seed"]]), paper]
        )  # fmt: skip
    yield from table(
        ["model", "seed", "a step", "iterations", "images seen", "validation, bits/dim", "test, bits/dim",
         "KL of z₁ + z₂, nats", "test, against the first", "here", "in the paper"],
        rows,
    )  # fmt: skip
    yield ""
    yield text(
        """
        Trainings this short say which model is ahead at the beginning for what it costs. They say nothing of where each
        would end: the paper's ran to convergence, on other images and at far larger sizes.
        """
    )
    yield ""
    yield "```sh"
    for r in record["runs"]:
        yield r["command"]
    yield "```"


def _race(record: Record | None) -> Iterator[str]:
    if record is not None:
        yield ""
        yield "## A race of settings"
        yield ""
        yield from race(record, digits=3)


def _against(run: Record, reference: Record) -> tuple[str, str]:
    """The difference of test bounds, and in words what two standard errors allow to say."""
    if run is reference:
        return "", ""
    mean, error = difference(run, reference)
    verdict = "worse" if mean > 0 else "better"
    return f"{mean:+.3f} ± {error:.3f}", verdict if abs(mean) > 2 * error else "no clear difference"


def difference(run: Record, reference: Record) -> tuple[float, float]:
    """How much larger a run's test bound is than another's, in bits/dim, and its standard error."""
    a, b = run["test"]["bound"], reference["test"]["bound"]
    return a["mean"] - b["mean"], combined(a["se"], b["se"]) or float("inf")
