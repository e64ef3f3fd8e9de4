"""What all experiments do with what a run left: its weights, or the report of a step that was not finite."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from lib.errors import UserError
from lib.files.arrays import load_arrays
from lib.runs.folder import best_weights
from lib.runs.settings import check_data

#: What a header of somebody else's, or one that was made up, leads to where its entries are used.
NONSENSE = (KeyError, TypeError, AttributeError, ValueError, IndexError, ArithmeticError)

_LONGEST_SIDE = 10_000  # of an image: no file's length bounds the sides where a model takes any

#: Where the repository's trained weights lie, one ``NAME.npz`` a model.
PRETRAINED = Path(__file__).resolve().parents[1] / "pretrained"


def load_weights(path: str) -> tuple[dict, dict]:
    """Arrays and header of ``path``: a run's folder (its best.npz), a weights file or a name from ``pretrained/``.

    Raises UserError where there are none, or the file is damaged.
    """
    file = Path(path)
    if _is_name(path):
        file = PRETRAINED / f"{path}.npz"
        if not file.exists():
            known = ", ".join(sorted(p.stem for p in PRETRAINED.glob("*.npz"))) or "none yet"
            raise UserError(
                f"{path} is no run's folder and no weights file here, and not the name of trained weights ({known})"
            )
    elif file.is_dir():
        file = best_weights(file)
    return load_arrays(file, kind="weights")


def model_of(path: str, arrays: Mapping, header: Mapping, make: Callable):
    """The model that ``make`` makes of a weights file's header, with the file's arrays.

    Nothing larger than the arrays is made. Raises UserError where they and the header are not those of one model.
    """
    with _described(arrays, f"{path} holds the weights of another kind of model"):
        model = make(header)
        if not all(0 < side <= _LONGEST_SIDE for side in map(operator.index, model.image_shape)):
            raise ValueError(f"images of {model.image_shape}")
    model.parameters.assign(arrays)
    return model


@contextmanager
def _described(arrays: Mapping, refusal: str) -> Iterator[None]:
    """What is made in the body, of a header that is not trusted, is no larger than the arrays that came with it."""
    from lib.layers.parameters import at_most

    try:
        with at_most(sum(array.nbytes for array in arrays.values())):
            yield
    except (UserError, *NONSENSE) as problem:
        text = str(problem) if isinstance(problem, UserError) else repr(problem)
        raise UserError(f"{refusal} ({text[:200]})") from problem


def beside(path: str, name: str) -> Path:
    """Where a picture goes by default: into the run's folder, or the folder of the weights file.

    A picture of trained weights that were named goes into the current folder, under their name.
    """
    if _is_name(path):
        return Path(f"{path}-{name}")
    folder = Path(path)
    return (folder if folder.is_dir() else folder.parent) / name


def _is_name(path: str) -> bool:
    """Whether it can only be a name from ``pretrained/``: a bare word that is no file or folder here."""
    return Path(path).name == path and not Path(path).suffix and not Path(path).exists()


def open_data(name: str | None, header: dict, model, source: str | None = None):
    """The data set asked for, or the one that the weights were trained on; it must fit the model.

    ``source`` is the folder with its source files, where it is not the usual one. Raises UserError.
    """
    from datasets import open_dataset

    asked = name
    if not name:
        try:
            name = header["config"]["settings"]["data"]["name"]
        except (KeyError, TypeError):
            name = None
        if not isinstance(name, str):
            raise UserError("these weights do not say what they were trained on: name --data")
    dataset = open_dataset(name, Path(source) if source else None)
    if not asked:
        check_data(header["config"]["settings"], dataset)
    if dataset.image_shape != model.image_shape or dataset.levels != model.levels:
        raise UserError(
            f"{dataset.name} has {dataset.levels}-level images of {dataset.image_shape}; these "
            f"weights are for {model.levels} levels and {model.image_shape}"
        )
    return dataset


def show_report(path: str, make: Callable, recipe_of: Callable) -> None:
    """Takes a reported step again and prints what is not finite.

    ``path`` is the report or its run's folder; the functions make the model of the report's header, and the recipe of
    the settings in it. Raises UserError where the report is damaged, or of another kind of model.
    """
    from lib.training.replay import load_report, replay
    from lib.training.step import TrainingStep

    arrays, header = load_report(path)
    with _described(arrays, f"{path} is the report of another kind of model"):
        step = TrainingStep(make(header), recipe_of(header["config"]["settings"]))
    for line in replay(step, arrays, header):
        print(line)
