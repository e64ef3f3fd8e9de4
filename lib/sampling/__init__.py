"""Drawing images from autoregressive networks, pixel by pixel.

``images``    samples, reconstructions and variations of a model
``samplers``  the naive and the cached sampler, which take a network as a Theano expression

The cached sampler reads the model's own graph: ``plan`` finds what can be computed once, by rows,
and by pixels; ``rules`` knows the operations; ``network`` runs them in NumPy on ``cache`` and
``convolve``.
"""

from pixelvae.lib.sampling.images import ImageSampler
from pixelvae.lib.sampling.samplers import Sampler

__all__ = ["ImageSampler", "Sampler"]
