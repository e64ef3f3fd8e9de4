"""Where the time of a training step goes, by kind of operation: Theano's profile, summed up."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from pixelvae.lib.training.batches import batches
from pixelvae.lib.training.step import TrainingStep

_CONVOLUTIONS = ("convolutions", "masked", "1×1")
REST = "Python and Theano"
_NAMES = {
    "softmax": ("Categorical", "Embed"),
    "units and gates": ("Elu", "Relu", "Gate"),
    "norms": ("BatchNorm", "WeightNorm", "ChannelSums"),
    "linear layers": ("Dot", "Gemm", "CGemm", "Gemv", "CGemv", "Ger", "CGer"),
    "Adam": ("Adam", "AveragedAdam", "SumOfSquares", "Pack"),
    "copies": ("Reshape", "Join", "Split", "Subtensor", "IncSubtensor", "Alloc", "DimShuffle"),
    "other": ("",),
}
#: In the order of the table; the first three are convolutions and their gradients.
KINDS = (*_CONVOLUTIONS, *_NAMES, REST)


def kind_of(op: Any) -> str:
    """The kind of a Theano operation; a convolution is of the same as its adjoints."""
    name = type(op).__name__
    if name.startswith("Correlate"):
        masked = op.taps < op.kh * op.kw
        return _CONVOLUTIONS[2 if op.taps == 1 else int(masked)]
    return next(kind for kind, names in _NAMES.items() if name.startswith(names))


class Profile:
    """Takes a step when it is called; to be made where Theano's flag ``profile`` is set."""

    def __init__(self, model, recipe, stream):
        self._step, self._batches = TrainingStep(model, recipe), batches(model, recipe, stream)

    def __call__(self) -> dict[str, dict[str, float]]:
        """``kinds``: seconds of each in all steps so far."""
        self._step(*next(self._batches))
        seconds: dict[str, float] = defaultdict(float)
        for function in self._step.functions:
            for node, time in function.profile.apply_time.items():
                seconds[kind_of(node.op)] += time
        return {"kinds": seconds}
