"""The pictures of a run's report: those in its folder, or a few samples drawn for it."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from pixelvae.experiments import figures
from pixelvae.experiments.experiment import Experiment
from pixelvae.experiments.invocations import command
from pixelvae.experiments.pages.html import png

if TYPE_CHECKING:
    from pixelvae.models.weights import Weights


@dataclass(frozen=True)
class Shown:
    """A picture on the page, or the text in its place; and the command that draws it, if any.

    ``rows`` are the names of its rows, if they have names.
    """

    title: str
    about: str
    command: str
    uri: str = ""
    size: tuple[int, int] = (0, 0)
    rows: tuple[str, ...] = ()


def pictures(experiment: Experiment, folder: Path, weights: Weights) -> Iterator[Shown]:
    """Samples, reconstructions and variations, as far as the model has them."""

    def shown(title: str, word: str, name: str, about: str) -> Shown:
        wanted = Shown(title, about, command(experiment, word, folder))
        return _from_file(wanted, folder / name, weights.iteration)

    about = "Images drawn from the model, pixel by pixel."
    samples = shown("Samples", "sample", "samples.png", about)
    yield samples if samples.uri else _few_samples(samples, weights)
    if weights.model.latents:
        about = "Each original, then what is drawn from its latent, the top one of two."
        yield shown("Reconstructions", "reconstruct", "reconstructions.png", about)
        about = "In each row the noise of one level alone changes."
        yield shown("Variations", "vary", "vary.png", about)


def of_training(drawn: Mapping[str, bytes]) -> Iterator[Shown]:
    """What a training that goes on has drawn at its last evaluation: PNG files by name."""
    for name, data in drawn.items():
        with Image.open(io.BytesIO(data)) as image:
            about = "Drawn at the last evaluation, from the same noise each time."
            yield Shown(name.capitalize(), about, "", png(data), image.size)


def _from_file(wanted: Shown, path: Path, iteration: int | None) -> Shown:
    """With the picture in a file, if that can be read and is of the weights of this iteration."""
    try:
        data = path.read_bytes()
        with Image.open(io.BytesIO(data)) as image:
            image.load()
            if image.info.get("iteration") == str(iteration):
                rows = tuple(json.loads(image.info.get("rows", "[]")))
                return replace(wanted, uri=png(data), size=image.size, rows=rows)
    except (
        OSError,
        SyntaxError,
        ValueError,
    ):  # what Pillow raises for a file that is not a picture
        pass
    return replace(wanted, about=f"No picture of these weights yet ({path.name}); this draws it.")


def _few_samples(wanted: Shown, weights: Weights) -> Shown:
    """So few that they take seconds, drawn for the page."""
    count = weights.family.pictured.few
    drawn = figures.of(weights).samples(count, seed=0).png(weights.model.levels)
    about = f"{count} images drawn from the model, for this page alone; this draws more."
    with Image.open(io.BytesIO(drawn)) as image:
        return replace(wanted, about=about, uri=png(drawn), size=image.size)
