"""Drawing images from autoregressive networks, pixel by pixel.

``samplers``  the naive and the cached sampler, which take a network as a Theano expression
``draws``     how a value is drawn from the network's outputs: Bernoulli, categorical, Gaussian
``images``    samples and reconstructions of a model
``latents``   images of a model with one or two stages of latents, from given noise

The cached sampler reads the model's own graph: ``plan`` finds what can be computed once, by rows,
and by pixels; ``rules`` knows the operations; ``network`` runs them in NumPy on ``cache`` and
``convolve``.
"""

from pixelvae.lib.sampling.draws import bernoulli, categorical, gaussian
from pixelvae.lib.sampling.images import ImageSampler
from pixelvae.lib.sampling.samplers import Sampler

__all__ = [
    "ImageSampler",
    "Sampler",
    "bernoulli",
    "categorical",
    "gaussian",
]
