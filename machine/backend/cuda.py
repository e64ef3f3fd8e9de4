"""Finding CUDA: driver, nvrtc, cuBLAS, cuDNN, headers and pygpu, and whether they go together.

Nothing needs to be on the linker's path. Search order: the folders in ``PIXELVAE_CUDA``; NVIDIA's
wheels of the running Python; toolkits under ``/usr/local``; the system's own folders; other
Pythons' wheels.
"""

from __future__ import annotations

import ctypes
import glob
import os
import platform
import re
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple, Optional

from pixelvae.machine.errors import UserError

_LIBRARIES = ("nvrtc", "cublas", "cudnn")
# Below each place. A pattern: wheels have a folder for each library, named by it or, from CUDA 13
# on, by the version.
_LIB = ("lib64", "lib", "targets/x86_64-linux/lib", "nvidia/*/lib", "usr/lib", "lib/x86_64-linux-gnu",
        "usr/lib/x86_64-linux-gnu", "")  # fmt: skip
_INCLUDE = ("include", "targets/x86_64-linux/include", "nvidia/*/include", "usr/include", "")
_PACKAGES = ("usr/lib/python3/dist-packages", "lib/python3/dist-packages", "")
# Where container runtimes and WSL put the driver, if not on the linker's path.
_DRIVER = ("/usr/local/nvidia/lib64", "/usr/lib64", "/usr/lib/wsl/lib")
_OTHER_PYTHONS = ("/usr/lib/python3*", "/usr/local/lib/python3*", "/opt/*/lib/python3*", "~/.local/lib/python3*",
                  "/opt/*/envs/*/lib/python3*")  # fmt: skip
_LINES = "pip install -r requirements-cuda12.txt, or -cuda11.txt for a driver before 525"
_TOO_NEW = sys.version_info >= (3, 12)  # for pygpu, and for Theano's C for GPUs
_OTHER_PYTHON = (
    f"a GPU takes CPython 3.8 to 3.11, not {platform.python_version()}: "
    "make -B setup PYTHON=python3.11"
)


class NoDriver(UserError):
    """The machine has no NVIDIA driver, so nobody can expect a GPU to be used."""


class Card(NamedTuple):
    """The first device that CUDA offers."""

    name: str
    capability: tuple[int, int]
    driver: tuple[int, int]  #: the newest CUDA that the driver runs


class Cuda(NamedTuple):
    """What is needed to run on a GPU, all of it loaded into this process."""

    card: Card
    cuda: tuple[int, int]  #: nvrtc's version
    cudnn: tuple[int, int, int]
    libraries: dict[str, Path]  #: cuda (the driver), nvrtc, cublas, cudnn and gpuarray
    headers: list[Path]  #: folders with CUDA's, cuDNN's and libgpuarray's headers
    pygpu: Path  #: the folder it is imported from

    def __str__(self) -> str:
        return (
            f"{self.card.name} (compute capability {_dotted(self.card.capability)}), "
            f"CUDA {_dotted(self.cuda)}, cuDNN {_dotted(self.cudnn)}, "
            f"driver for CUDA {_dotted(self.card.driver)}"
        )


def find() -> Cuda:
    """Finds and loads everything, and asks the driver for its first device.

    Raises
    ------
    NoDriver
        No NVIDIA driver is installed.
    UserError
        Something is missing or too old; the message names what helps.
    """
    named = _named()
    places = [*named, *_places()]
    driver = _load_driver(places)
    if _TOO_NEW:
        raise UserError(_OTHER_PYTHON)
    card = _card(ctypes.CDLL(str(driver)))
    folders, missing = _packages(places), _missing_packages()
    if missing:
        raise UserError(f"Python has no package {missing}, which pygpu needs: {_LINES}")
    gpuarray = _one("gpuarray", places)
    if folders is None or gpuarray is None:
        raise UserError("pygpu is missing: apt-get install python3-pygpu libgpuarray-dev")
    if sys.version_info[:2] != (3, 11) and find_spec("pygpu") is None:
        raise UserError("Debian's pygpu is for CPython 3.11: run this with that")
    # Where the environment leaves it open, all three come from one place if they can: their
    # versions then agree.
    one_place = [p for p in places if all(_one(name, [p]) for name in _LIBRARIES)]
    found = {name: _one(name, [*named, *one_place, *places]) for name in _LIBRARIES}
    lost = [name for name, path in found.items() if path is None]
    if lost:
        raise UserError(
            f"{' and '.join(lost)} cannot be found: {_LINES}; or name their folders in PIXELVAE_CUDA"
        )
    libraries = {"cuda": driver, **{n: p for n, p in found.items() if p}, "gpuarray": gpuarray}
    handles = {name: _load(path) for name, path in libraries.items()}
    cuda = _nvrtc_version(handles["nvrtc"], card)
    cudnn = _cudnn_version(handles["cudnn"], card)
    return Cuda(card, cuda, cudnn, libraries, _headers(places, libraries["cudnn"]), folders)


def _named() -> list[Path]:
    """The folders in ``PIXELVAE_CUDA``."""
    folders = [Path(f) for f in os.environ.get("PIXELVAE_CUDA", "").split(os.pathsep) if f]
    for folder in folders:
        if not folder.is_dir():
            raise UserError(f"PIXELVAE_CUDA names {folder}, which is not a directory")
    return folders


def _places() -> Iterator[Path]:
    for folder in sys.path:
        if folder and os.path.isdir(os.path.join(folder, "nvidia")):
            yield Path(folder)
    for variable in ("CUDA_HOME", "CUDA_PATH"):
        if os.environ.get(variable):
            yield Path(os.environ[variable])
    newest_first = sorted(glob.glob("/usr/local/cuda-*"), key=_numbers, reverse=True)
    yield from map(Path, ("/usr/local/cuda", *newest_first, "/opt/cuda", "/usr", "/usr/local"))
    for pattern in _OTHER_PYTHONS:
        for packages in ("site-packages", "dist-packages"):
            yield from map(Path, sorted(glob.glob(os.path.expanduser(f"{pattern}/{packages}"))))


def _numbers(text: object) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", str(text))]


def _below(places: list[Path], patterns: tuple[str, ...], name: str) -> Iterator[Path]:
    """Files ``name`` (a pattern) in the places' folders, in the places' order."""
    for place in places:
        for pattern in patterns:
            yield from map(Path, sorted(glob.glob(os.path.join(place, pattern, name))))


def _one(name: str, places: list[Path]) -> Optional[Path]:
    return next(_below(places, _LIB, f"lib{name}.so*"), None)


def _load(path: Path) -> ctypes.CDLL:
    try:
        return ctypes.CDLL(str(path), ctypes.RTLD_GLOBAL)
    except OSError as error:
        raise UserError(f"{path} cannot be loaded ({error}): {_LINES}") from None


def _load_driver(places: list[Path]) -> Path:
    """Loads the driver's library, and returns its file."""
    named = _below(places, _LIB, "libcuda.so.1")
    for candidate in (
        *named,
        "libcuda.so.1",
        *(Path(folder, "libcuda.so.1") for folder in _DRIVER),
    ):
        try:
            ctypes.CDLL(str(candidate), ctypes.RTLD_GLOBAL)
        except OSError:
            continue
        maps = Path("/proc/self/maps").read_text()
        return Path(re.findall(r"(/\S*/libcuda\.so\S*)", maps)[0])
    no_driver = "there is no NVIDIA driver: install it, or in Docker start with --gpus all"
    raise NoDriver(_OTHER_PYTHON if _TOO_NEW else no_driver)


def _card(driver: ctypes.CDLL) -> Card:
    """The first device."""
    count, version, major, minor = (ctypes.c_int() for _ in range(4))
    status = driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count))
    if status or not count.value:
        raise UserError(
            f"the NVIDIA driver offers no GPU (status {status}): look at nvidia-smi and CUDA_VISIBLE_DEVICES; "
            "in Docker start with --gpus all"
        )
    name = ctypes.create_string_buffer(100)
    driver.cuDeviceGetName(name, len(name), 0)
    driver.cuDriverGetVersion(ctypes.byref(version))
    driver.cuDeviceGetAttribute(ctypes.byref(major), 75, 0)  # the numbers of cuda.h
    driver.cuDeviceGetAttribute(ctypes.byref(minor), 76, 0)
    return Card(
        name.value.decode(),
        (major.value, minor.value),
        (version.value // 1000, version.value % 1000 // 10),
    )


def compiled_for(card: Card) -> tuple[int, int]:
    """The compute capability that kernels are compiled for: the card's, or 9.0 for newer cards.

    libgpuarray writes two digits of it. The driver translates code for 9.0 to any later card.
    """
    return card.capability if card.capability[0] < 10 else (9, 0)


def _nvrtc_version(nvrtc: ctypes.CDLL, card: Card) -> tuple[int, int]:
    major, minor, count = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
    nvrtc.nvrtcVersion(ctypes.byref(major), ctypes.byref(minor))
    version = major.value, minor.value
    if version > card.driver:
        raise UserError(
            f"the NVIDIA driver is for CUDA {_dotted(card.driver)} and older, not for nvrtc {_dotted(version)}: "
            f"update it, or take an older CUDA ({_LINES})"
        )
    nvrtc.nvrtcGetNumSupportedArchs(ctypes.byref(count))
    known = (ctypes.c_int * count.value)()
    nvrtc.nvrtcGetSupportedArchs(known)
    wanted = compiled_for(card)
    if wanted[0] * 10 + wanted[1] not in known:
        oldest, newest = (_dotted(divmod(end(known), 10)) for end in (min, max))
        raise UserError(
            f"{card.name} has compute capability {_dotted(card.capability)}, and nvrtc {_dotted(version)} "
            f"compiles for {oldest} to {newest}: take another CUDA ({_LINES})"
        )
    return version


def _cudnn_version(cudnn: ctypes.CDLL, card: Card) -> tuple[int, int, int]:
    cudnn.cudnnGetVersion.restype = cudnn.cudnnGetCudartVersion.restype = ctypes.c_size_t
    number, runtime = cudnn.cudnnGetVersion(), cudnn.cudnnGetCudartVersion()
    unit = 10000 if number >= 90000 else 1000
    if runtime // 1000 > card.driver[0]:
        raise UserError(
            f"the NVIDIA driver is for CUDA {_dotted(card.driver)} and older, and cuDNN for CUDA {runtime // 1000}: "
            f"update the driver, or take an older cuDNN ({_LINES})"
        )
    return number // unit, number % unit // 100, number % 100


def _headers(places: list[Path], cudnn: Path) -> list[Path]:
    """Folders that hold all headers; of several cuDNN's, the one that came with the library."""
    beside = [cudnn.parents[1], *places]
    folders = []
    for name, remedy in (
        ("cudnn.h", _LINES),
        ("cuda_runtime.h", _LINES),
        ("crt/host_config.h", _LINES),
        ("gpuarray/config.h", "apt-get install libgpuarray-dev"),
    ):
        found = next(_below(beside, _INCLUDE, name), None)
        if found is None:
            raise UserError(f"the header {name} cannot be found: {remedy}")
        folders.append(found.parents[name.count("/")])
    return list(dict.fromkeys(folders))


def _packages(places: list[Path]) -> Optional[Path]:
    """The folder that pygpu lies in: Python's own path first, then Debian's for its Python."""
    spec = find_spec("pygpu")
    if spec and spec.origin:
        return Path(spec.origin).parents[1]
    found = next(_below(places, _PACKAGES, "pygpu/__init__.py"), None)
    return found.parents[1] if found else None


def _missing_packages() -> str:
    return " or ".join(name for name in ("mako", "six") if find_spec(name) is None)


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))
