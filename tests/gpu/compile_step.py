"""compile_step.py MODEL: compiles a model's training step for a GPU that computes nothing, and says what is where.

For tests/gpu/test_compile.py, which prepares the environment; docker/warm-gpu-cache has a part of it. The last line is
JSON: how many nodes of the step work on the device, which transfers there are, and all other nodes by operation, type
of result and number (:class:`pixelvae.machine.backend.placement.Placement`).
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
from dataclasses import replace


class Started:
    """A library whose ``cudnnCreate`` succeeds without a device."""

    def __init__(self, library):
        self._library = library

    def __getattr__(self, name):
        return _create if name == "cudnnCreate" else getattr(self._library, name)


def _create(handle) -> int:
    handle._obj.value = 1
    return 0


def pretend_cudnn_starts() -> None:
    """Theano asks cuDNN for a handle as soon as it is imported; the library itself is the real one."""
    load = ctypes.cdll.LoadLibrary

    def load_library(name):
        library = load(name)
        return Started(library) if name.endswith("/libcudnn.so") else library

    ctypes.cdll.LoadLibrary = load_library  # type: ignore[method-assign]


def training_step(name: str):
    """The step of a model: of an MNIST model at its filter sizes and two layers, of a preset as it is."""
    from pixelvae.lib.training.step import TrainingStep
    from pixelvae.models.hierarchical.presets import HIERARCHICAL
    from pixelvae.models.mnist import presets as mnist_presets
    from pixelvae.models.mnist.presets import MNIST
    from pixelvae.models.mnist.table1 import VARIANTS

    if name in VARIANTS:
        model = MNIST.build(mnist_presets.Settings(name, 2, 4, 4))
        return TrainingStep(model, MNIST.presets["paper"].training.recipe(seed=0))
    preset = HIERARCHICAL.presets[name]
    model = HIERARCHICAL.build(replace(preset.settings, batch=2))
    return TrainingStep(model, preset.training.recipe(seed=0))


def main(name: str) -> None:
    pretend_cudnn_starts()
    from pixelvae.machine.backend import device

    print(device.use("cuda"))
    from pixelvae.machine.backend.placement import placement

    print(json.dumps(placement(*training_step(name).functions)._asdict()), flush=True)
    # Without the end at which the real cuDNN would be handed back a handle that it never made.
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1])
