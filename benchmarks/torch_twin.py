"""The models for MNIST in PyTorch, as one writes them there: a peer, and an outside check.

Parameters bear the names of :mod:`pixelvae.models.mnist.model`, so that the twin loads the
project's weights files; nothing of the project is imported, for this runs in PyTorch's own
environment. Masked kernels are whole kernels times a mask.

    python -m benchmarks.torch_twin WEIGHTS.npz INPUTS.npz OUT.npz

takes images (N, 1, H, W) and noise (N, K), and writes ``reconstruction`` and ``kl``, (N,) each,
under each parameter's name the gradient of the mean of their sum, and ``log_weights`` of the first
image for all the noise, (N,), all computed in float64; of a model without a latent neither ``kl``
nor ``log_weights``.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

FEATURES = 32


class WeightNormed(nn.Module):
    """w = g v / ||v||, the norm over everything but the output."""

    def __init__(self, *shape: int):
        super().__init__()
        self.v = nn.Parameter(torch.empty(shape))
        self.g = nn.Parameter(torch.empty(shape[0]))
        self.b = nn.Parameter(torch.empty(shape[0]))

    def weight(self):
        scale = self.g / self.v.flatten(1).norm(dim=1)
        return self.v * scale.view(-1, *[1] * (self.v.ndim - 1))


class Conv(WeightNormed):
    """With ``taps``, all but that many of the kernel's first entries in raster order are masked."""

    def __init__(self, inputs, outputs, kernel, stride=1, taps=None):
        super().__init__(outputs, inputs, *kernel)
        self.stride, self.padding = stride, (kernel[0] // 2, kernel[1] // 2)
        mask = None
        if taps is not None:
            mask = (torch.arange(kernel[0] * kernel[1]) < taps).float().view(kernel)
        self.register_buffer("mask", mask, persistent=False)

    def forward(self, x):
        w = self.weight()
        if self.mask is not None:
            w = w * self.mask
        return F.conv2d(x, w, self.b, self.stride, self.padding)


class TransposedConv(nn.Module):
    def __init__(self, inputs, outputs):
        super().__init__()
        self.w = nn.Parameter(torch.empty(inputs, outputs, 3, 3))
        self.b = nn.Parameter(torch.empty(outputs))

    def forward(self, x):
        return F.conv_transpose2d(x, self.w, self.b, stride=2, padding=1, output_padding=1)


class Linear(WeightNormed):
    def __init__(self, inputs, outputs):
        super().__init__(outputs, inputs)

    def forward(self, x):
        return F.linear(x, self.weight(), self.b)


def gate(y, condition=None):
    if condition is not None:
        y = y + condition[:, :, None, None]
    a, b = y.chunk(2, dim=1)
    return torch.tanh(a) * torch.sigmoid(b)


def coarsest(size: int) -> int:
    for _ in range(3):
        size = (size + 1) // 2
    return size


class Encoder(nn.Module):
    def __init__(self, latent_dim, height, width):
        super().__init__()
        self.conv1 = Conv(1, 32, (3, 3))
        self.conv2 = Conv(32, 32, (3, 3), stride=2)
        self.conv3 = Conv(32, 32, (3, 3))
        self.conv4 = Conv(32, 64, (3, 3), stride=2)
        self.conv5 = Conv(64, 64, (3, 3))
        self.conv6 = Conv(64, 64, (3, 3), stride=2)
        self.conv7 = Conv(64, 64, (3, 3))
        self.conv8 = Conv(64, 64, (3, 3))
        self.linear = Linear(64 * coarsest(height) * coarsest(width), 2 * latent_dim)

    def forward(self, x):
        for conv in (self.conv1, self.conv2, self.conv3, self.conv4):
            x = F.relu(conv(x))
        x = F.pad(x, (0, x.shape[3] % 2, 0, x.shape[2] % 2))
        for conv in (self.conv5, self.conv6, self.conv7, self.conv8):
            x = F.relu(conv(x))
        y = self.linear(x.flatten(1))
        return y[:, ::2], y[:, 1::2]


class Decoder(nn.Module):
    def __init__(self, latent_dim, height, width):
        super().__init__()
        self.start = (64, coarsest(height), coarsest(width))
        self.crops = [((height + s - 1) // s, (width + s - 1) // s) for s in (4, 2, 1)]
        self.linear = Linear(latent_dim, 64 * self.start[1] * self.start[2])
        self.conv1, self.conv2 = Conv(64, 64, (3, 3)), Conv(64, 64, (3, 3))
        self.up1, self.conv3 = TransposedConv(64, 64), Conv(64, 64, (3, 3))
        self.up2, self.conv4 = TransposedConv(64, 32), Conv(32, 32, (3, 3))
        self.up3, self.conv5 = TransposedConv(32, 32), Conv(32, FEATURES, (3, 3))

    def forward(self, z):
        x = F.relu(self.linear(z)).view(-1, *self.start)
        x = F.relu(self.conv2(F.relu(self.conv1(x))))
        stages = ((self.up1, self.conv3), (self.up2, self.conv4), (self.up3, self.conv5))
        for (up, conv), (height, width) in zip(stages, self.crops):
            x = F.relu(conv(F.relu(up(x))))[:, :, :height, :width]
        return x


class GatedLayer(nn.Module):
    def __init__(self, inputs, width, k, first):
        super().__init__()
        self.first = first
        self.vertical = Conv(inputs, 2 * width, (k, k), taps=(k // 2 + 1) * k)
        self.above = Conv(2 * width, 2 * width, (1, 1))
        self.horizontal = Conv(inputs, 2 * width, (1, k), taps=k // 2 + (not first))
        self.out = Conv(width, width, (1, 1))

    def forward(self, vertical, horizontal, conditions):
        rows = self.vertical(F.pad(vertical, (0, 0, 1, 0)))
        y = self.horizontal(horizontal) + self.above(rows[:, :, :-1])
        out = self.out(gate(y, conditions[1]))
        return gate(rows[:, :, 1:], conditions[0]), out if self.first else out + horizontal


class Pixels(nn.Module):
    """The gated two-stack network."""

    def __init__(self, layers, width, k, features, latent_dim):
        super().__init__()
        self.input = GatedLayer(1 + features, width, 7, first=True)
        for i in range(layers):
            self.add_module(f"layer{i + 1}", GatedLayer(width, width, k, first=False))
        self.gates = 2 * (layers + 1) + 2
        self.latent = Linear(latent_dim, self.gates * 2 * width) if latent_dim else None


class MaskedLayers(nn.Module):
    """The network without gates."""

    def __init__(self, layers, width, k, features):
        super().__init__()
        self.input = Conv(1 + features, width, (7, 7), taps=24)
        for i in range(layers):
            self.add_module(f"layer{i + 1}", Conv(width, width, (k, k), taps=k * k // 2 + 1))

    def forward(self, x):
        x = F.relu(self.input(x))
        for layer in list(self.children())[1:]:
            x = x + F.relu(layer(x))
        return x


class Twin(nn.Module):
    """``model``: one of table 1; the others as ``Settings``.

    Images x are (N, 1, H, W), latents and noise (N, K).
    """

    def __init__(self, model, layers, dim_pix, latent_dim, filter_size, height, width):
        super().__init__()
        latent, self.gated = model != "gated-pixelcnn", model.startswith("gated")
        upsampling = latent and model != "gated-pixelvae-noup"
        self.encoder: Any = Encoder(latent_dim, height, width) if latent else None
        self.decoder: Any = Decoder(latent_dim, height, width) if upsampling else None
        self.pixelcnn: Any = None
        if model == "conv-vae":
            self.output = Conv(FEATURES, 1, (1, 1))
            return
        features, conditioned = (FEATURES, 0) if upsampling else (0, latent_dim * latent)
        self.output = nn.Module()
        if not self.gated:
            self.pixelcnn = MaskedLayers(layers, dim_pix, filter_size, features)
            self.output.conv1 = Conv(dim_pix, dim_pix, (1, 1))
            self.output.conv2 = Conv(dim_pix, dim_pix, (1, 1))
            self.output.logits = Conv(dim_pix, 1, (1, 1))
            return
        self.pixelcnn = Pixels(layers, dim_pix, filter_size, features, conditioned)
        out = features or dim_pix
        self.output.conv1 = Conv(dim_pix, 2 * out, (1, 1))
        self.output.conv2 = Conv(out, 2 * out, (1, 1))
        self.output.logits = Conv(out, 1, (1, 1))

    @classmethod
    def load(cls, path: str) -> Twin:
        """From a weights file of the project."""
        with np.load(path) as file:
            settings = json.loads(file["header"].tobytes())["model"]
            settings.pop("family", None)
            twin = cls(**settings)
            shapes = {name: value.shape for name, value in twin.state_dict().items()}
            twin.load_state_dict(
                {n: torch.from_numpy(file[n]).view(shapes[n]) for n in file.files if n != "header"}
            )
        return twin

    def encode(self, x):
        """mu and log sigma of q(z|x), (N, K) each."""
        return self.encoder(x)

    def decode(self, x, z):
        """Logits (N, 1, H, W)."""
        if self.pixelcnn is None:
            return self.output(self.decoder(z))
        if self.decoder is not None:
            x = torch.cat([x, self.decoder(z)], dim=1)
        cnn = self.pixelcnn
        if not self.gated:
            y = F.relu(self.output.conv2(F.relu(self.output.conv1(cnn(x)))))
            return self.output.logits(y)
        conditions = [None] * cnn.gates
        if cnn.latent is not None:
            conditions = cnn.latent(z).chunk(cnn.gates, dim=1)
        vertical = horizontal = x
        for i in range(cnn.gates // 2 - 1):
            layer = cnn.input if i == 0 else getattr(cnn, f"layer{i}")
            vertical, horizontal = layer(vertical, horizontal, conditions[2 * i : 2 * i + 2])
        y = gate(self.output.conv1(horizontal), conditions[-2])
        return self.output.logits(gate(self.output.conv2(y), conditions[-1]))

    def terms(self, x, noise):
        """-log p(x|z) and KL(q(z|x) || N(0, I)) in nats, (N,) each; without a latent 0."""
        z, kl = None, torch.zeros_like(noise)
        if self.encoder is not None:
            mean, log_sigma = self.encode(x)
            z = mean + log_sigma.exp() * noise
            kl = -0.5 * (1 + 2 * log_sigma - mean**2 - (2 * log_sigma).exp())
        logits = self.decode(x, z)
        reconstruction = F.binary_cross_entropy_with_logits(logits, x, reduction="none")
        return reconstruction.flatten(1).sum(1), kl.sum(1)

    def log_weights(self, x, mean, log_sigma, noise):
        """log p(x, z_s) - log q(z_s|x) of one image (1, 1, H, W) for noise (S, K): (S,)."""
        z = mean + log_sigma.exp() * noise
        many = x.expand(len(noise), -1, -1, -1)
        log_p = -F.binary_cross_entropy_with_logits(self.decode(many, z), many, reduction="none")
        # The constants of the two densities of z cancel.
        log_ratio = (0.5 * noise**2 + log_sigma - 0.5 * z**2).sum(1)
        return log_p.flatten(1).sum(1) + log_ratio


def main(weights: str, inputs: str, out: str) -> None:
    twin = Twin.load(weights).double()
    with np.load(inputs) as file:
        x, noise = (torch.from_numpy(file[name]).double() for name in ("images", "z"))
    reconstruction, kl = twin.terms(x, noise)
    (reconstruction + kl).mean().backward()
    terms = {"reconstruction": reconstruction}
    if twin.encoder is not None:
        with torch.no_grad():
            log_weights = twin.log_weights(x[:1], *twin.encode(x[:1]), noise)
        terms.update(kl=kl, log_weights=log_weights)
    gradients = {name: p.grad for name, p in twin.named_parameters()}
    np.savez(out, **{name: t.detach().numpy() for name, t in {**terms, **gradients}.items()})


if __name__ == "__main__":
    main(*sys.argv[1:])
