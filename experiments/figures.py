"""Pictures of a model: samples, reconstructions, and one level varied alone.

Models with one latent vector, or none, are drawn as in figures 9 and 10; those with latents in
levels as in figures 1, 6, 7, 8 and 11.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Union

import numpy as np

from pixelvae.machine.errors import UserError
from pixelvae.models.family import Family

if TYPE_CHECKING:
    from pixelvae.models.weights import Weights

LEVELS = ("top", "middle", "bottom")


@dataclass(frozen=True)
class Picture:
    """Images (N, C, H, W) in a grid of so many columns, by default as many as make it square.

    ``rows`` says what each row is, if there is something to say; the file then says it too.
    """

    images: np.ndarray
    columns: int | None = None
    rows: Sequence[str] = ()

    def png(self, levels: int, **text: str) -> bytes:
        """The content of a PNG file of images with so many values a pixel, and more that it says."""
        from pixelvae.machine.files.pictures import grid_png

        rows = {"rows": json.dumps(self.rows)} if self.rows else {}
        return grid_png(self.images, levels, self.columns, {**rows, **text})

    def save(self, path: Path, weights: Weights) -> Path:
        """Write that file, which says of which weights it is; gives the path. Raises UserError."""
        from pixelvae.machine.files.pictures import save_png

        save_png(path, self.png(weights.model.levels, iteration=str(weights.iteration)))
        return path


class VectorFigures:
    """Pictures of a :class:`pixelvae.lib.model.LatentModel` (figures 9 and 10)."""

    SAMPLES, ORIGINALS, FEW = 100, 50, 16

    def __init__(self, model: Any, sampler: str = "cached"):
        from pixelvae.lib.sampling.images import ImageSampler

        self._model, self._sampler = model, ImageSampler(model, sampler)

    def samples(self, count: int, seed: int) -> Picture:
        """Images drawn from the model."""
        return Picture(self._sampler.sample(count, seed))

    def reconstructions(self, originals: np.ndarray, seed: int) -> Picture:
        """Each original (N, C, H, W), then its reconstruction. Raises UserError without a latent."""
        from pixelvae.machine.files.pictures import side_by_side

        again = self._sampler.reconstruct(originals, seed)
        return Picture(side_by_side(originals, again), columns=10)

    def all(self, dataset) -> Iterator[tuple[str, Picture]]:
        """The pictures of a finished run, by name."""
        yield "samples.png", self.samples(self.SAMPLES, seed=0)
        if self._model.latent_dim:
            count = min(self.ORIGINALS, dataset.size("test"))
            originals = evenly_spaced(dataset, "test", count)
            yield "reconstructions.png", self.reconstructions(originals, seed=0)


class LayeredFigures:
    """Pictures of a :class:`pixelvae.lib.model.LayeredModel` (figures 1, 6, 7, 8 and 11)."""

    SAMPLES, ORIGINALS, FEW = 25, 8, 4

    def __init__(self, model: Any, sampler: str = "cached"):
        from pixelvae.lib.sampling.latents import LatentSampler

        self._name, self._sampler = model.name, LatentSampler(model, sampler)

    def samples(self, count: int, seed: int) -> Picture:
        """Images drawn from the model."""
        return Picture(self._sampler.sample(count, seed))

    def reconstructions(
        self, originals: np.ndarray, seed: int, draws: int = 5, level: str = "top"
    ) -> Picture:
        """Each original, then images from its latents of a level (:func:`reconstruction_grid`)."""
        grid = reconstruction_grid(self._sampler, originals, draws, seed, level)
        return Picture(grid, columns=1 + draws)

    def variations(self, level: str, count: int, scenes: int, seed: int) -> Picture:
        """Rows in which one level's noise alone changes; ``level`` may be "all"."""
        levels = levels_by_name(self._sampler)
        if level not in (*levels, "all"):
            raise UserError(f"{self._name} has one latent: choose top or bottom", setting="level")
        names = list(levels) if level == "all" else [level]
        varied = [levels[name] for name in names]
        images = variation_grid(self._sampler, varied, count, scenes, seed)
        return Picture(images, columns=count, rows=names * scenes)

    def all(self, dataset) -> Iterator[tuple[str, Picture]]:
        """The pictures of a finished run, by name."""
        yield "samples.png", self.samples(self.SAMPLES, seed=0)
        originals = evenly_spaced(dataset, "test", min(6, dataset.size("test")))
        yield "reconstructions.png", self.reconstructions(originals, seed=0)
        yield "vary.png", self.variations("all", 8, 1, seed=0)


Figures = Union[VectorFigures, LayeredFigures]


def kind_of(family: Family) -> type[Figures]:
    """The class that draws a family's models."""
    return LayeredFigures if family.layered else VectorFigures


def of(weights: Weights, sampler: str = "cached") -> Any:
    """What draws the pictures of a model."""
    return kind_of(weights.family)(weights.model, sampler)


def while_training(family: Family, model: Any, dataset) -> Callable[[], dict[str, bytes]]:
    """What draws a few pictures of a model as it is when called: PNG files by name."""
    drawer = kind_of(family)(model)  # which compiles at the first call

    def draw() -> dict[str, bytes]:
        pictures = {"samples": drawer.samples(drawer.FEW, seed=0)}
        if model.noise_shapes:
            count = min(drawer.FEW // 2, dataset.size("valid"))
            originals = evenly_spaced(dataset, "valid", count)
            more = (1,) if family.layered else ()
            pictures["reconstructions"] = drawer.reconstructions(originals, 0, *more)
        return {name: picture.png(model.levels) for name, picture in pictures.items()}

    return draw


def draw_all(weights: Weights, dataset, folder: Path, prefix: str = "") -> None:
    """Draw the pictures of a finished run into a folder, under names with the prefix."""
    for name, picture in of(weights).all(dataset):
        picture.save(folder / f"{prefix}{name}", weights)


def evenly_spaced(dataset, split: str, count: int) -> np.ndarray:
    """So many images of a split: uint8 (count, C, H, W). Raises UserError if it has fewer."""
    from pixelvae.lib import evaluation

    return evaluation.read(dataset, split, evaluation.evenly_spaced(dataset, split, count))


def levels_by_name(sampler) -> dict[str, str]:
    """The sampler's levels by what figure 6 calls them; one latent has no middle."""
    names = LEVELS if len(sampler.stages) == 3 else LEVELS[::2]
    return dict(zip(names, sampler.stages))


def reconstruction_grid(
    sampler, originals: np.ndarray, draws: int, seed: int, level: str = "top"
) -> np.ndarray:
    """Each original (N, C, H, W), then images generated from its latents of a level (figure 8).

    From the top latent all below is drawn anew; from the bottom one the pixels alone.
    """
    kept = sampler.top if level == "top" else "z1"
    drawn = sampler.reconstruct(np.repeat(originals, draws, axis=0), seed, kept)
    rows = [originals[:, None], drawn.reshape(len(originals), draws, *originals.shape[1:])]
    return np.concatenate(rows, axis=1).reshape(-1, *originals.shape[1:])


def variation_grid(
    sampler, varied: Sequence[str], count: int, scenes: int, seed: int
) -> np.ndarray:
    """For each scene and each level, ``count`` images in which that level's noise alone changes
    (figure 6).
    """
    rows = []
    for scene in range(scenes):
        for level in varied:
            noise = {}
            for name in sampler.stages:
                purpose = f"vary scene {scene}"
                if name == level:
                    noise[name] = sampler.noise(seed, purpose, name, range(count))
                else:
                    noise[name] = sampler.noise(seed, purpose, name, [0]).repeat(count, axis=0)
            rows.append(noise)
    return sampler({name: np.concatenate([r[name] for r in rows]) for name in sampler.stages})
