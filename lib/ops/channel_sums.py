"""Sums over images and places, channel by channel: the gradient of a bias."""

from __future__ import annotations

from pixelvae.lib.ops.examples import MAPS, example
from pixelvae.lib.ops.native import NativeOp


class ChannelSums(NativeOp):
    """Maps x (N, C, H, W) -> the sum of each channel, (C,).

    Theano's own sum of float32 adds one number after the other; this one is limited by memory alone.
    """

    header = "channel_sums.h"
    takes = {"x": "N C H W"}
    gives = {"sums": "C"}
    call = "channel_sums(x, sums, N, C, H * W)"

    def reference(self, x):
        return x.sum(axis=(0, 2, 3), dtype="float64")

    def meaning(self, x):
        return x.sum(axis=(0, 2, 3))


channel_sums = ChannelSums()
example("sums of channels", channel_sums, MAPS)
