"""The same jobs, done by PyTorch in its own environment: ``python -m benchmarks.torch_worker``.

On a GPU where ``PIXELVAE_DEVICE`` is cuda, and then the batch lies in its memory already; with TF32
where ``PIXELVAE_TF32`` is 1.
"""

from __future__ import annotations

import os
from functools import partial

import numpy as np
import torch

from benchmarks.protocol import serve
from benchmarks.torch_hierarchical import Hierarchical, read_batch
from benchmarks.torch_twin import Twin

DEVICE = "cuda" if os.environ.get("PIXELVAE_DEVICE") == "cuda" else "cpu"


def _open(weights: str, inputs: str):
    with np.load(inputs) as file:
        images, noise = (torch.from_numpy(file[name]).to(DEVICE) for name in ("images", "z"))
    return Twin.load(weights).to(DEVICE), images, noise


def _is_larger(inputs: str) -> bool:
    with np.load(inputs) as file:
        return "alpha1" in file


def _step(model, loss_of_batch, clip):
    """A step of Adam, waited for."""
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)

    def repeat() -> None:
        optimizer.zero_grad()
        loss = loss_of_batch()
        loss.backward()
        clip(model.parameters())
        optimizer.step()
        loss.item()

    return repeat


def training_step(weights: str, inputs: str, compiled: bool = False):
    """One step; ``compiled``: the loss and its gradients by torch.compile."""
    if _is_larger(inputs):
        model = Hierarchical.load(weights).to(DEVICE)
        images, noise, scalars = read_batch(inputs, DEVICE)
        clip = partial(torch.nn.utils.clip_grad_norm_, max_norm=5.0)

        def loss_of(x, noise):
            return model.objective(x.long(), noise, **scalars)[0]
    else:
        model, images, noise = _open(weights, inputs)
        noise, clip = [noise], partial(torch.nn.utils.clip_grad_value_, clip_value=1.0)

        def loss_of(x, noise):
            reconstruction, kl = model.terms(x.float(), *noise)
            return (reconstruction + 1e-4 * kl).mean()

    loss_of = torch.compile(loss_of) if compiled else loss_of
    return _step(model, lambda: loss_of(images, [torch.randn_like(e) for e in noise]), clip)


def product(size: int):
    """A product of square matrices."""
    a, b = torch.rand(2, size, size, device=DEVICE)
    return lambda: torch.mm(a, b)


def bound(weights: str, inputs: str):
    twin, images, noise = _open(weights, inputs)

    @torch.inference_mode()
    def repeat() -> None:
        twin.terms(images.float(), torch.randn_like(noise))

    return repeat


def importance(weights: str, inputs: str, samples: int):
    twin, images, noise = _open(weights, inputs)

    @torch.inference_mode()
    def repeat() -> None:
        x = images[:1].float()
        mean, log_sigma = twin.encode(x)
        batches = torch.randn(samples, noise.shape[1], device=DEVICE).split(len(images))
        logs = [twin.log_weights(x, mean, log_sigma, batch) for batch in batches]
        torch.cat(logs).double().logsumexp(0).item()

    return repeat


def naive_sampling(weights: str, inputs: str, passes: int):
    """So many values of each image, with one pass of the network for each.

    Of a larger model that is the PixelCNN: what lies above depends on the latent alone.
    """
    larger = _is_larger(inputs)
    if larger:
        model = Hierarchical.load(weights).to(DEVICE)
        images, (z, _), _ = read_batch(inputs, DEVICE)
    else:
        model, images, z = _open(weights, inputs)
    uniform = torch.rand(images.shape, device=DEVICE)
    channels, width = images.shape[1], images.shape[3]

    def draw(logits, noise):
        if larger:
            return (logits.softmax(1).cumsum(1)[:, :-1] <= noise[:, None]).sum(1)
        return noise < torch.sigmoid(logits[:, 0])

    @torch.inference_mode()
    def repeat() -> None:
        x = torch.zeros(images.shape, device=DEVICE)
        network = model.decoder(z) if larger else partial(model.decode, z=z)
        for number in range(passes):
            pixel, c = divmod(number, channels)
            i, j = divmod(pixel, width)
            x[:, c, i, j] = draw(network(x)[:, c::channels, i, j], uniform[:, c, i, j]).float()

    return repeat


JOBS = (training_step, product, bound, importance, naive_sampling)

if __name__ == "__main__":
    tf32 = os.environ.get("PIXELVAE_TF32") == "1"
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = tf32
    serve({job.__name__: job for job in JOBS})
