"""Makes a GPU usable for Theano: CUDA, pygpu, and the flags of the device."""

from __future__ import annotations

import importlib.util
import os
import platform
import sys
import warnings
from collections.abc import Mapping
from importlib.machinery import PathFinder
from importlib.util import find_spec
from pathlib import Path
from typing import Optional

from pixelvae.machine.backend import cuda, environment, flags
from pixelvae.machine.backend.linking import link
from pixelvae.machine.errors import UserError

_found: list[cuda.Cuda] = []  # what this process has loaded: nothing, or one


_HEADERS = Path(__file__).parent / "include"  # with cuDNN's old interface


def ready(given: Mapping[str, str], device: str) -> None:
    """Loads CUDA, makes pygpu importable, starts the device and gives Theano its flags for it.

    given: the user's own settings, which stand. device: "cuda", or "cuda" with the card's number.

    Raises UserError if something is missing or the device cannot be had; the environment is then as
    it was.
    """
    if not _found:
        with environment.undone_on_error():
            _found.append(_prepared(given, device))


def _prepared(given: Mapping[str, str], device: str) -> cuda.Cuda:
    _choose_card(device)
    found = cuda.find()
    base = given.get("base_compiledir") or flags.base_compiledir()
    os.makedirs(base, exist_ok=True)
    names = link(found.libraries, base)
    _import_pygpu(found.pygpu)
    environment.add_headers(*_glue_headers(), *found.headers)
    environment.add_to_path("LIBRARY_PATH", names)
    tf32 = os.environ.get("PIXELVAE_TF32") == "1"
    environment.change("PIXELVAE_TF32", str(int(tf32)))
    environment.change("NVIDIA_TF32_OVERRIDE", None if tf32 else "0")
    _start()
    warnings.filterwarnings("ignore", "Your cuDNN version is more recent than Theano")
    versions = f"cuda{found.cuda[0]}.{found.cuda[1]}_cudnn{'.'.join(map(str, found.cudnn))}"
    kernels = Path(base, f"kernels_{versions}")
    kernels.mkdir(exist_ok=True)
    cxxflags = _glue_flags(given.get("gcc.cxxflags"))
    # The user's flags are among the compiler's. Theano has one setting for the device: its number
    # is settled already.
    given = {name: value for name, value in given.items() if name not in ("device", "gcc.cxxflags")}
    flags.set_defaults(
        {
            "device": "cuda",
            "print_active_device": "False",
            # Of several CUDAs, each has its own compiled code and kernels.
            "compiledir_format": f"{flags.compiledir_format(flags.march(cxxflags))}_{versions}",
            "gpuarray.cache_path": str(kernels),
            "gcc.cxxflags": cxxflags,
            "cmodule.remove_gxx_opt": "True",
            "openmp": "False",  # scalars then share the options of all other operations, and so compiled headers
            "cuda.include_path": str(found.headers[0]),
            "dnn.include_path": str(_HEADERS),
            "dnn.library_path": str(names),
            "dnn.bin_path": str(names),
            # The algorithm that cuDNN's heuristics name, which include/cudnn.h keeps to those that
            # give the same bits every time. Timing them would find another from one start to the
            # next. Asked once for each shape: with "guess_once", a batch larger than the first
            # would get a workspace that is too small.
            "dnn.conv.algo_fwd": "guess_on_shape_change",
            "dnn.conv.algo_bwd_data": "guess_on_shape_change",
            "dnn.conv.algo_bwd_filter": "guess_on_shape_change",
        },
        given,
    )
    return found


def _glue_flags(chosen: Optional[str]) -> str:
    """The compiler's flags for what Theano compiles for a GPU; ``chosen`` are the user's.

    It only calls libgpuarray and cuDNN: glue, in which optimisation gains nothing. It is compiled
    for any processor, unless the user chose one, since compiled code may be carried from one
    machine to another.
    """
    flags = "-march=x86-64" if platform.machine() == "x86_64" else ""
    flags = flags if chosen is None else chosen
    return " ".join(["-g0", *(flag for flag in flags.split() if not flag.startswith("-O"))])


def _glue_headers() -> list[str]:
    """The folders of the headers that :mod:`.compilation` compiles once, for all operations."""
    import pygpu

    theano = Path(str(find_spec("theano").origin)).parent  # type: ignore[union-attr]
    return [pygpu.get_include(), f"{theano}/gof/c_code", f"{theano}/gpuarray/c_code"]


def _choose_card(device: str) -> None:
    """Makes the card of that number the only one of this process, in which it is the first.

    Theano's batch norm and reductions through cuDNN work on the first card, whichever they were
    meant for.
    """
    number = device[len("cuda") :]
    if not number:
        return
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    cards = visible.split(",") if visible else None
    if not number.isdecimal() or (cards and int(number) >= len(cards)):
        among = f" among CUDA_VISIBLE_DEVICES={visible}" if cards else ""
        raise UserError(f"there is no device {device}{among}")
    environment.change("CUDA_VISIBLE_DEVICES", cards[int(number)] if cards else number)


def _start() -> None:
    """Takes the device and releases it again, before Theano, which cannot return to the CPU."""
    import pygpu

    try:
        pygpu.init("cuda")
    except (
        Exception
    ) as error:  # pygpu's own, with libgpuarray's words: no memory, another process has it, …
        raise UserError(f"it cannot be started: {' '.join(str(error).split())}") from None


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
