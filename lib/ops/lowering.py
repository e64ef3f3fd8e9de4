"""The operations with C++ inside, replaced by their meaning in Theano's own operations.

A graph optimisation that every ``theano.function`` runs by itself. It does nothing while the C++
can be used. On a GPU, which the C++ cannot reach, or with ``PIXELVAE_NATIVE=0`` in the environment,
it replaces each of these operations by its meaning, or by the form that cuDNN has of it.
"""

from __future__ import annotations

from functools import partial
from typing import Callable

import theano.tensor as T
from theano import gof
from theano.compile import optdb

from pixelvae.lib.ops.native import NativeOp, NotLowered, native
from pixelvae.machine.backend import device


def _without_cpp(op: NativeOp, inputs) -> list:
    if op.cudnn and device.active():
        # Not imported before a GPU is active: Theano's own module needs pygpu.
        from pixelvae.lib.ops import _gpu

        return op.expressed(partial(getattr(_gpu, op.cudnn), op), inputs)
    return op.expressed(op.meaning, inputs)


def _lower(wanted: Callable[[], bool], fgraph) -> None:
    if not wanted():
        return
    # The meaning of some is in terms of others.
    while natives := [node for node in fgraph.toposort() if isinstance(node.op, NativeOp)]:
        for node in natives:
            try:
                outputs = _without_cpp(node.op, node.inputs)
            except Exception as error:  # of which Theano would only warn
                raise NotLowered(f"{node.op} cannot be put in Theano's terms: {error}") from error
            # Theano may know more of the shape now; the type must stay.
            meaning = [
                T.patternbroadcast(new, old.broadcastable)
                for new, old in zip(outputs, node.outputs)
            ]
            gof.opt.copy_stack_trace(node.outputs, meaning)
            fgraph.replace_all_validate(list(zip(node.outputs, meaning)), reason="lowering")


def _register(name: str, wanted: Callable[[], bool], mode: str) -> None:
    def require(fgraph) -> None:
        fgraph.attach_feature(gof.toolbox.ReplaceValidate())

    lowering = gof.opt.FromFunctionOptimizer(partial(_lower, wanted), (require,))
    lowering.__name__ = name
    optdb.register(name, lowering, 0.05, mode)


# Before shapes are inferred (0.1) and expressions simplified (1), so that both see Theano's own
# operations, and long before the passes that choose a convolution (from 48.5) and the GPU's.
_register("lowering", lambda: not native(), "fast_run")
# On a CPU, FAST_COMPILE runs NumPy alone: these operations have it, Theano's convolutions not.
_register("lowering_for_a_device", device.active, "fast_compile")
