"""Near duplicates among images, found by semantic hashing (Radford et al. 2015, section 4.1.1).

A 3072–128–3072 autoencoder with ReLU is trained on 32×32 copies, against noise on its input and
dropout on its code. The 128 units of its code, thresholded at 0, are an image's hash, and an image
whose hash was seen is dropped.

A copy that was compressed again moves every unit a little, and so flips those bits whose units lie
next to the threshold, so that many a copy has another hash. The few bits of an image that are
nearest to the threshold therefore count either way when its hash is looked up.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Callable

import numpy as np

from pixelvae.datasets.streaming import halve
from pixelvae.lib.noise import standard_normal, uniform
from pixelvae.machine.console.progress import Progress, phase

PIXELS, BITS = 3 * 32 * 32, 128
IN_DOUBT = 8  # bits of a hash that count either way
_SEED = 20151119
_SAMPLE = 50000  # images to train on: 150 MB
_BATCH, _EPOCHS, _LEAST_STEPS, _MOST_STEPS = 100, 10, 200, 5000
_NOISE, _DROPOUT, _RATE = 1.0, 0.5, 1e-3
_BLOCK = 500

#: Gives the code, before its ReLU, of uint8 images (N, 3, 32, 32): float32 (N, BITS).
Coder = Callable[[np.ndarray], np.ndarray]


def distinct(images: Any, count: int) -> np.ndarray:
    """Numbers of those of the first `count` images of which no earlier one is a duplicate: int64.

    Parameters
    ----------
    images
        Array of uint8 (N, 3, 64, 64), or an HDF5 data set, which is read in pieces.

    Memory: 150 MB for the sample, and about 130 bytes for each image that is kept.
    """
    sample = np.linspace(0, count, min(count, _SAMPLE), endpoint=False).astype(int)
    code = train_coder(np.concatenate([halve(images[i : i + 1]) for i in sample]))

    def codes() -> Iterator[np.ndarray]:
        with Progress(count, unit="hashes") as progress:
            for start in range(0, count, _BLOCK):
                block = images[start : min(start + _BLOCK, count)]
                yield code(halve(block))
                progress.update(len(block))

    return np.flatnonzero(np.fromiter(unseen(codes()), bool, count))


def unseen(codes: Iterable[np.ndarray]) -> Iterator[bool]:
    """Of each image in turn, whether its hash differs from that of every one that was unseen.

    `codes` gives pieces of the images' codes, before the ReLU: (n, BITS).
    """
    seen: set[int] = set()
    for values in codes:
        hashes = np.packbits(values > 0, axis=1)
        doubtful = np.argsort(np.abs(values), axis=1, kind="stable")[:, :IN_DOUBT]
        for packed, bits in zip(hashes, doubtful.tolist()):
            own = int.from_bytes(packed.tobytes(), "big")
            alike = [own]
            for bit in bits:
                alike += [other ^ 1 << BITS - 1 - bit for other in alike]
            new = seen.isdisjoint(alike)
            if new:
                seen.add(own)
            yield new


def train_coder(images: np.ndarray) -> Coder:
    """Train the autoencoder on uint8 images (N, 3, 32, 32) and return its lower half.

    Pixels are centred at their mean and divided by their common standard deviation. Ten epochs,
    but at least 200 steps and at most 5,000, with Lasagne's Adam. The same images give the same
    coder, up to how the machine rounds.
    """
    import lasagne  # slow to import, as is Theano
    import theano
    import theano.tensor as T

    mean = images.mean(0, dtype=np.float64).astype(np.float32).reshape(-1)
    spread = np.float32(
        max(np.sqrt(np.mean([np.mean((i.ravel() - mean) ** 2) for i in images])), 1)
    )

    def standardised(some: np.ndarray) -> np.ndarray:
        return (some.reshape(len(some), PIXELS) - mean) / spread

    def weights(name: str, inputs: int, outputs: int) -> Any:
        bound = np.sqrt(6 / (inputs + outputs))
        draw = uniform(_SEED, name, 0, (inputs, outputs)) * 2 - 1
        return theano.shared((bound * draw).astype(np.float32), name=name)

    encode, decode = weights("encode", PIXELS, BITS), weights("decode", BITS, PIXELS)
    bias, offset = (
        theano.shared(np.zeros(BITS, "float32")),
        theano.shared(np.zeros(PIXELS, "float32")),
    )
    clean, noise, dropout = T.fmatrix("clean"), T.fmatrix("noise"), T.fmatrix("dropout")
    code = T.nnet.relu(T.dot(clean + noise, encode) + bias) * dropout
    cost = T.sqr(T.dot(code, decode) + offset - clean).mean()
    updates = lasagne.updates.adam(cost, [encode, decode, bias, offset], _RATE)
    with phase("compiling the autoencoder that finds duplicates", 15):
        step = theano.function([clean, noise, dropout], cost, updates=updates)

    steps = min(max(_EPOCHS * len(images) // _BATCH, _LEAST_STEPS), _MOST_STEPS)
    random = np.random.RandomState(_SEED)
    with Progress(steps, unit="steps") as progress:
        for t in range(steps):
            batch = standardised(images[random.randint(len(images), size=_BATCH)])
            kept = uniform(_SEED, "dropout", t, (_BATCH, BITS)) >= _DROPOUT
            disturbance = _NOISE * standard_normal(_SEED, "noise", t, batch.shape)
            error = step(batch, disturbance, kept.astype(np.float32) / (1 - _DROPOUT))
            progress.update(error=float(error))
    lower, shift = encode.get_value(), bias.get_value()
    return lambda some: standardised(some) @ lower + shift
