"""The models for larger images in PyTorch, as one writes them there: a peer, and an outside check.

As in :mod:`benchmarks.torch_twin`: parameters bear the names of
:mod:`pixelvae.models.hierarchical.model`, and nothing of the project is imported. Two levels,
PixelCNNs over both and flattened vectors: what all presets of two levels have. Batches are
normalised as in training, so moving statistics are not read.

    python -m benchmarks.torch_hierarchical WEIGHTS.npz INPUTS.npz OUT.npz

takes a batch as :func:`read_batch` does, and writes ``cost and terms`` (4,), as ``objective`` gives
them, and under each parameter's name the gradient of the cost, all computed in float64.
"""

from __future__ import annotations

import json
import sys
from collections import OrderedDict
from types import SimpleNamespace

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from benchmarks.torch_twin import Conv, Linear, gate


class PlainConv(nn.Module):
    def __init__(self, inputs, outputs, stride=1, bias=True):
        super().__init__()
        self.w = nn.Parameter(torch.empty(outputs, inputs, 3, 3))
        self.b = nn.Parameter(torch.empty(outputs)) if bias else None
        self.stride = stride

    def forward(self, x):
        return F.conv2d(x, self.w, self.b, self.stride, padding=1)


class BatchNorm(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.scale = nn.Parameter(torch.empty(width))
        self.offset = nn.Parameter(torch.empty(width))

    def forward(self, x):
        return F.batch_norm(x, None, None, self.scale, self.offset, training=True, eps=0.01)


def depth_to_space(x):
    """``F.pixel_shuffle`` with the corners before the channels."""
    n, c, h, w = x.shape
    squares = x.view(n, 2, 2, c // 4, h, w).permute(0, 3, 4, 1, 5, 2)
    return squares.reshape(n, c // 4, 2 * h, 2 * w)


class ResidualBlock(nn.Module):
    def __init__(self, inputs, outputs, resample=None):
        super().__init__()
        self.up = resample == "up"
        more, stride = (4 if self.up else 1), (2 if resample == "down" else 1)
        middle = outputs if self.up else inputs
        self.conv1 = PlainConv(inputs, more * middle)
        self.conv2 = PlainConv(middle, outputs, stride, bias=False)
        self.norm = BatchNorm(outputs)
        self.shortcut = Conv(inputs, more * outputs, (1, 1), stride) if resample else None

    def forward(self, x):
        h, short = self.conv1(F.elu(x)), x if self.shortcut is None else self.shortcut(x)
        if self.up:
            h, short = depth_to_space(h), depth_to_space(short)
        return short + self.norm(self.conv2(F.elu(h)))


def level(first, stages, resample, last):
    """An encoder or a decoder: layers by name. A decoder's last takes what is modelled as well."""
    layers, width = OrderedDict(first), stages[0][0]
    for i, (outputs, count) in enumerate(stages, start=1):
        if i > 1:
            layers[f"{resample}{i - 1}"] = ResidualBlock(width, outputs, resample)
        width = outputs
        blocks = [(f"block{j}", ResidualBlock(width, width)) for j in range(1, count + 1)]
        layers[f"stage{i}"] = nn.Sequential(OrderedDict(blocks))
    return nn.Sequential(OrderedDict(layers, **last))


class MaskedConv(Conv):
    """At their own position, channels see only those of lower (B: or the same) index mod groups."""

    def __init__(self, inputs, outputs, kernel, kind, groups, blocks=1):
        super().__init__(inputs, blocks * outputs, (kernel, kernel))
        to = (torch.arange(outputs) % groups).repeat(blocks)[:, None]
        by = torch.arange(inputs) % groups
        mask, centre = torch.ones(blocks * outputs, inputs, kernel * kernel), kernel**2 // 2
        mask[:, :, centre] = (by < to if kind == "A" else by <= to).float()
        mask[:, :, centre + 1 :] = 0
        self.mask = None if mask.all() else mask.view_as(self.v)


class MaskedResidualBlock(nn.Module):
    def __init__(self, inputs, outputs, kernel, groups):
        super().__init__()
        self.conv1 = MaskedConv(inputs, outputs, kernel, "B", groups, blocks=2)
        self.conv2 = MaskedConv(outputs, outputs, kernel, "B", groups)
        self.shortcut = None
        if inputs != outputs:
            self.shortcut = MaskedConv(inputs, outputs, 1, "B", groups)

    def forward(self, x):
        short = x if self.shortcut is None else self.shortcut(x)
        return short + self.conv2(gate(self.conv1(F.elu(x))))


class PixelCNN(nn.Module):
    def __init__(self, inputs, features, width, kernels, outputs, groups):
        super().__init__()
        self.input = MaskedConv(inputs, features, 5, "A", groups)
        before = 2 * features
        for i, kernel in enumerate(kernels, start=1):
            self.add_module(f"block{i}", MaskedResidualBlock(before, width, kernel, groups))
            before = width
        self.output = MaskedConv(before, outputs, 1, "B", groups)

    def forward(self, below, features):
        h = torch.cat([self.input(below), 0.5 * features], dim=1)
        for layer in list(self.children())[1:]:
            h = layer(h)
        return h


class Flattened(Linear):
    def __init__(self, shape, outputs):
        super().__init__(shape.numel(), outputs)

    def forward(self, x):
        return super().forward(x.flatten(1))


class Unflattened(Linear):
    def __init__(self, inputs, shape):
        super().__init__(inputs, shape.numel())
        self.shape = shape

    def forward(self, z):
        return super().forward(z).unflatten(1, self.shape)


class Embedding(nn.Module):
    def __init__(self, levels, size):
        super().__init__()
        self.table = nn.Parameter(torch.empty(levels, size))

    def forward(self, x):
        return F.embedding(x, self.table).permute(0, 4, 1, 2, 3).flatten(1, 2)


def gaussian(outputs, floor=None):
    """Mean and sigma; a prior's, whose sigma has a ``floor``, is bounded."""
    mean, s = outputs.chunk(2, dim=1)
    sigma = 0.5 * (F.softsign(s) + 1)
    if floor is None:
        return mean, sigma
    return 2 * F.softsign(mean / 2), sigma.clamp(min=floor)


def kl(q, p):
    """KL(q || p) of each item, (N,)."""
    ratio, distance = q[1] / p[1], (q[0] - p[0]) / p[1]
    return (0.5 * (ratio**2 + distance**2 - 1) - torch.log(ratio)).flatten(1).sum(1)


class Hierarchical(nn.Module):
    """``s`` has the fields of ``pixelvae.models.hierarchical.settings.Settings``."""

    def __init__(self, s: SimpleNamespace):
        super().__init__()
        (k1, k2), d1, d2 = s.latents, s.stages[0][0], s.stages[-1][0]
        pixels, self.levels = s.channels * (s.embed or 1), s.levels
        halved = 2 ** (len(s.stages) + len(s.top_stages) - 2)
        top = torch.Size((s.top_stages[-1][0], s.height // halved, s.width // halved))
        self.embedding = Embedding(s.levels, s.embed) if s.embed else None
        self.enc1 = level(
            {"input": Conv(pixels, d1, (1, 1))},
            s.stages,
            "down",
            {"output": Conv(d2, 2 * k1, (1, 1))},
        )
        self.enc2 = level({}, s.top_stages, "down", {"output": Flattened(top, 2 * k2)})
        over_z1 = PixelCNN(k1, d2, s.latent_width, s.latent_kernels, 2 * k1, 1)
        self.dec2 = level(
            {"input": Unflattened(k2, top)}, s.top_stages[::-1], "up", {"pixelcnn": over_z1}
        )
        over_x = PixelCNN(
            pixels, d1, s.pixel_width, s.pixel_kernels, s.levels * s.channels, s.channels
        )
        self.dec1 = level(
            {"input": Conv(k1, d2, (1, 1))}, s.stages[::-1], "up", {"pixelcnn": over_x}
        )

    @classmethod
    def load(cls, path: str) -> Hierarchical:
        """From a weights file of the project."""
        with np.load(path) as file:
            model = cls(SimpleNamespace(**json.loads(file["header"].tobytes())["model"]))
            shapes = {name: value.shape for name, value in model.state_dict().items()}
            trained = [n for n in file.files if not n.endswith(("header", ".mean", ".variance"))]
            model.load_state_dict({n: torch.from_numpy(file[n]).view(shapes[n]) for n in trained})
        return model

    def embedded(self, x, dtype):
        middle = self.levels / 2
        embedded = (x - middle) / (middle / 2) if self.embedding is None else self.embedding(x)
        return embedded.to(dtype)

    def decoder(self, z1):
        """The function that takes images (N, C, H, W) to logits (N, levels * C, H, W)."""
        features = self.dec1[:-1](z1.clamp(-50, 50))
        return lambda x: self.dec1.pixelcnn(self.embedded(x, z1.dtype), features)

    def objective(self, x, noise, alpha1, alpha2, sigma_floor):
        """Cost in nats a dimension, and in nats -log p(x|z1), KL1 and KL2, means of the batch.

        Images x are (N, C, H, W), whole numbers; noise is a pair, (N, K1, h, w) and (N, K2).
        """
        embedded = self.embedded(x, noise[0].dtype)
        h = self.enc1[:-1](embedded)
        q1 = gaussian(self.enc1.output(h))
        q2 = gaussian(self.enc2(h))
        z1, z2 = (mean + sigma * e for (mean, sigma), e in zip((q1, q2), noise))
        features = self.dec2[:-1](z2.clamp(-50, 50))
        p1 = gaussian(self.dec2.pixelcnn(z1, features), sigma_floor)
        features = self.dec1[:-1](z1.clamp(-50, 50))
        logits = self.dec1.pixelcnn(embedded, features).unflatten(1, (self.levels, -1))
        reconstruction = F.cross_entropy(logits, x, reduction="sum") / len(x)
        kl1, kl2 = kl(q1, p1).mean(), kl(q2, (0, torch.ones_like(q2[1]))).mean()
        cost = (reconstruction + alpha1 * kl1 + alpha2 * kl2) / x[0].numel()
        return cost, reconstruction, kl1, kl2


def read_batch(path: str, device: str = "cpu"):
    """``images``, ``z1`` and ``z2`` (noise) of an .npz file, and the schedule's scalars in it."""
    with np.load(path) as file:
        images, *noise = (
            torch.from_numpy(file[name]).to(device) for name in ("images", "z1", "z2")
        )
        return images, noise, {n: float(file[n]) for n in ("alpha1", "alpha2", "sigma_floor")}


def main(weights: str, inputs: str, out: str) -> None:
    model = Hierarchical.load(weights).double()
    images, noise, scalars = read_batch(inputs)
    terms = model.objective(images.long(), [e.double() for e in noise], **scalars)
    terms[0].backward()
    gradients = {name: p.grad for name, p in model.named_parameters()}
    arrays = {"cost and terms": torch.stack(terms).detach(), **gradients}
    np.savez(out, **{name: t.numpy() for name, t in arrays.items()})


if __name__ == "__main__":
    main(*sys.argv[1:])
