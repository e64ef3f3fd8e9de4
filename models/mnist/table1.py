"""Table 1: the models for binary images, each registered here once, and the paper's numbers.

Whatever asks which models there are reads :data:`VARIANTS`: command lines, settings, weights files,
shipping and the pages of results. Imports no Theano.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """The paper's numbers, nats an image: bound (or exact), importance-weighted estimate."""

    bound: float
    weighted: float | None = None
    exact: bool = False

    def __str__(self) -> str:
        bound = f"{'=' if self.exact else '≤'} {self.bound:.2f}"
        return f"≈ {self.weighted:.2f} ({bound})" if self.weighted else bound


@dataclass(frozen=True)
class Variant:
    """One model: an encoder, a decoder and a network over the pixels, each present or not.

    Parameters
    ----------
    name, title
        What it is called on command lines, and in tables.
    network
        The dotted path of the class of its network over pixels, which is made of (parameters,
        settings, features, latent): ``features`` are the channels of the maps that it is called
        with (0 for none), ``latent`` the dimensions of the z that it is called with (0 for none).
        It is called as ``network(x, features=…, z=…)`` and gives one logit a pixel, each a function
        of z and the pixels before it alone.
    latent
        Whether there is a z, and so an encoder. Without one the likelihood is exact.
    upsampling
        Whether z reaches the pixels through the upsampling decoder, as maps, or as it is.
    autoregressive
        Whether the network over pixels has layers that see other pixels: L, D and k then mean
        something.
    paper
        Its row of table 1, if it has one.
    """

    name: str
    title: str
    network: str
    latent: bool = True
    upsampling: bool = True
    autoregressive: bool = True
    paper: Row | None = None


_NETWORKS = "pixelvae.models.mnist.pixels"
#: By name, in the order of table 1. Another model is another entry; see docs/extending.md.
VARIANTS = {
    variant.name: variant
    for variant in (
        Variant(
            "conv-vae", "Convolutional VAE", f"{_NETWORKS}.IndependentPixels",
            autoregressive=False, paper=Row(87.41),
        ),
        Variant("pixelvae", "PixelVAE", f"{_NETWORKS}.MaskedStack", paper=Row(80.64)),
        Variant(
            "gated-pixelcnn", "Gated PixelCNN", f"{_NETWORKS}.GatedStack",
            latent=False, upsampling=False, paper=Row(80.10, exact=True),
        ),
        Variant("gated-pixelvae", "Gated PixelVAE", f"{_NETWORKS}.GatedStack", paper=Row(80.02, 79.48)),
        Variant(
            "gated-pixelvae-noup", "Gated PixelVAE without upsampling", f"{_NETWORKS}.GatedStack",
            upsampling=False, paper=Row(79.58, 78.96),
        ),
    )
}  # fmt: skip

#: What table 1 quotes from others.
PUBLISHED = (
    ("DRAW (Gregor et al., 2016)", "≤ 80.97"),
    ("Discrete VAE (Rolfe, 2016)", "= 81.01"),
    ("IAF VAE (Kingma et al., 2016)", "≈ 79.88"),
    ("PixelCNN (van den Oord et al., 2016a)", "= 81.30"),
    ("PixelRNN (van den Oord et al., 2016a)", "= 79.20"),
    ("VLAE (Chen et al., 2016)", "= 79.03"),
)
#: Pairs of which the paper's first is better.
ORDERINGS = (("pixelvae", "conv-vae"), ("gated-pixelvae", "pixelvae"))
