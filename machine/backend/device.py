"""The choice between the CPU and a GPU, made before Theano is imported, and what it came to.

A command line makes it by :func:`use`. Without it Theano runs on the CPU, or on what the user's
Theano flags say.
"""

from __future__ import annotations

import logging
import os
import re
import sys
from typing import Any, Optional

from pixelvae.machine.backend import cuda, environment, gpu
from pixelvae.machine.backend.preparation import prepare
from pixelvae.machine.errors import UserError

CHOICES = ("auto", "cuda", "cpu")  #: and cuda0, cuda1, … of several cards


def use(device: Optional[str], tf32: bool = False) -> Optional[str]:
    """Settles the device of this process and imports Theano on it.

    "auto" (or None, where ``PIXELVAE_DEVICE`` does not say otherwise) takes the GPU if there is one
    that works. ``tf32`` lets convolutions round their inputs to TF32's ten bits.

    Returns a line for the user where a GPU is used, or why there is none; None where there is
    nothing to say, as on a machine without a driver where ``PIXELVAE_DEVICE`` is not set.

    Raises
    ------
    UserError
        "cuda" and no GPU works, or the environment contradicts the arguments.
    """
    given = prepare().given.get("device")
    wanted = device or os.environ.get("PIXELVAE_DEVICE") or "auto"
    if not is_device(wanted):
        raise UserError(
            f"PIXELVAE_DEVICE must be one of {', '.join(CHOICES)} or cuda with a number, not {wanted!r}"
        )
    if given and device not in (None, "auto", given) and not (device == "cuda" and _cuda(given)):
        raise UserError(
            f"{device} contradicts device={given} in THEANO_FLAGS: leave one of them out",
            setting="device",
        )
    if given:
        wanted = given if _cuda(given) else "cpu"
    if tf32 and wanted == "cpu":
        raise UserError(
            "TF32 is for a GPU, and the CPU was asked for: leave one of them out", setting="tf32"
        )
    if wanted == "cpu":
        return None
    if "theano" in sys.modules:
        if _cuda(wanted) and not active():
            raise UserError("theano was imported before the device was chosen, and runs on the CPU")
        return None
    try:
        with environment.undone_on_error():
            if tf32:
                environment.change("PIXELVAE_TF32", "1")
            gpu.ready(prepare().given, "cuda" if wanted == "auto" else wanted)
    except cuda.NoDriver as reason:
        # Most machines have none, and need no message. The image, which sets the variable, expects
        # one.
        return _without(reason, wanted, quiet=not os.environ.get("PIXELVAE_DEVICE"))
    except UserError as reason:
        return _without(reason, wanted)
    _import_theano()
    return f"on {describe()}"


def is_device(name: str) -> bool:
    """Whether that is something :func:`use` takes."""
    return name in CHOICES or _cuda(name)


def _cuda(name: str) -> bool:
    return re.fullmatch(r"cuda\d*", name) is not None


def _without(reason: UserError, wanted: str, quiet: bool = False) -> Optional[str]:
    if _cuda(wanted):
        raise UserError(f"no GPU can be used: {reason}")
    return None if quiet else f"on the CPU; no GPU can be used: {reason}"


def _import_theano() -> None:
    """Imports Theano, which only logs if it fails to start the device.

    Raises UserError then. There is no way back to the CPU: Theano has taken the settings for the
    device.
    """
    records: list[logging.LogRecord] = []
    logger = logging.getLogger("theano.gpuarray")
    catch = logging.Handler()
    catch.emit = records.append  # type: ignore[method-assign, assignment]
    logger.addHandler(catch)
    propagate, logger.propagate = logger.propagate, False
    try:
        import theano.gpuarray
    finally:
        logger.removeHandler(catch)
        logger.propagate = propagate
        # Meant for forks, it would keep the GPU from commands that this one starts.
        os.environ.pop("THEANO_GPU_IS_ALREADY_ACTIVE", None)
    if not theano.gpuarray.pygpu_activated:
        cause = next((r.exc_info[1] for r in records if r.exc_info), None)
        raise UserError(f"Theano cannot start it: {cause or 'no reason is given'} (docs/gpu.md)")
    if not theano.gpuarray.dnn.dnn_available(None):
        raise UserError(
            f"cuDNN cannot be used: {theano.gpuarray.dnn.dnn_available.msg} (docs/gpu.md)"
        )


def active() -> bool:
    """Whether functions that are compiled now run on a GPU. Imports Theano."""
    import theano

    if theano.config.device == "cpu":
        return False
    # Not imported here: while Theano starts the device, it imports operations whose names it finds
    # in its cache.
    return bool(getattr(sys.modules.get("theano.gpuarray"), "pygpu_activated", False))


def describe() -> str:
    """The device in words, for people and for a run's config.json. Imports Theano."""
    if not active():
        return "cpu"
    return f"{gpu.loaded()}, TF32 {'on' if record()['tf32'] else 'off'}"


def record() -> dict[str, Any]:
    """For a run's config.json: {"device": "cuda" or "cpu", "tf32": whether convolutions use it}.

    Does not import Theano.
    """
    on_gpu = bool(gpu.loaded()) and ("theano" not in sys.modules or active())
    return {
        "device": "cuda" if on_gpu else "cpu",
        "tf32": on_gpu and os.environ.get("PIXELVAE_TF32") == "1",
    }


def summary() -> str:
    """One line: which BLAS, how many threads, which device. Imports Theano."""
    blas = prepare().blas
    import theano

    return (
        f"BLAS: {blas}; OpenMP threads: {os.environ['OMP_NUM_THREADS']}; "
        f"device: {describe()}, {theano.config.floatX}"
    )


def memory() -> int:
    """The machine's memory in bytes, for what is refused before it is too much."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
