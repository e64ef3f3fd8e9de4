"""The world of this process: itself alone, or in a command all ranks that were started with it."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable, MutableMapping
from functools import partial, wraps
from pathlib import Path
from typing import Any, TypeVar, cast

from pixelvae.machine.backend import preparation
from pixelvae.machine.errors import UserError
from pixelvae.machine.parallel.alone import World, is_alone
from pixelvae.machine.parallel.launch import launch

Function = TypeVar("Function", bound=Callable[..., Any])

_world = World()


def world() -> World:
    """The world that this process works in: itself alone, until :func:`join`."""
    return World() if is_alone.get() else _world


def join() -> None:
    """Make the ranks that were started together one world, as commands do.

    A process that is alone stays so.

    From then on only rank 0 has a standard output and error, and the ranks of a machine share its
    cores and its GPUs. Called before Theano is imported. A second call changes nothing.

    Raises
    ------
    UserError
        Several processes were started together, and mpi4py is missing or belongs to another MPI.
    """
    global _world
    started = launch()  # None from the second call on: Ranks removes what the launcher said
    if started is None:
        return
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
    _world = Ranks(started.size)
    own_card(_world.local_rank)
    preparation.share_cores(_world.cores)


def on_rank_0(function: Function) -> Function:
    """A function that rank 0 carries out when all ranks call it together.

    See :meth:`World.on_first`.
    """

    @wraps(function)
    def call(*arguments: Any, **named: Any) -> Any:
        return world().on_first(partial(function, *arguments, **named))

    return cast(Function, call)


class OnRank0:
    """A stand-in for an object of each rank: all call its methods, rank 0 carries them out."""

    def __init__(self, one: Any) -> None:
        self._one = one

    def __getattr__(self, name: str) -> Callable[..., Any]:
        return on_rank_0(getattr(self._one, name))


def share(
    work: Callable[[int], Any], count: int, done: Callable[[int], None] = lambda units: None
) -> list:
    """``[work(0), …, work(count - 1)]``, computed by all who work together.

    See :meth:`World.share`.
    """
    return world().share(work, count, done)


def own_card(
    local_rank: int,
    environ: MutableMapping[str, str] = os.environ,
    present: Path = Path("/proc/driver/nvidia/gpus"),
) -> None:
    """Leave this rank one of its machine's GPUs to see, its own if there are enough.

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
