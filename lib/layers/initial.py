"""Initial values, as the authors' code draws them.

All uniform values lie in ±√3·s, so that s is their standard deviation.
"""

from __future__ import annotations

import numpy as np


def _uniform(rng: np.random.RandomState, s: float, shape) -> np.ndarray:
    return rng.uniform(-np.sqrt(3) * s, np.sqrt(3) * s, size=shape).astype("float32")


def convolution(
    rng: np.random.RandomState,
    shape: tuple[int, int, int],
    he: bool = True,
    masked: bool = False,
    stride: float = 1,
    blocks: int = 1,
) -> np.ndarray:
    """Weights (O, C, taps): s = √(4 / (fan_in + fan_out)) with ``he``, else √(2 / …) (Glorot).

    "He" is for layers before a ReLU, ELU or gate.

    Fans are channels × taps; fan_out is divided by stride², and both are halved for a masked layer.
    ``blocks`` layers lie side by side, each with a fan_out of its own.

    Examples
    --------
    >>> w = convolution(np.random.RandomState(0), (200, 1, 9))
    >>> w.shape, f"{w.std():.2f} {np.sqrt(4 / (9 + 200 * 9)):.2f}"
    ((200, 1, 9), '0.05 0.05')
    """
    outputs, inputs, taps = shape
    fans = inputs * taps + outputs // blocks * taps / stride**2
    return _uniform(rng, np.sqrt((4.0 if he else 2.0) / (fans / 2 if masked else fans)), shape)


def transposed_convolution(rng: np.random.RandomState, shape: tuple[int, int, int]) -> np.ndarray:
    """Weights (C_in, C_out, taps): s = 2√2 / √(C_in · taps).

    Examples
    --------
    >>> w = transposed_convolution(np.random.RandomState(0), (32, 8, 9))
    >>> w.shape, f"{w.std():.2f} {2 * np.sqrt(2 / (32 * 9)):.2f}"
    ((32, 8, 9), '0.17 0.17')
    """
    inputs, _, taps = shape
    return _uniform(rng, 2 * np.sqrt(2.0 / (inputs * taps)), shape)


def linear(
    rng: np.random.RandomState, outputs: int, inputs: int, glorot: bool = False
) -> np.ndarray:
    """Weights (outputs, inputs): s = √(1 / fan_in); an orthogonal matrix if the layer is square.

    With ``glorot``: s = √(2 / (fan_in + fan_out)).

    Examples
    --------
    >>> w = linear(np.random.RandomState(0), 2, 2)
    >>> np.allclose(w @ w.T, np.eye(2), atol=1e-6)
    True
    """
    if glorot:
        return _uniform(rng, np.sqrt(2.0 / (inputs + outputs)), (outputs, inputs))
    if outputs == inputs:
        q, r = np.linalg.qr(table(rng, outputs, inputs))
        # The signs make it uniformly distributed.
        return (q * np.sign(np.diag(r))).astype("float32")
    return _uniform(rng, np.sqrt(1.0 / inputs), (outputs, inputs))


def table(rng: np.random.RandomState, rows: int, columns: int) -> np.ndarray:
    """Standard normal numbers (rows, columns).

    Examples
    --------
    >>> table(np.random.RandomState(0), 3, 2).shape
    (3, 2)
    """
    return rng.standard_normal((rows, columns))
