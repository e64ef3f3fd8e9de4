"""How learning rates fall, for the recipes of all families. Imports no Theano."""

from __future__ import annotations

from typing import Any

from pixelvae.models.checked import Maybe, Number, Whole

#: Declare the settings of :func:`falling` and of an average of the weights: ``setting(**DECAY_AFTER)``.
DECAY_AFTER: dict[str, Any] = {
    "kind": Maybe(Whole()),
    "about": "from iteration N on, the learning rate falls as sqrt(N / t)",
}
AVERAGE_DECAY: dict[str, Any] = {
    "kind": Maybe(Number(below=1)),
    "about": "evaluate the exponential moving average of the weights with this decay",
}


def falling(decay_after: int | None, t: int) -> float:
    """The factor √(decay_after / t) of a learning rate at iteration t >= 1, at most 1; 1 if that is None."""
    return min(1.0, decay_after / t) ** 0.5 if decay_after else 1.0
