"""A network evaluated pixel by pixel: the tasks of a plan, bound to weights and sizes."""

from __future__ import annotations

from typing import Any, Callable

import numpy as np

from pixelvae.lib.sampling.cache import Cache, Fixed
from pixelvae.lib.sampling.convolve import RowConvolution, strips
from pixelvae.lib.sampling.plan import Plan, Task, Window
from pixelvae.lib.sampling.rules import HERE, Convolution


class Network:
    """The outputs at one pixel after another, in raster order, group of channels by group.

    Parameters
    ----------
    plan, x, outputs
        The tasks, and the variables that they begin and end with.
    fixed
        Values of ``plan.fixed``.
    images
        (N, C, H, W), filled in while the network runs: pixels are read when they are known.
    groups
        Channel c of image and outputs belongs to group c modulo groups.

    Raises ValueError if an output depends on its own group, or a later one, of its pixel.
    """

    def __init__(self, plan: Plan, x, outputs, fixed: dict, images: np.ndarray, groups: int):
        self._plan, self._values, self._groups = plan, fixed, groups
        self._size = images.shape[0], images.shape[3]
        self._fixed: dict = {}
        self._caches: dict = {}
        self._sees: dict = {}
        self._row_jobs: list = []
        self._pixel_jobs: list = [[] for _ in range(groups + 1)]

        # The image is the first of the cached variables: its task copies the pixel.
        own = np.arange(images.shape[1]) % groups == np.arange(groups)[:, None]
        self._declare(x, own)
        self._every_pixel(x, plan.image_due, lambda i, j: images[:, :, i, j])
        for task in plan.tasks:
            if isinstance(task.rule, Convolution):
                self._bind_convolution(task)
            else:
                self._bind_pointwise(task)
        self._check_order(outputs)
        self._read_outputs = self._pixel_reader(outputs)

    def begin_row(self, i: int) -> None:
        """Must be called when the rows above are complete."""
        for job in self._row_jobs:
            job(i)

    def outputs(self, i: int, j: int, group: int) -> np.ndarray:
        """(N, O) at a pixel whose earlier groups are known; this group's channels are valid."""
        for job in self._pixel_jobs[group]:
            job(i, j)
        return self._read_outputs(i, j)

    def end_pixel(self, i: int, j: int) -> None:
        """Must be called when the pixel is known."""
        for job in self._pixel_jobs[self._groups]:
            job(i, j)

    # What each channel sees of its own pixel: (groups, C) of booleans.

    def _see(self, variable) -> np.ndarray:
        if variable in self._sees:
            return self._sees[variable]
        return np.zeros((self._groups, self._values[variable].shape[1]), bool)

    def _check_order(self, outputs) -> None:
        sees = self._see(outputs)
        group = np.arange(sees.shape[1]) % self._groups
        if (sees & (np.arange(self._groups)[:, None] >= group)).any():
            raise ValueError(
                "the network does not follow raster order: outputs at a pixel depend on "
                "the very value that is to be drawn from them, or on a channel drawn later"
            )

    # Caches and how they are read.

    def _declare(self, variable, sees: np.ndarray) -> Cache:
        self._sees[variable] = sees
        window = self._plan.windows[variable]
        self._caches[variable] = Cache(window, *self._size, sees.shape[1], variable.dtype)
        return self._caches[variable]

    def _store(self, variable):
        if variable in self._caches:
            return self._caches[variable]
        if variable not in self._fixed:
            self._fixed[variable] = Fixed(self._values[variable])
        return self._fixed[variable]

    def _pixel_reader(self, variable) -> Callable:
        store = self._store(variable)
        if variable in self._caches and not self._plan.by_row(variable):
            return store.newest
        return store.pixel

    # When each job runs.

    def _every_row(self, task: Task, compute: Callable) -> None:
        write, lag = self._caches[task.output].write_row, self._plan.lag[task.output]

        def job(i):
            if i >= lag:
                write(i - lag, compute(i - lag))

        self._row_jobs.append(job)

    def _every_pixel(self, variable, due: bool, compute: Callable) -> None:
        write = self._caches[variable].write_pixel

        def job(i, j):
            write(i, j, compute(i, j))

        # What the outputs need at the pixel is computed before the first group is drawn, and again
        # whenever a group that it sees is known; the rest once the pixel is complete.
        changes = self._sees[variable].any(axis=1)
        for known in range(self._groups + 1):
            last = known == self._groups
            if (last and not due) or (due and (known == 0 or changes[known - 1])):
                self._pixel_jobs[known].append(job)

    # The two kinds of tasks.

    def _bind_pointwise(self, task: Task) -> None:
        rule: Any = task.rule
        operands, compute = rule.operands, rule.compute
        self._declare(task.output, rule.connect(*map(self._see, operands)))
        if task.by_row:
            rows = [self._store(v).row for v in operands]
            self._every_row(task, lambda i: compute(*[read(i) for read in rows]))
        else:
            pixels = [self._pixel_reader(v) for v in operands]
            self._every_pixel(
                task.output, task.due, lambda i, j: compute(*[read(i, j) for read in pixels])
            )

    def _bind_convolution(self, task: Task) -> None:
        rule: Any = task.rule
        x, w, bias, acc, offsets = rule
        weights = self._values[w]
        sees = np.zeros((self._groups, len(weights)), bool)
        if HERE in offsets:
            sees |= self._see(x) @ (weights[:, :, offsets.index(HERE)] != 0).T
        if acc is not None:
            sees |= self._see(acc)
        self._declare(task.output, sees)

        kernel = strips(self._caches[x], offsets, weights)
        bias = None if bias is None else self._values[bias]
        if task.by_row:
            terms: list = [RowConvolution(kernel, bias)]
            terms += [] if acc is None else [self._store(acc).row]
            self._every_row(task, lambda i: _sum(term(i) for term in terms))
            return
        terms = [] if acc is None else [self._pixel_reader(acc)]
        # Rows that are known when this one begins are summed for all its pixels at once.
        above = [strip for strip in kernel if strip.row <= -self._plan.lag[x]]
        if above:
            terms.append(
                self._in_advance(RowConvolution(above, bias), len(weights), task.output.dtype)
            )
        elif bias is not None:
            terms.append(lambda i, j: bias)
        for strip in kernel[len(above) :]:  # its own row, if any
            alone = strip.columns == [0]
            terms.append(strip.product(self._pixel_reader(x) if alone else strip.at_pixel))
        self._every_pixel(task.output, task.due, lambda i, j: _sum(term(i, j) for term in terms))

    def _in_advance(self, convolve: RowConvolution, channels: int, dtype: str) -> Callable:
        row = Cache(Window(rows=1), *self._size, channels, dtype)
        self._row_jobs.append(lambda i: row.write_row(i, convolve(i)))
        return row.pixel


def _sum(terms):
    result = next(terms)
    for term in terms:
        result = result + term
    return result
