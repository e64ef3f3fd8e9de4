"""PixelVAE (Gulrajani et al., 2016): everything here is imported below this name.

    import pixelvae

    m = pixelvae.load("gated-pixelvae-noup")
    x = pixelvae.open_dataset("binarized_mnist").images("test", 0, 100)
    m.bound(x).mean(), m.log_likelihood(x, importance_samples=50).mean()

:mod:`pixelvae.api` is the Python interface, whose names are loaded when they are first used, since
it imports Theano. The other packages lie beside this folder, where links make them part of it: so
the names ``lib``, ``models`` and ``datasets`` stay free for everyone else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pixelvae.machine.errors import UserError

if TYPE_CHECKING:
    from pixelvae.api import Moments, PixelVAE, load, open_dataset

__all__ = ["Moments", "PixelVAE", "UserError", "load", "open_dataset"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from pixelvae import api

    return getattr(api, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
