"""What one process compiled and optimised is found again by the next.

*Compiled modules.* Theano stores a module under a key that holds the versions of its operations.
Two kinds of operation had none that lasts:

* An operation without properties (``__props__ = ()``: ``Alloc``, ``ScalarFromTensor``,
  ``DeepCopyOp``, our gates) was taken for one without a version, and compiled again in every
  process.
* The version of an operation with its C code in a file (``DimShuffle``, all of cuDNN's) was a hash
  of text, which Python salts differently in every process.

*Optimised graphs.* Most of a start with a full compile cache was Theano's optimiser, which made the
same of the same graph each time. Here what it made is kept beside the compiled code, under a hash
of all that decides it: the graph that it was given, the passes that are registered, Theano's
settings, the device, and this project's sources. Theano's flag ``cache_optimizations`` asks for it.
Theano's own way to answer it compares the graph with all that were ever compiled, and is given up
here.

One of Theano's passes is mended: before it merges two equal nodes it looks whether both are written
over, but since Python 3 in what it does not take for a list, and so finds nothing. It then tried to
merge the buffers of every pair of a GPU's convolutions, 22,406 times in a model of 12 layers, and
took it back each time.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import pickle
import sys
import tempfile
import time
import zlib
from collections.abc import ValuesView
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple, Optional

from pixelvae.machine.backend import gpu

FOLDER = "graphs"  #: in Theano's compile folder
_KEPT_S = 24 * 24 * 3600  # since it was last used, as long as Theano keeps compiled code


def version_operations_without_properties(cc: ModuleType) -> None:
    """Let the versions of what such operations take and give count. Takes ``theano.gof.cc``."""
    cmodule_key = cc.CLinker.cmodule_key_

    def cmodule_key_(self: Any, fgraph: Any, *arguments: Any, **options: Any) -> Any:
        key = cmodule_key(self, fgraph, *arguments, **options)
        if key is None or key[0]:
            return key
        versions = tuple(v for node in self.schedule(fgraph) for v in _versions(node))
        return (versions if all(versions) else (), key[1])

    cc.CLinker.cmodule_key_ = cmodule_key_


def _versions(node: Any) -> list[Any]:
    """Those of an operation with its inputs and outputs, in Theano's order.

    An empty one means that there is none.
    """
    versions = []
    if hasattr(node.op, "c_code_cache_version_apply"):
        versions.append(node.op.c_code_cache_version_apply(node))
    if getattr(node.op, "__props__", ()):
        versions.append(node.op.__props__)
    return versions + [v.type.c_code_cache_version() for v in (*node.inputs, *node.outputs)]


def hash_code_in_files(op: ModuleType) -> None:
    """Let the version of an operation with its code in a file be a hash that lasts.

    Takes ``theano.gof.op``.
    """

    def c_code_cache_version(self: Any) -> tuple[Any, ...]:
        version: tuple[Any, ...] = (zlib.crc32("".join(self.func_codes).encode()),)
        if hasattr(self, "params_type"):
            version += (self.params_type.c_code_cache_version(),)
        return version

    op.COp.c_code_cache_version = c_code_cache_version


def flatten_views(utils: ModuleType) -> None:
    """Let a pass see what two nodes write over. Takes ``theano.gof.utils``."""
    flatten = utils.flatten

    def flatten_any(a: Any) -> list[Any]:
        return flatten(list(a) if isinstance(a, ValuesView) else a)

    utils.flatten = flatten_any  # type: ignore[attr-defined]


def keep_optimised_graphs(function_module: ModuleType) -> None:
    """Look for a graph before it is optimised. Takes ``theano.compile.function_module``."""
    function_module.FunctionMaker.optimize_graph_with_cache = _optimize


def _optimize(self: Any, optimizer: Any, inputs: Any, outputs: Any) -> Any:
    """Optimise the graph of Theano's ``FunctionMaker`` in place."""
    from theano.compile.mode import get_mode

    path = _path(self.fgraph) if self.mode is get_mode(None) else None
    if path is not None and _load(path, self.fgraph):
        return None
    profile = optimizer(self.fgraph)
    if path is not None:
        _save(path, self.fgraph)
    return profile


class _Graph(NamedTuple):
    """A graph as plain numbers that stand for its operations, types and constants.

    A variable is a number: the inputs come first, then the constants, then each node's outputs.
    """

    ops: list[Any]
    types: list[Any]
    constants: list[tuple[Any, int, Any]]  # class, type, data
    inputs: list[int]  # their types
    nodes: list[tuple[int, list[int], list[int]]]  # operation, inputs, types of the outputs
    outputs: list[int]


def _read(fgraph: Any) -> _Graph:
    order = fgraph.toposort()
    ops: dict[Any, int] = {}
    types: dict[Any, int] = {}
    used = dict.fromkeys(v for node in order for v in node.inputs)
    used.update(dict.fromkeys(fgraph.outputs))
    known = set(fgraph.inputs)
    constants = [v for v in used if v.owner is None and v not in known]
    numbers: dict[Any, int] = {}
    for variable in (*fgraph.inputs, *constants, *(v for node in order for v in node.outputs)):
        numbers[variable] = len(numbers)

    def kind(variable: Any) -> int:
        return types.setdefault(variable.type, len(types))

    return _Graph(
        inputs=[kind(v) for v in fgraph.inputs],
        constants=[(type(v), kind(v), v.data) for v in constants],
        nodes=[
            (
                ops.setdefault(node.op, len(ops)),
                [numbers[v] for v in node.inputs],
                [kind(v) for v in node.outputs],
            )
            for node in order
        ],
        outputs=[numbers[v] for v in fgraph.outputs],
        ops=list(ops),
        types=list(types),
    )


def _write(graph: _Graph, fgraph: Any) -> None:
    """Let the graph compute what that one does of the same inputs."""
    from theano.gof import Apply, DestroyHandler

    types = graph.types
    variables = [
        *fgraph.inputs,
        *(make(types[number], data) for make, number, data in graph.constants),
    ]
    for op, inputs, kinds in graph.nodes:
        outputs = [types[kind]() for kind in kinds]
        variables += Apply(graph.ops[op], [variables[n] for n in inputs], outputs).outputs
    for place, number in enumerate(graph.outputs):
        fgraph.change_input("output", place, variables[number], reason=__name__)
    # What the optimiser leaves behind for the linker: the order of what works in place.
    if not hasattr(fgraph, "destroyers"):
        fgraph.attach_feature(DestroyHandler())


def _path(fgraph: Any) -> Optional[Path]:
    """The file of what the optimiser makes of that graph.

    None if it holds something that cannot be written.
    """
    import theano

    graph = _read(fgraph)
    place = {variable: number for number, variable in enumerate(fgraph.inputs)}
    protected = [place.get(v) for f in fgraph._features for v in getattr(f, "protected", ())]
    key = hashlib.sha256()
    try:
        # One by one: it does not matter what two of them share.
        for part in (*graph.ops, *graph.types, *graph.constants):
            key.update(pickle.dumps(part, pickle.HIGHEST_PROTOCOL))
    except Exception:  # whatever their own methods raise
        return None
    numbers = (graph.inputs, graph.nodes, graph.outputs, protected, fgraph.update_mapping)
    key.update(repr((numbers, _circumstances())).encode())
    return Path(theano.config.compiledir, FOLDER, key.hexdigest())


def _circumstances() -> tuple[Any, ...]:
    """What decides beside the graph what the optimiser makes of it."""
    import theano

    ours = [os.environ.get(name) for name in ("PIXELVAE_NATIVE", "PIXELVAE_TF32")]
    on_gpu = getattr(sys.modules.get("theano.gpuarray"), "pygpu_activated", False)
    variables = theano.configparser._config_var_list
    settings = [(v.fullname, str(v.__get__(True, None))) for v in variables]
    passes = _passes(theano.compile.optdb)
    device = (on_gpu, str(gpu.loaded()))
    return (theano.__version__, _sources(), ours, settings, device, passes)


@lru_cache(maxsize=None)
def _sources() -> str:
    """A hash of the files of `machine` and `lib`, which hardly change while they run."""
    sources = hashlib.sha256()
    root = Path(__file__).resolve().parents[2]
    for path in sorted(p for room in ("machine", "lib") for p in (root / room).rglob("*.py")):
        sources.update(path.read_bytes())
    return sources.hexdigest()


def _passes(database: Any) -> list[Any]:
    """The names of the registered passes, which depend on what was imported."""
    from theano.gof.optdb import DB

    inner = {id(v): v for found in database.__db__.values() for v in found if isinstance(v, DB)}
    return [sorted(database._names), *sorted(_passes(v) for v in inner.values())]


def _load(path: Path, fgraph: Any) -> bool:
    """Whether the graph was replaced by the one in that file."""
    try:
        graph = pickle.loads(path.read_bytes())
        os.utime(path)
    except Exception:  # it is not there, or was damaged, which may raise anything
        return False
    _write(graph, fgraph)
    return True


def _save(path: Path, fgraph: Any) -> None:
    """Without a word if it cannot be done, as on a full disk: the next start optimises again."""
    with contextlib.suppress(Exception):
        data = pickle.dumps(_read(fgraph), pickle.HIGHEST_PROTOCOL)
        path.parent.mkdir(exist_ok=True)
        for old in path.parent.iterdir():
            if time.time() - old.stat().st_mtime > _KEPT_S:
                old.unlink()
        with tempfile.TemporaryDirectory(dir=path.parent.parent) as place:
            Path(place, "graph").write_bytes(data)
            Path(place, "graph").replace(path)
