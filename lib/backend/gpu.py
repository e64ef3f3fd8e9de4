"""Makes a GPU usable for Theano: CUDA, pygpu, and the flags of the device."""

from __future__ import annotations

import importlib.util
import os
import sys
import warnings
from collections.abc import Mapping
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Optional

from lib.backend import cuda, flags
from lib.backend.linking import add_to_path, link
from lib.errors import UserError

_found: list[cuda.Cuda] = []  # what this process has loaded: nothing, or one


_HEADERS = Path(__file__).parent / "include"  # with cuDNN's old interface


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


def loaded() -> Optional[cuda.Cuda]:
    """The CUDA that this process has loaded, if any."""
    return _found[0] if _found else None
