"""What commands read on all ranks together: weights once, and data that are the same everywhere."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pixelvae.machine.parallel.world import on_rank_0, world
from pixelvae.models.family import Family

if TYPE_CHECKING:
    from pixelvae.lib.data import Dataset
    from pixelvae.models.weights import Weights


def load(path: str, family: Family | None = None, **modes: str) -> Weights:
    """The weights that :func:`pixelvae.models.weights.load` loads, which rank 0 reads for all."""
    from pixelvae.models import weights

    return weights.assemble(path, on_rank_0(weights.read)(path), family, **modes)


def open_data(name: str, source: Path | None = None, **how: Any) -> Dataset:
    """What :func:`pixelvae.datasets.open_dataset` opens, with its remaining arguments in ``how``.

    Rank 0 opens it first, so that one rank downloads and converts what all can read.

    Raises
    ------
    UserError
        It cannot be opened, or ranks have opened different ones.
    """
    from pixelvae.datasets import SPLITS, open_dataset

    dataset = world().in_turn(lambda: open_dataset(name, source, **how))
    sizes = "/".join(str(dataset.size(split)) for split in SPLITS)
    identity = f"{dataset.name} ({sizes} images, checksum {dataset.checksum[:12]})"
    world().check_same({"the data": identity}, "bring the same files to each machine")
    return dataset
