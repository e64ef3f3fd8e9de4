"""The pictures of a run's report: those in its folder, or a few samples drawn for it."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from experiments import figures
from experiments.experiment import Experiment
from experiments.invocations import command
from experiments.pages.html import png
from lib.runs.folder import BEST

if TYPE_CHECKING:
    from models.weights import Weights


@dataclass(frozen=True)
class Shown:
    """A picture on the page, or what is said in its place; and the command that draws it.

    ``rows`` says what its rows are, if they have names.
    """

    title: str
    about: str
    command: str
    uri: str = ""
    size: tuple[int, int] = (0, 0)
    rows: tuple[str, ...] = ()


def pictures(experiment: Experiment, folder: Path, weights: Weights) -> Iterator[Shown]:
    """Samples, reconstructions and variations, as far as the model has them."""
    model: Any = weights.model
    layered = experiment.family.layered
    about = "Images drawn from the model, pixel by pixel."
    shown = _file(experiment, folder, "Samples", "sample", "samples.png", about)
    yield shown if shown.uri else _few_samples(shown, weights)
    if model.noise_shapes:
        about = "Each original, then one image drawn from its latent."
        if layered:
            about = "In each row an original, then images drawn from its top latent."
        yield _file(
            experiment, folder, "Reconstructions", "reconstruct", "reconstructions.png", about
        )
    if layered:
        about = "In each row the noise of one level alone changes."
        yield _file(experiment, folder, "Variations", "vary", "vary.png", about)


def _file(
    experiment: Experiment, folder: Path, title: str, word: str, name: str, about: str
) -> Shown:
    """A picture in the folder, unless it is older than the weights or cannot be read."""
    line, path = command(experiment, word, folder), folder / name
    try:
        fresh = path.stat().st_mtime >= (folder / BEST).stat().st_mtime
        data = path.read_bytes() if fresh else b""
        with Image.open(io.BytesIO(data)) as image:
            image.load()
            rows = tuple(json.loads(image.info.get("rows", "[]")))
            return Shown(title, about, line, png(data), image.size, rows)
    except (OSError, SyntaxError, ValueError):  # what Pillow raises of a file that is no picture
        return Shown(title, f"There is no picture of these weights ({name}); this draws it.", line)


def _few_samples(missing: Shown, weights: Weights) -> Shown:
    """So few that they take seconds, drawn for the page."""
    drawer = figures.of(weights)
    count, drawn = drawer.FEW, drawer.samples(drawer.FEW, seed=0).png(weights.model.levels)
    with Image.open(io.BytesIO(drawn)) as image:
        about = f"{count} images drawn from the model, for this page alone; this draws more."
        return Shown(missing.title, about, missing.command, png(drawn), image.size)
