"""Feeds broken files to everything that reads files: `python tests/fuzzing.py --count 5000 [--seed 0]`.

Each input is a good file with one to four random changes. Reading it has to succeed or to end in a
:class:`UserError` of one line, within :data:`SECONDS` and :data:`MEMORY`. Anything else is printed with the
input's seed, and the exit status is 1.
"""

from __future__ import annotations

import argparse
import gzip
import io
import json
import random
import resource
import shutil
import signal
import sys
import tarfile
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path

import h5py
import lmdb
import numpy as np
from PIL import Image

from pixelvae.datasets import SPLITS, imagenet64_2017
from pixelvae.datasets.base import IMAGES
from pixelvae.datasets.binarized_mnist import amat_problem
from pixelvae.datasets.hdf5 import Header, content_checksum, hdf5_part, verify, write_header
from pixelvae.datasets.imagenet64 import _images as tar_images
from pixelvae.datasets.lsun_bedrooms import _images as lmdb_images
from pixelvae.datasets.mnist import idx_problem
from pixelvae.datasets.own import open_npz
from pixelvae.datasets.picture_files import listed, split
from pixelvae.datasets.pictures import _images as picture_images
from pixelvae.lib.runs.folder import Run
from pixelvae.lib.runs.metrics import read_metrics
from pixelvae.machine.errors import UserError
from pixelvae.machine.files.arrays import load_arrays, save_arrays
from pixelvae.models.mnist.model import MnistModel, Settings
from pixelvae.models.weights import load

SECONDS = 10  # for one input
MEMORY = 512 << 20  # bytes of address space beyond what the process has at first
_TELLING = [
    b"\0",
    b"\xff",
    b"\x7f\xff\xff\xff",
    b"\0\0\0\0",
    b"\xff" * 8,
    b"9" * 12,
    b"-1",
    b"\n",
    b"PK",
    b"(,",
]


def mutated(content: bytes, rng: random.Random) -> bytes:
    """The content with one to four changes: bits, bytes, pieces lost, doubled, put in or cut off."""
    data = bytearray(content)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(data) + 1)
        length = rng.choice([1, 2, 4, 16, 100])
        change = rng.randrange(21) // 4
        if change == 0 and data:
            data[at % len(data)] ^= 1 << rng.randrange(8)
        elif change == 1:
            some = rng.choice(_TELLING)
            data[at : at + len(some)] = some
        elif change == 2:
            del data[at : at + length]
        elif change == 3:
            data[at:at] = data[at : at + length]
        elif change == 4:
            data[at:at] = rng.getrandbits(8 * length).to_bytes(length, "big")
        else:
            del data[at:]
    return bytes(data)


def _pixels(size: int = 64) -> np.ndarray:
    return np.random.RandomState(0).randint(256, size=(size, size, 3)).astype(np.uint8)


def _picture(kind: str) -> bytes:
    out = io.BytesIO()
    Image.fromarray(_pixels()).save(out, kind)
    return out.getvalue()


def _tar(*contents: bytes) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for number, content in enumerate(contents):
            member = tarfile.TarInfo(f"train/{number}.png")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return out.getvalue()


def _npz(compressed: bool) -> bytes:
    out = io.BytesIO()
    images = np.random.RandomState(0).randint(2, size=(5, 6, 7)).astype(np.uint8)
    save = np.savez_compressed if compressed else np.savez
    save(
        out,
        train=images,
        valid=images[:2],
        test=images[:3],
        test_labels=np.arange(3, dtype=np.uint8),
    )
    return out.getvalue()


def _zip_of_pictures(*contents: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for number, content in enumerate(contents):
            archive.writestr(f"photos/train/{number}.png", content)
    return out.getvalue()


def _read_pictures(path: Path) -> None:
    names = split(listed(path).names).names
    _read_all(image for some in names.values() for image in picture_images(path, some, 16, 0))


def _batch() -> bytes:
    out = io.BytesIO()
    rows = np.random.RandomState(0).randint(256, size=(2, 12288)).astype(np.uint8)
    np.savez_compressed(out, data=rows, labels=np.array([1, 1000]))
    return out.getvalue()


def _read_batch(path: Path) -> None:
    batch = imagenet64_2017._Batch(path)
    size = imagenet64_2017._size(batch)
    imagenet64_2017._labels(batch, size)
    for _ in imagenet64_2017._images([batch], [size], 0):
        pass


CONFIG = {"settings": {"iterations": 5, "model": {"layers": 1}}, "environment": {}}


def _checkpoint(folder: Path) -> bytes:
    path = folder / "good.npz"
    header = {"kind": "checkpoint", "iteration": 3, "config": CONFIG}
    save_arrays(path, {"w": np.arange(6.0).reshape(2, 3), "adam.step": np.array(7)}, header)
    return path.read_bytes()


def _with_header(text: bytes, folder: Path) -> bytes:
    """A whole checkpoint of no arrays whose header is that text."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive, archive.open("header.npy", "w") as member:
        np.lib.format.write_array(member, np.frombuffer(text, np.uint8), version=(1, 0))
    return out.getvalue()


def _write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def _read_all(images: Iterable) -> None:
    for image in images:
        if isinstance(image, UserError):
            # The image itself would keep this frame, and the file that it maps into memory.
            raise UserError(str(image))


def _read_lmdb(content: bytes, folder: Path) -> None:
    place = folder / "lmdb"
    shutil.rmtree(place, ignore_errors=True)
    with lmdb.open(str(place), map_size=1 << 22, sync=False) as environment:
        with environment.begin(write=True) as transaction:
            transaction.put(b"key", content)
    _read_all(lmdb_images(place, 0))


def _resume(content: bytes, folder: Path) -> None:
    place = folder / "run"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    _write(place / "checkpoint.npz", _with_header(content, folder))
    Run.open(place, CONFIG).close()


def _weights(model, folder: Path) -> Callable[[bytes], None]:
    """Reads a text as the JSON of the header of that model's weights."""
    arrays = model.parameters.arrays()

    def read(content: bytes) -> None:
        try:
            header = json.loads(content)
            save_arrays(folder / "weights.npz", arrays, {**header, "kind": "weights"})
        except (ValueError, TypeError, RecursionError) as problem:  # which is refused before
            raise UserError("not a header") from problem
        load(str(folder / "weights.npz"))

    return read


def _hdf5(path: Path) -> bytes:
    from fuel.datasets import H5PYDataset

    images = np.random.RandomState(0).randint(2, size=(4, 1, 6, 7)).astype(np.uint8)
    with h5py.File(path, "w") as file:
        file[IMAGES] = images
        file.attrs["split"] = H5PYDataset.create_split_array(
            {name: {IMAGES: (n, n + 1)} for n, name in enumerate(SPLITS)}
        )
    sources = {"train.amat": {"size": 1, "mtime_ns": 2, "md5": "a"}}
    write_header(path, Header(content_checksum(path), sources))
    return path.read_bytes()


def _read_hdf5(path: Path) -> None:
    verify(path)
    part = hdf5_part(path, "train", IMAGES)
    part.get_data(request=slice(0, part.num_examples))


def parsers(folder: Path) -> dict:
    """Of each parser the good content, and a function that reads a content; files go to `folder`."""
    lines = b"0 1 " * 392
    amat = b"".join(lines[:-1] + b"\n" for _ in range(3))
    idx = b"\0\0\x08\x03" + b"".join(n.to_bytes(4, "big") for n in (2, 28, 28)) + bytes(1568)
    png, file = _picture("PNG"), folder / "file"
    small = MnistModel(Settings("gated-pixelvae", 1, 2, 2, 3, 6, 7))
    header = {"format": 1, "kind": "checkpoint", "iteration": 3, "config": CONFIG, "arrays": []}
    metrics = b"iteration,split,bound,kl\n1,train,2.5,0.5\n1,valid,2.25,\n2,train,2.0,0.25\n"
    return {
        "amat": (amat, lambda b: amat_problem(_write(file, b), 3)),
        "amat.gz": (gzip.compress(amat), lambda b: amat_problem(_write(folder / "f.gz", b), 3)),
        "IDX": (idx, lambda b: idx_problem(_write(file, b), (2, 28, 28))),
        "tar": (_tar(png, png), lambda b: _read_all(tar_images(_write(file, b), 0))),
        "PNG in a tar": (png, lambda b: _read_all(tar_images(_write(file, _tar(b)), 0))),
        "zip of pictures": (
            _zip_of_pictures(png, png, png),
            lambda b: _read_pictures(_write(file, b)),
        ),
        "batch of ImageNet": (_batch(), lambda b: _read_batch(_write(file, b))),
        "JPEG in an LMDB": (_picture("JPEG"), lambda b: _read_lmdb(b, folder)),
        "WebP in an LMDB": (_picture("WEBP"), lambda b: _read_lmdb(b, folder)),
        "npz of images": (_npz(False), lambda b: open_npz(_write(file, b))),
        "compressed npz": (_npz(True), lambda b: open_npz(_write(file, b))),
        "checkpoint": (_checkpoint(folder), lambda b: load_arrays(_write(file, b))),
        "checkpoint's header": (json.dumps(header).encode(), lambda b: _resume(b, folder)),
        "weights' header": (
            json.dumps({"model": small.header()}).encode(),
            _weights(small, folder),
        ),
        "converted HDF5": (_hdf5(file), lambda b: _read_hdf5(_write(file, b))),
        "metrics.csv": (metrics, lambda b: read_metrics(_write(file, b))),
    }


def limit_memory() -> None:
    """Let this process have :data:`MEMORY` more than it has now."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (most, resource.RLIM_INFINITY))


def _late(*_: object) -> None:
    raise TimeoutError(f"took more than {SECONDS} s")


def fuzz(count: int, seed: int, folder: Path) -> dict[str, tuple[int, list[str]]]:
    """Of each parser, how many of `count` inputs it refused, and what it should not have done."""
    signal.signal(signal.SIGALRM, _late)
    results = {}
    for name, (good, read) in parsers(folder).items():
        read(good)  # what is not refused unchanged
        refused, wrong = 0, []
        for number in range(count):
            content = mutated(good, random.Random(f"{seed} {name} {number}"))
            started = time.monotonic()
            signal.alarm(2 * SECONDS)
            try:
                refused += isinstance(read(content), str)  # some return what is wrong
            except UserError as problem:
                refused += 1
                if "\n" in str(problem):
                    wrong.append(f"{name} {number}: more than a line: {problem}")
            except BaseException as problem:
                wrong.append(f"{name} {number}: {type(problem).__name__}: {problem}")
            finally:
                signal.alarm(0)
            if time.monotonic() - started > SECONDS:
                wrong.append(f"{name} {number}: took more than {SECONDS} s")
        results[name] = refused, wrong
    return results


def main() -> int:
    parser = argparse.ArgumentParser(description="Feed broken files to the parsers.")
    parser.add_argument("--count", type=int, default=5000, help="inputs a parser")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    limit_memory()
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        results = fuzz(arguments.count, arguments.seed, Path(folder))
    for name, (refused, wrong) in results.items():
        print(f"{name:20} {arguments.count} inputs, {refused} refused, {len(wrong)} wrong")
        for line in wrong[:20]:
            print(f"    {line[:300]}")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    total = arguments.count * len(results)
    print(f"{total} inputs in {time.monotonic() - started:.0f} s, peak memory {peak} MiB")
    return int(any(wrong for _, wrong in results.values()))


if __name__ == "__main__":
    sys.exit(main())
