"""Reading a network's graph: what depends on the image, and when it can be computed.

Rows and columns are offsets from the position at hand. Of each variable that depends on the image

* the *demand* is the last position, in raster order, whose value an output at (0, 0) uses;
* the *lag*: which rows are known when row i begins, those up to i − lag;
* the *window* is how many rows are kept, and how many columns of zeros beside the image.

What is demanded only in rows that can be computed when row 0 begins is computed a row at a time
(the vertical stack); the rest is computed pixel by pixel (the horizontal stack).

A vertical convolution v of the image, seen from one row up by u; and a horizontal one, added to u:

>>> import theano.tensor as T
>>> from pixelvae.lib.ops.conv import Correlate
>>> x = T.tensor4("x")
>>> w = np.ones((1, 1, 6), "float32")
>>> v = Correlate(3, 3, 6)(x, w)  # rows −1 and 0, columns −1 to 1
>>> u = Correlate(3, 1, 1)(v, w[:, :, :1])  # row −1, column 0
>>> out = Correlate(1, 3, 1)(x, w[:, :, :1], None, u)  # row 0, column −1 of x; row 0, column 0 of u
>>> plan = Plan(x, out)
>>> for name, variable in (("out", out), ("u", u), ("v", v), ("x", x)):
...     window = plan.windows[variable]
...     print(name, plan.demand[variable], plan.lag[variable], plan.by_row(variable), window)
out (0, 0) 1 False Window(rows=0, left=0, right=0)
u (0, 0) 0 True Window(rows=1, left=0, right=0)
v (-1, 0) 1 True Window(rows=1, left=0, right=0)
x (0, -1) 1 False Window(rows=2, left=1, right=1)

Backwards, for the demand: the output at (0, 0) uses u at (0, 0), which uses v at (−1, 0), which
uses x up to (−1, 1); but the output itself uses x at (0, −1), which is later.

Forwards, for the lag: when row i begins, rows of x up to i − 1 are known: lag 1. v uses its own row
of x, so its row i − 1 can be computed, and as its demand is in row −1, that is early enough: by
row, lag 1. u uses v one row up, so its row i can be computed: by row, lag 0. The output uses x in
row i, of which nothing is known yet: by pixel, and then its last whole row is i − 1.

The windows: v in row i − 1 uses rows i − 2 and i − 1 of x, one column to either side. u uses the
row of v that was computed last. The output is not looked back at, so only the pixel at hand is
kept: 0 rows.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Union

import numpy as np
from theano.compile.ops import Shape, Shape_i
from theano.gof.graph import io_toposort

from pixelvae.lib.sampling.rules import HERE, Convolution, Pointwise, meaning_of, rule_for


class Task(NamedTuple):
    """One operation that depends on the image, and when it is computed."""

    output: Any
    rule: Union[Pointwise, Convolution]
    by_row: bool
    due: bool  #: the outputs at a pixel need its value at that pixel


class Window:
    """What is kept of a variable: rows (0: the current pixel) and columns beside the image."""

    def __init__(self, rows: int = 0):
        self.rows, self.left, self.right = rows, 0, 0

    def __repr__(self) -> str:
        return f"Window(rows={self.rows}, left={self.left}, right={self.right})"

    def cover(self, age: int, column: int) -> None:
        """Make room for a position ``age`` rows above the newest, ``column`` to the right."""
        self.rows = max(self.rows, age + 1)
        self.left = max(self.left, -column)
        self.right = max(self.right, column)


class Plan:
    """The tasks from an image to the outputs, in order.

    Raises NotImplementedError if an operation has no rule, ValueError if one would have to read a
    position that comes later in raster order.

    Attributes
    ----------
    tasks
        In the order of computation.
    image_due
        Whether the outputs at a pixel read that pixel itself (the colours drawn before).
    demand, lag, windows
        Of each variable that depends on the image and is needed; see the module's docstring.
    fixed
        Variables that do not depend on the image and are needed.
    """

    def __init__(self, x, outputs):
        rules = self._rules(x, outputs)
        self.demand = demand = self._demands(rules, outputs)
        self.image_due = demand.get(x) == HERE
        self.lag = {x: 1}
        self._by_row = {x: False}
        needed = [(output, rule) for output, rule in rules if output in demand]
        self.tasks = [self._schedule(output, rule, demand[output]) for output, rule in needed]
        self.windows = {v: Window() for v in self.lag}
        for task in self.tasks:
            self._widen(task)
        if self._by_row.get(outputs):
            self.windows[outputs].cover(0, 0)
        fixed = [v for s in self.tasks for v in s.rule.operands if not self.depends(v)]
        fixed += [] if self.depends(outputs) else [outputs]
        self.fixed = list(dict.fromkeys(fixed))

    def depends(self, variable) -> bool:
        """Whether a variable depends on the image's values."""
        return variable in self.lag

    def by_row(self, variable) -> bool:
        """Whether a variable that depends on the image is computed a row at a time."""
        return self._by_row[variable]

    @staticmethod
    def _rules(x, outputs) -> list:
        dependent: set = {x}
        rules: list = []

        def add(nodes):
            for node in nodes:
                # The image's size is known before its values.
                if isinstance(node.op, (Shape, Shape_i)) or dependent.isdisjoint(node.inputs):
                    continue
                meaning = meaning_of(node)
                add(io_toposort(node.inputs, meaning))
                dependent.update(node.outputs)
                if meaning:
                    same = zip(node.outputs, meaning)
                    rules.extend(
                        (output, Pointwise((m,), np.asarray, np.asarray)) for output, m in same
                    )
                else:
                    rules.append((node.outputs[0], rule_for(node, dependent.__contains__)))

        add(io_toposort([x], [outputs]))
        return rules

    @staticmethod
    def _demands(rules, outputs) -> dict:
        demand = {outputs: HERE}
        for output, rule in reversed(rules):
            if output not in demand:
                continue
            row, column = demand[output]
            for v, offsets in rule.reads():
                last = max(offsets)
                last = (row + last[0], column + last[1])
                demand[v] = max(demand.get(v, last), last)
        return demand

    def _schedule(self, output, rule, demand) -> Task:
        reads = [(v, at) for v, offsets in self._reads(rule) for at in offsets]
        lag = max([0] + [self.lag[v] + row for v, (row, _) in reads])
        by_row = demand[0] + lag <= 0
        for v, at in reads:
            if at > HERE and not by_row and not self._by_row[v]:
                raise _order(at)
        if not by_row:
            lag = 1
        self.lag[output], self._by_row[output] = lag, by_row
        return Task(output, rule, by_row, due=demand == HERE)

    def _reads(self, rule) -> list:
        return [(v, offsets) for v, offsets in rule.reads() if self.depends(v)]

    def _widen(self, task: Task) -> None:
        for v, offsets in self._reads(task.rule):
            for row, column in offsets:
                if task.by_row or row < 0 or self._by_row[v]:
                    base = -self.lag[task.output] if task.by_row else 0
                    self.windows[v].cover(-self.lag[v] - (base + row), column)
                elif column:  # what is read at the pixel alone is not looked back at
                    self.windows[v].cover(0, column)


def _order(at) -> ValueError:
    row, column = at
    return ValueError(
        f"the network does not follow raster order: it looks {column} columns to the right of a "
        f"pixel and {row} rows below it, where nothing is known yet"
    )
