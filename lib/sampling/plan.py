"""Reading a network's graph: what depends on the image, and when it can be computed.

Rows and columns are offsets from the position at hand. A variable's *demand* is the last position,
in raster order, at which an output at (0, 0) makes use of it. What is demanded only in rows that
can be computed when row 0 begins is computed a row at a time (the vertical stack); the rest pixel
by pixel (the horizontal stack).
"""

from __future__ import annotations

from typing import Any, NamedTuple, Union

from theano.compile.ops import Shape, Shape_i
from theano.gof.graph import io_toposort

from lib.sampling.rules import HERE, Convolution, Pointwise, rule_for


class Step(NamedTuple):
    """One operation that depends on the image."""

    output: Any
    rule: Union[Pointwise, Convolution]
    by_row: bool
    due: bool  #: the outputs at a pixel need its value at that pixel


class Window:
    """What is to be kept of a variable: rows (0: the pixel alone) and columns beside the image."""

    def __init__(self, rows: int = 0):
        self.rows, self.left, self.right = rows, 0, 0

    def cover(self, age: int, column: int) -> None:
        """Make room for a position ``age`` rows above the newest, ``column`` to the right."""
        self.rows = max(self.rows, age + 1)
        self.left = max(self.left, -column)
        self.right = max(self.right, column)


class Plan:
    """The steps from an image to the outputs, in order.

    Raises NotImplementedError where an operation has no rule, ValueError where one would have to
    read a position that comes later in raster order.

    Attributes
    ----------
    steps
        In the order of computation.
    image_due
        Whether the outputs at a pixel read that pixel itself (the colours drawn before).
    lag
        Rows known when row i begins: up to i - lag, of each variable that depends on the image.
    windows
        What to keep of each such variable.
    fixed
        Variables that do not depend on the image and are needed.
    """

    def __init__(self, x, outputs):
        rules = self._rules(x, outputs)
        demand = self._demands(rules, outputs)
        self.image_due = demand.get(x) == HERE
        self.lag = {x: 1}
        self._by_row = {x: False}
        self.steps = [self._schedule(output, rule, demand[output]) for output, rule in rules]
        self.windows = {v: Window() for v in self.lag}
        for step in self.steps:
            self._widen(step)
        if self._by_row.get(outputs):
            self.windows[outputs].cover(0, 0)
        fixed = [v for s in self.steps for v in s.rule.operands if not self.depends(v)]
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
        dependent, rules = {x}, []
        for node in io_toposort([x], [outputs]):
            # The image's size is known before its values.
            if isinstance(node.op, (Shape, Shape_i)) or dependent.isdisjoint(node.inputs):
                continue
            dependent.update(node.outputs)
            rules.append((node.outputs[0], rule_for(node, dependent.__contains__)))
        return rules

    @staticmethod
    def _demands(rules, outputs) -> dict:
        demand = {outputs: HERE}
        for output, rule in reversed(rules):
            row, column = demand[output]
            for v, offsets in rule.reads():
                last = max(offsets)
                last = (row + last[0], column + last[1])
                demand[v] = max(demand.get(v, last), last)
        return demand

    def _schedule(self, output, rule, demand) -> Step:
        reads = [(v, at) for v, offsets in self._reads(rule) for at in offsets]
        lag = max([0] + [self.lag[v] + row for v, (row, _) in reads])
        by_row = demand[0] + lag <= 0
        for v, at in reads:
            if at > HERE and not by_row and not self._by_row[v]:
                raise _order(at)
        if not by_row:
            lag = 1
        self.lag[output], self._by_row[output] = lag, by_row
        return Step(output, rule, by_row, due=demand == HERE)

    def _reads(self, rule) -> list:
        return [(v, offsets) for v, offsets in rule.reads() if self.depends(v)]

    def _widen(self, step: Step) -> None:
        for v, offsets in self._reads(step.rule):
            for row, column in offsets:
                if step.by_row or row < 0 or self._by_row[v]:
                    base = -self.lag[step.output] if step.by_row else 0
                    self.windows[v].cover(-self.lag[v] - (base + row), column)
                elif column:  # what is read at the pixel alone is not looked back at
                    self.windows[v].cover(0, column)


def _order(at) -> ValueError:
    row, column = at
    return ValueError(
        f"the network does not follow raster order: at {column} columns to the right and {row} "
        "rows below a pixel, where it looks, nothing is known yet"
    )
