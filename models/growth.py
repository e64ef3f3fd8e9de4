"""Weights in a larger model that computes the same (Chen, Goodfellow & Shlens 2016, Net2Net).

A family says in steps how its settings may grow. What a larger array has anew is a copy of a
channel, or is fresh: it says nothing, and nothing reads it. Where copies of a channel are read, the
weights are shared out among them, unevenly, so that their gradients differ and part them: the
function stays the same without any noise.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Callable, NamedTuple

import numpy as np

from pixelvae.machine.errors import UserError
from pixelvae.models.checked import Checked

FRESH = -1

#: Of a parameter's name, an axis (0 for the outputs) and its length: where each entry of the longer
#: axis is from, or ``FRESH``.
Sources = Callable[[str, int, int], np.ndarray]


class Step(NamedTuple):
    """One way in which settings grow.

    Parameters
    ----------
    settings
        The larger settings.
    sources
        What the entries of axes that are longer now are made of.
    silent
        Matches the names of those new parameters that are zero at first, so that new layers add
        nothing. By default there are no new ones.
    approximate
        No step can make the larger model compute the same, as of images of another size: what fits
        by name and shape is kept, and the rest begins anew.
    """

    settings: Checked
    sources: Sources = lambda name, axis, length: np.arange(length)
    silent: str | None = None
    approximate: bool = False


def channels(old: int, new: int, fresh: bool = False, groups: int = 1, shift: int = 0):
    """The channel that each of ``new`` channels copies: all of the ``old`` ones, then some again.

    ``fresh``: the others copy none. A channel copies one of its colour, which is its index, of the
    old ones with ``shift`` less, modulo ``groups``. Raises UserError if that leaves one out.
    """
    if fresh:
        return np.concatenate([np.arange(old), np.full(new - old, FRESH)])
    source = np.full(new, FRESH)
    for colour in range(groups):
        source[colour::groups] = np.resize(
            np.arange((colour + shift) % groups, old, groups), len(source[colour::groups])
        )
    if len(set(source.tolist())) < old:
        raise UserError(
            f"a width cannot grow from {old} to {new}: take one that is a little larger"
        )
    return source


def spread(source: np.ndarray, length: int, old: int, inner: bool = False) -> np.ndarray:
    """The same for an axis that has several numbers of each of ``old`` channels.

    They lie in blocks, one number of each channel, or with ``inner`` channel by channel.
    """
    count = np.arange(length // old)
    places = source * len(count) + count[:, None] if inner else source + old * count[:, None]
    return np.where(source == FRESH, FRESH, places).ravel("F" if inner else "C")


def take(
    step: Step,
    arrays: Mapping[str, np.ndarray],
    fresh: Mapping[str, np.ndarray],
    rng: np.random.Generator,
) -> dict[str, np.ndarray]:
    """The parameters after a step, by name, from those before and the larger model's own at first.

    Raises UserError if the step needs other parameters than new layers, or leaves some out.
    """
    if step.approximate:
        anew = begun_anew(arrays, fresh)
        return {n: new if n in anew else arrays[n] for n, new in fresh.items()}
    grown: dict[str, np.ndarray] = {}
    norms: dict[str, np.ndarray] = {}  # of weight-normalised layers: how much longer v has become
    for name, first in fresh.items():
        if name not in arrays:
            if step.silent is None:
                raise UserError(f"these sizes would need {name}: let others grow with them")
            grown[name] = 0 * first if re.search(step.silent, name) else first
            continue
        array, layer = arrays[name].astype("float64"), name.rpartition(".")[0]
        for axis, length in enumerate(array.shape):
            if length == first.shape[axis]:
                continue
            source = step.sources(name, axis, length)
            before, array = array, array.take(source, axis)
            if axis == 0 and (new := source == FRESH).any():
                array[new] = first[new] if name.endswith(".v") else 0
            if axis == 1 and not name.endswith(".table"):  # where it is that of outputs
                array *= _shares(source, array, rng)
                norms[layer] = _norm(array) / _norm(before)
        grown[name] = array * norms.get(layer, 1) if name.endswith(".g") else array
    if missing := arrays.keys() - grown.keys():
        raise UserError(f"these sizes would leave {min(missing)} out: let others grow with them")
    return grown


def begun_anew(arrays: Mapping[str, np.ndarray], fresh: Mapping[str, np.ndarray]) -> list[str]:
    """The larger model's parameters that an approximate step begins anew, in its order."""
    return [n for n, new in fresh.items() if n not in arrays or arrays[n].shape != new.shape]


def _shares(source: np.ndarray, array: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """What each copy of an input has of each output's weights; those of one input have 1 in all."""
    raw = np.where(source == FRESH, 0, rng.random(array.shape[:2]))
    sums = np.zeros((source.max() + 1, len(array)))
    np.add.at(sums, source, raw.T)
    shares = raw / sums[source].T
    return shares.reshape(*shares.shape, *(1,) * (array.ndim - 2))


def _norm(v: np.ndarray) -> np.ndarray:
    return np.sqrt(np.square(v).reshape(len(v), -1).sum(axis=1))
