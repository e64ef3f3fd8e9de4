"""Additions to the result of a convolution, moved into the convolution.

The gradient of a map that flows into several layers is a sum of convolutions, and residual sums look
alike. Computed separately, such a sum reads and writes whole maps once more. ``Correlate`` and
``CorrelateInputs`` can add while they write their result, so a graph optimisation hands them the other
terms.
"""

from __future__ import annotations

import theano.tensor as T
from theano import gof
from theano.tensor.opt import register_specialize

from pixelvae.lib.ops.conv import Correlate, CorrelateInputs
from pixelvae.lib.ops.lowering import native


@register_specialize
@gof.local_optimizer([T.add])
def add_into_convolution(node):
    """``add(convolution(..., acc=None), rest...)`` -> ``convolution(..., acc=rest)``."""
    if node.op != T.add or not native():
        return False
    for term in node.inputs:
        convolution = term.owner
        if convolution is None or not isinstance(convolution.op, (Correlate, CorrelateInputs)):
            continue
        *inputs, acc = convolution.op.given(convolution.inputs)
        if (
            convolution.op.relu
            or acc is not None
            or len(term.clients) > 1
            or term.type != node.outputs[0].type
        ):
            continue
        rest = [v for v in node.inputs if v is not term]
        # acc is as large as the result, which a bias that spreads over the maps is not. A map added to itself stays.
        if len(rest) < len(node.inputs) - 1 or any(v.type != term.type for v in rest):
            continue
        fused = convolution.op(*inputs, rest[0] if len(rest) == 1 else T.add(*rest))
        gof.opt.copy_stack_trace([term, node.outputs[0]], fused)
        return [fused]
    return False
