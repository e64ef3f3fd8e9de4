"""A model's numbers as JSON, in the format of results.json, and as a line."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from pixelvae.lib.units import DIGITS, NATS, Unit
from pixelvae.machine.errors import UserError

if TYPE_CHECKING:
    from pixelvae.lib.evaluation import Evaluation
    from pixelvae.models.weights import Weights

_PARTS = ("bound", "reconstruction", "kl", "kl1", "kl2")


def summarise(
    weights: Weights,
    split: str,
    bound: Evaluation,
    weighted: Evaluation | None = None,
    samples: int | None = None,
    modes: Mapping[str, str] | None = None,
    remarks: Sequence[str] = (),
) -> dict[str, Any]:
    """The numbers of a split in the model's unit, and in nats an image beside it.

    Parameters
    ----------
    bound
        The bound with its parts.
    weighted, samples
        Importance-weighted estimates and their number of samples, if there are any.
    modes
        How the model was evaluated; the family's defaults if not given.
    remarks
        Remarks that belong beside every number on the data
        (:attr:`pixelvae.lib.data.Dataset.remarks`).
    """
    model, latents = weights.model, bool(weights.model.latents)
    names = [n for n in _PARTS if n in bound.values and (latents or not n.startswith("kl"))]

    def measured(unit: Unit) -> dict[str, Any]:
        result: dict[str, Any] = {name: bound.measured_in(unit).summary(name) for name in names}
        if weighted is not None:
            estimate = weighted.measured_in(unit).summary("importance_weighted")
            result["importance_weighted"] = {**estimate, "samples": samples}
        return result

    numbers: dict[str, Any] = {
        "model": model.name,
        "split": split,
        "images": len(bound.values["bound"]),
        "unit": model.unit.name,
        **measured(model.unit),
    }
    if not latents:
        numbers["bound"]["exact"] = True
    if model.unit != NATS:
        numbers[NATS.name] = measured(NATS)
    numbers.update({mode.name: mode.words[0] for mode in weights.family.modes}, **(modes or {}))
    told = {"iteration": weights.iteration, "seed": weights.seed}
    if remarks:
        numbers["remarks"] = list(remarks)
    return {**numbers, **{name: value for name, value in told.items() if value is not None}}


class SampleSizes(NamedTuple):
    """Importance weighting in two stages: ``few`` samples of all images, ``samples`` of some."""

    few: int = 100
    samples: int = 5_000
    images: int = 500


def checked_sizes(few: int, samples: int, images: int) -> SampleSizes:
    """The sizes. Raises UserError unless the second stage has more samples."""
    if few >= samples:
        raise UserError(
            f"{few:,} samples of each image are not fewer than {samples:,}", setting="few_samples"
        )
    return SampleSizes(few, samples, images)


def describe_two_stages(summary: Mapping[str, Any], unit: str) -> str:
    """What :meth:`pixelvae.lib.evaluation.TwoStages.summary` gives, as one line."""
    digits = DIGITS[unit]
    few, gain = summary["few"], summary["gain"]
    return (
        f"{few['samples']:,} samples of {few['images']:,} images: {with_error(few, digits)}, "
        f"{gain['samples']:,} of {gain['images']:,} lower it by {with_error(gain, digits)}: "
        f"importance-weighted {with_error(summary['importance_weighted'], digits)} {unit}"
    )


def with_error(numbers: Mapping[str, Any], digits: int = 2) -> str:
    """Mean and standard error; of a single image, which has none (NaN, in JSON null), in words."""
    se = numbers["se"]
    error = f"± {se:.{digits}f}" if is_known(se) else "(one image, no standard error)"
    return f"{numbers['mean']:.{digits}f} {error}"


def duration(seconds: float) -> str:
    """In hours or minutes."""
    return f"{seconds / 3600:.1f} h" if seconds >= 3600 else f"{seconds / 60:.0f} min"


def is_known(se: float | None) -> bool:
    """Whether there is a standard error."""
    return se is not None and not math.isnan(se)


def combined(*errors: float | None) -> float | None:
    """The standard error of a sum or difference of independent means; None if one is not known."""
    known = [e for e in errors if e is not None and is_known(e)]
    return math.hypot(*known) if len(known) == len(errors) else None


def describe(numbers: Mapping[str, Any]) -> str:
    """The same numbers as one line."""
    unit = numbers["unit"]
    digits = DIGITS[unit]
    parts = [
        f"{name.replace('_', '-')} {with_error(numbers[name], digits)}"
        f"{' (exact)' if numbers[name].get('exact') else ''}"
        for name in (*_PARTS, "importance_weighted")
        if name in numbers
    ]
    line = f"{numbers['model']}, {numbers['images']:,} {numbers['split']} images: "
    line += f"{', '.join(parts)} {unit}"
    if NATS.name in numbers:
        line += f"; bound {numbers[NATS.name]['bound']['mean']:.1f} {NATS.name}"
    if "two_stages" in numbers:
        line += f"; {describe_two_stages(numbers['two_stages'], unit)}"
    return line
