"""The choice between the CPU and a GPU, made before Theano is imported.

A command line makes it by :func:`use`. Without it Theano runs on the CPU, or on what the user's Theano flags say.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import sys
import warnings
from collections.abc import Mapping
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any, Optional

from lib.backend import cuda, flags
from lib.backend.linking import add_to_path, link
from lib.errors import UserError

CHOICES = ("auto", "cuda", "cpu")
_found: list[cuda.Cuda] = []  # what this process has loaded: nothing, or one
_HEADERS = Path(__file__).parent / "include"  # with cuDNN's old interface


def use(device: Optional[str], tf32: bool = False) -> Optional[str]:
    """Settles the device of this process and imports Theano on it.

    "auto" (or None, where ``PIXELVAE_DEVICE`` does not say otherwise) takes the GPU if there is one that works.
    ``tf32`` lets convolutions round their inputs to TF32's ten bits.

    Returns a line for the user where a GPU is used, or why there is none; None where there is nothing to say, as on a
    machine without a driver where ``PIXELVAE_DEVICE`` is not set.

    Raises:
        UserError: "cuda" and no GPU works, or what the environment says contradicts the arguments.
    """
    from lib.backend import prepare

    given = prepare().given.get("device")
    wanted = device or os.environ.get("PIXELVAE_DEVICE") or "auto"
    if wanted not in CHOICES:
        raise UserError(f"PIXELVAE_DEVICE must be one of {', '.join(CHOICES)}, not {wanted!r}")
    if given and device in ("cuda", "cpu") and not given.startswith(device):
        raise UserError(
            f"--device {device} contradicts device={given} in THEANO_FLAGS: leave one of them out"
        )
    if given:
        wanted = "cpu" if given == "cpu" else "cuda"
    if tf32 and wanted == "cpu":
        raise UserError("--tf32 is for a GPU, and the CPU was asked for: leave one of them out")
    if wanted == "cpu":
        return None
    if "theano" in sys.modules:
        if wanted == "cuda" and not active():
            raise UserError("theano was imported before the device was chosen, and runs on the CPU")
        return None
    if tf32:
        os.environ["PIXELVAE_TF32"] = "1"
    try:
        ready(prepare().given, given or "cuda")
        _import_theano()
    except cuda.NoDriver as reason:
        # Most machines have none, and need not be told. The image, which sets the variable, expects one.
        return _without(reason, wanted, quiet=not os.environ.get("PIXELVAE_DEVICE"))
    except UserError as reason:
        return _without(reason, wanted)
    return f"on {describe()}"


def _without(reason: UserError, wanted: str, quiet: bool = False) -> Optional[str]:
    if wanted == "cuda":
        raise UserError(f"no GPU can be used: {reason}")
    return None if quiet else f"on the CPU; no GPU can be used: {reason}"


def _import_theano() -> None:
    """Imports Theano, which only logs where it fails to start the device.

    Raises UserError then. Theano is on the CPU in that case, for all that its flag says.
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
    import theano.gpuarray

    return theano.gpuarray.pygpu_activated


def ready(given: Mapping[str, str], device: str) -> cuda.Cuda:
    """Loads CUDA, makes pygpu importable and gives Theano its flags for the device.

    given: the user's own settings, which stand.

    Raises UserError where something is missing.
    """
    if _found:
        return _found[0]
    found = cuda.find()
    base = given.get("base_compiledir") or flags.base_compiledir()
    os.makedirs(base, exist_ok=True)
    names = link(found.libraries, base)
    _import_pygpu(found.pygpu)
    add_to_path("CPLUS_INCLUDE_PATH", *found.headers)
    add_to_path("LIBRARY_PATH", names)
    if os.environ.get("PIXELVAE_TF32") == "1":
        os.environ.pop("NVIDIA_TF32_OVERRIDE", None)
    else:
        os.environ["PIXELVAE_TF32"] = os.environ["NVIDIA_TF32_OVERRIDE"] = "0"
    warnings.filterwarnings("ignore", "Your cuDNN version is more recent than Theano")
    code = flags.compiledir_format(flags.march(given.get("gcc.cxxflags", "")))
    versions = f"cuda{found.cuda[0]}.{found.cuda[1]}_cudnn{'.'.join(map(str, found.cudnn))}"
    flags.set_defaults(
        {
            "device": device,
            "print_active_device": "False",
            # Of several CUDAs, each has its own compiled code and kernels.
            "compiledir_format": f"{code}_{versions}",
            "cuda.include_path": str(found.headers[0]),
            "dnn.include_path": str(_HEADERS),
            "dnn.library_path": str(names),
            "dnn.bin_path": str(names),
            # The algorithm that cuDNN's heuristics name, which include/cudnn.h keeps to those that give the same bits
            # every time. Timing them would find another from one start to the next. Asked once for each shape: with
            # "guess_once", a batch larger than the first would get a workspace that is too small.
            "dnn.conv.algo_fwd": "guess_on_shape_change",
            "dnn.conv.algo_bwd_data": "guess_on_shape_change",
            "dnn.conv.algo_bwd_filter": "guess_on_shape_change",
        },
        given,
    )
    _found.append(found)
    return found


def _import_pygpu(folder: Path) -> None:
    """Imports pygpu and nothing else from a folder that may hold another Python's packages."""
    if "pygpu" in sys.modules:
        return
    spec = PathFinder.find_spec("pygpu", [str(folder)])
    assert spec and spec.loader
    sys.modules["pygpu"] = module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # compiled for another NumPy, libgpuarray's own checks, …
        del sys.modules["pygpu"]
        raise UserError(f"pygpu cannot be imported: {error}") from None


def describe() -> str:
    """The device in words, for people and for a run's config.json. Imports Theano."""
    if not active():
        return "cpu"
    return f"{_found[0]}, TF32 {'on' if record()['tf32'] else 'off'}"


def record() -> dict[str, Any]:
    """What a run's config.json says of the device: {"device": "cuda" or "cpu", "tf32": whether convolutions use it}.

    Does not import Theano.
    """
    on_gpu = bool(_found) and ("theano" not in sys.modules or active())
    return {
        "device": "cuda" if on_gpu else "cpu",
        "tf32": on_gpu and os.environ.get("PIXELVAE_TF32") == "1",
    }
