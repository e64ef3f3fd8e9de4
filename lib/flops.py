"""Counts the multiply-adds of a model by walking its graph; nothing is compiled or computed.

Counts the multiply-adds of convolutions and linear layers, all but a few per cent of the work. Each
belongs to the part of the model that its weights are named after: ``enc1`` for
``enc1.stage1.block1.conv1.w``.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import theano
import theano.tensor as T
from theano import gof
from theano.gof.graph import inputs as roots_of
from theano.tensor.opt import ShapeFeature

from pixelvae.lib.model import Model, noise_variables
from pixelvae.lib.ops.categorical import CategoricalOfMaps
from pixelvae.lib.ops.conv import Correlate, CorrelateInputs


@dataclass
class Part:
    """Numbers for one image: multiply-adds done, those of unmasked kernels, and parameters."""

    done: int = 0
    unmasked: int = 0
    parameters: int = 0


@dataclass
class Count:
    """The parts by name, in the order of the parameters."""

    parts: dict[str, Part] = field(default_factory=lambda: defaultdict(Part))

    @property
    def total(self) -> Part:
        return Part(
            *(sum(getattr(p, name) for p in self.parts.values()) for name in Part.__annotations__)
        )


def count(model: Model) -> Count:
    """Multiply-adds of the bound of one image, and numbers of parameters, part by part."""
    x = T.tensor4("x")
    noise = noise_variables(model)
    sizes = {variable: (1, *model.noise_shapes[name]) for name, variable in noise.items()}
    return count_graph(model, model.terms(x, noise).bound, {x: (1, *model.image_shape), **sizes})


def count_graph(model: Model, output, shapes: Mapping) -> Count:
    """The same for an expression of the model's parameters and of inputs of given ``shapes``."""
    result = Count()
    variables, sizes = list(shapes), list(shapes.values())
    for name, shape in model.parameters.shapes().items():
        variables.append(model.parameters[name])
        sizes.append(shape)
        result.parts[_part(name)].parameters += int(np.prod(shape))
    graph = gof.FunctionGraph(variables, [output], features=[ShapeFeature()])
    names = dict(zip(graph.inputs[len(shapes) :], model.parameters))
    known = _Sizes(graph, dict(zip(graph.inputs, sizes)))
    for node in graph.toposort():
        if isinstance(node.op, (Correlate, CorrelateInputs, CategoricalOfMaps, T.Dot)):
            used = [names[v] for v in roots_of(node.inputs[1:2]) if v in names]
            part = result.parts[_part(used[0])]
            done, unmasked = _products(node, known)
            part.done += done
            part.unmasked += unmasked
    return result


def _part(name: str) -> str:
    """``dec1.pixelcnn`` for what is within it, the first word of a name otherwise."""
    words = name.split(".")
    return ".".join(words[:2]) if words[1] == "pixelcnn" else words[0]


def _products(node, sizes) -> tuple[int, int]:
    """Multiply-adds of a node, with the taps it has and with all taps of its kernel."""
    first, second = (sizes.of(v) for v in node.inputs[:2])
    if isinstance(node.op, T.Dot):
        products = int(np.prod(first)) * int(np.prod(second[1:]))
        return products, products
    # Each position of the convolution's output (of the transposed one's input, of the maps below a
    # softmax) meets each pair of channels.
    n, _, height, width = sizes.of(node.outputs[0]) if isinstance(node.op, Correlate) else first
    outputs, inputs, taps = second
    pairs = n * height * width * outputs * inputs
    kernel = 1 if isinstance(node.op, CategoricalOfMaps) else node.op.kh * node.op.kw
    return pairs * taps, pairs * kernel


class _Sizes:
    """Shapes of a graph's variables, by evaluating Theano's expressions for them in Python."""

    def __init__(self, graph, shapes: Mapping):
        self._shape_of, self._shapes = graph.shape_feature.shape_of, shapes
        self._known: dict[Any, Any] = {}

    def of(self, variable) -> tuple[int, ...]:
        return tuple(int(self._value(size)) for size in self._shape_of[variable])

    def _value(self, v):
        if v not in self._known:
            self._known[v] = self._compute(v)
        return self._known[v]

    def _compute(self, v):
        if isinstance(v, gof.Constant):
            return v.data
        node = v.owner
        if isinstance(node.op, theano.compile.ops.Shape_i):
            return np.asarray(self._root(node.inputs[0])[node.op.i])
        if isinstance(node.op, theano.compile.ops.Shape):
            return np.asarray(self.of(node.inputs[0]))
        outputs = [[None] for _ in node.outputs]
        inputs = [np.asarray(self._value(i)) for i in node.inputs]
        node.op.perform(node, inputs, outputs)
        for output, (value,) in zip(node.outputs, outputs):
            self._known[output] = np.asarray(value)
        return self._known[v]

    def _root(self, v) -> tuple[int, ...]:
        if v in self._shapes:
            return self._shapes[v]
        return self.of(v)
