"""What may differ between a run and the one that resumes it or is tested: settings and data."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from pixelvae.lib.data import Dataset
from pixelvae.machine.errors import UserError


def differences(
    saved: Mapping[str, Any], asked: Mapping[str, Any], reached: float = math.inf
) -> list[str]:
    """Settings that differ, each as `name: saved → asked`.

    One that is None is as one that is not there. What leaves the steps so far as they are may
    change: `iterations`, but not to fewer than the run has ``reached`` (by default all that were
    asked), the decay of an average, unless there was none, and a cool-down, unless one had begun by
    then, or would have. The data's checksum identifies the images that they are, so that its name,
    which may be only a place, is not a setting of its own.
    """
    saved, asked = _flatten(saved), _flatten(asked)
    if saved.get("data.checksum", 0) == asked.get("data.checksum", 1):
        saved.pop("data.name", None)
        asked.pop("data.name", None)
    # How a training ends affects no step before it.
    steady = min(_steady_until(saved), _steady_until(asked))
    changeable = steady >= min(reached, saved.get("iterations", 0))
    found = []
    for name in sorted({*saved, *asked}):
        if saved.get(name) == asked.get(name):
            continue
        old, new = saved.get(name, "unset"), asked.get(name, "unset")
        if name in ("iterations", "cool_down"):
            allowed = changeable
        elif name == "average_decay" and isinstance(old, float) and isinstance(new, float):
            allowed = True
        else:
            allowed = False
        if not allowed:
            found.append(f"{name}: {old} → {new}")
    return found


def check_data(settings: Mapping[str, Any], dataset: Dataset) -> None:
    """Raise UserError if the images of a data set are not those that a run was trained on."""
    trained = _checksum_if_other(settings, dataset)
    if trained:
        raise UserError(
            f"the images of {dataset.name} are not those that these weights were trained on "
            f"(checksum {str(dataset.checksum)[:12]}, then {str(trained)[:12]}): "
            "bring those back, or name the data to use",
            setting="data",
        )


def remarks_on_data(settings: Mapping[str, Any], dataset: Dataset) -> list[str]:
    """What belongs beside numbers on a data set of weights from a run with these settings.

    The data set's own remarks, and one that the run was trained on other images if it was.
    """
    remarks = list(dataset.remarks)
    if _checksum_if_other(settings, dataset):
        remarks.append(f"measured on {dataset.name}, trained on {settings['data'].get('name')}")
    return remarks


def _checksum_if_other(settings: Mapping[str, Any], dataset: Dataset) -> str | None:
    """The checksum in a run's settings (`config["settings"]`), unless it is the data set's.

    None for settings without one, from elsewhere, too.
    """
    data = settings.get("data")
    trained = data.get("checksum") if isinstance(data, Mapping) else None
    return trained if trained != dataset.checksum else None


def _steady_until(settings: Mapping[str, Any]) -> float:
    """The last iteration whose step does not depend on how long the training is.

    -1 if that makes no sense.
    """
    try:
        return settings["iterations"] - (settings.get("cool_down") or 0)
    except (KeyError, TypeError):
        return -1


def _flatten(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        if isinstance(value, Mapping):
            flat.update(_flatten(value, f"{prefix}{name}."))
        else:
            flat[prefix + name] = value
    return flat
