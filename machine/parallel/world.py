"""The world of this process: itself alone, or all ranks that were started with it."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable, MutableMapping
from functools import lru_cache, partial, wraps
from pathlib import Path
from typing import Any, TypeVar, cast

from pixelvae.machine.errors import UserError
from pixelvae.machine.parallel.alone import World, is_alone
from pixelvae.machine.parallel.launch import launch

Function = TypeVar("Function", bound=Callable[..., Any])


def on_rank_0(function: Function) -> Function:
    """A function that rank 0 carries out when all ranks call it together; see :meth:`World.on_first`."""

    @wraps(function)
    def call(*arguments: Any, **named: Any) -> Any:
        return world().on_first(partial(function, *arguments, **named))

    return cast(Function, call)


def in_turn(function: Function) -> Function:
    """A function that ranks carry out one after another when all call it together; see :meth:`World.in_turn`."""

    @wraps(function)
    def call(*arguments: Any, **named: Any) -> Any:
        return world().in_turn(partial(function, *arguments, **named))

    return cast(Function, call)


def world() -> World:
    """The world of this process. The first call joins the ranks that were started with it.

    From then on only rank 0 has a standard output and error.

    Raises
    ------
    UserError
        Several processes were started together, and mpi4py is missing or belongs to another MPI.
    """
    return World() if is_alone.get() else _joined()


@lru_cache(maxsize=None)
def _joined() -> World:
    started = launch()
    if started is None:
        return World()
    if started.rank:
        _silence()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a launcher that is not MPI's own; Ranks raises it
            from pixelvae.machine.parallel.mpi import Ranks
    except (ImportError, RuntimeError) as problem:  # the second where there is no MPI library
        raise UserError(
            f"{started.size} processes were started together, and mpi4py cannot be imported ({problem}): "
            "make mpi installs it (docs/cluster.md)"
        ) from None
    joined = Ranks(started.size)
    own_card(joined.local_rank)
    return joined


def own_card(
    local_rank: int,
    environ: MutableMapping[str, str] = os.environ,
    present: Path = Path("/proc/driver/nvidia/gpus"),
) -> None:
    """Leave this rank one of its machine's GPUs to see, its own if there are enough, before anything looks for them.

    The launcher's choice stands: if it shows this rank a single card already, that is the one.
    """
    shown = environ.get("CUDA_VISIBLE_DEVICES")
    if shown is not None:
        cards = shown.split(",")
    else:
        cards = [str(n) for n in range(len(list(present.iterdir())))] if present.is_dir() else []
    if len(cards) > 1:
        environ["CUDA_VISIBLE_DEVICES"] = cards[local_rank % len(cards)]


def _silence() -> None:
    sys.stdout = sys.stderr = open(os.devnull, "w", errors="replace")
