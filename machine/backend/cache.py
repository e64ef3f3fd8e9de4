"""Repairs of Theano's compile cache, which did not find again what it had compiled.

A module is stored under a key that holds the versions of its operations. Two kinds of operation had none that lasts:

* An operation without properties (``__props__ = ()``: ``Alloc``, ``ScalarFromTensor``, ``DeepCopyOp``, our gates)
  was taken for one without a version, and compiled again in every process.
* The version of an operation with its C code in a file (``DimShuffle``, all of cuDNN's) was a hash of text, which
  Python salts anew in every process.
"""

from __future__ import annotations

import zlib
from types import ModuleType
from typing import Any

from pixelvae.machine.backend import imports


def repair() -> None:
    """Make both repairs as soon as Theano's modules are imported."""
    imports.after("theano.gof.cc", _count_operations_without_properties)
    imports.after("theano.gof.op", _hash_code_in_files)


def _count_operations_without_properties(cc: ModuleType) -> None:
    cmodule_key = cc.CLinker.cmodule_key_

    def cmodule_key_(self: Any, fgraph: Any, *arguments: Any, **options: Any) -> Any:
        key = cmodule_key(self, fgraph, *arguments, **options)
        if key is None or key[0]:
            return key
        versions = tuple(v for node in self.schedule(fgraph) for v in _versions(node))
        return (versions if all(versions) else (), key[1])

    cc.CLinker.cmodule_key_ = cmodule_key_


def _versions(node: Any) -> list[Any]:
    """Those of an operation with its inputs and outputs, in Theano's order; an empty one means that there is none."""
    versions = []
    if hasattr(node.op, "c_code_cache_version_apply"):
        versions.append(node.op.c_code_cache_version_apply(node))
    if getattr(node.op, "__props__", ()):
        versions.append(node.op.__props__)
    return versions + [v.type.c_code_cache_version() for v in (*node.inputs, *node.outputs)]


def _hash_code_in_files(op: ModuleType) -> None:
    def c_code_cache_version(self: Any) -> tuple[Any, ...]:
        version: tuple[Any, ...] = (zlib.crc32("".join(self.func_codes).encode()),)
        if hasattr(self, "params_type"):
            version += (self.params_type.c_code_cache_version(),)
        return version

    op.COp.c_code_cache_version = c_code_cache_version
