"""Where the nodes of compiled functions work: on the GPU or on the host."""

from __future__ import annotations

import sys
from collections import Counter
from typing import Any, NamedTuple


class Placement(NamedTuple):
    """Nodes of compiled functions by place."""

    device: int  #: how many compute on the device
    to_device: list[str]  #: the types of what is copied there
    to_host: list[
        tuple[str, list[str]]
    ]  #: the types of what is copied back, and the operations that take it
    host: dict[str, int]  #: how many of each operation and type of result are on the host


def placement(*functions: Any) -> Placement:
    """Counts the nodes of what ``theano.function`` returned."""
    # Not imported here: Theano's GPU back end is there if it is in use.
    on_device = getattr(sys.modules.get("theano.gpuarray.type"), "GpuArrayType", ())
    device, to_device, to_host, host = 0, [], [], Counter[str]()
    for node in (node for f in functions for node in f.maker.fgraph.toposort()):
        kind, result = type(node.op).__name__, node.outputs[0].type
        if kind == "HostFromGpu":
            clients = {"output" if c == "output" else str(c.op) for c, _ in node.outputs[0].clients}
            to_host.append((str(result), sorted(clients)))
        elif kind == "GpuFromHost":
            to_device.append(str(result))
        elif any(isinstance(v.type, on_device) for v in node.outputs):
            device += 1
        else:
            host[f"{kind} {result}"] += 1
    return Placement(device, to_device, to_host, dict(host))
