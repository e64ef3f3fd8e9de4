"""What Theano runs on, in one line."""

from __future__ import annotations

from pixelvae.machine.backend import device
from pixelvae.machine.backend.preparation import prepare


def summary() -> str:
    """One line: which BLAS, how many threads, which device."""
    backend = prepare()
    import theano

    ldflags = theano.config.blas.ldflags
    if backend.openblas:
        name = f"{backend.openblas} (threads in a call: {backend.openblas.threads})"
    else:
        name = ldflags or "none (slow: install libopenblas, or SciPy from its wheel)"
    return (
        f"BLAS: {name}; OpenMP threads: {backend.threads}; "
        f"device: {device.describe()}, {theano.config.floatX}"
    )
