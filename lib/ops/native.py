"""What an operation with C++ inside declares, and the code that follows from it.

An operation is one class: its shapes, its C++ function, its NumPy reference and its meaning in
Theano's own operations stand side by side. ``docs/extending.md`` walks through an example.
"""

from __future__ import annotations

import importlib
import os
import pkgutil
import zlib
from copy import copy
from pathlib import Path
from typing import Any, Callable, NamedTuple, Optional, Sequence

import numpy as np
import theano
import theano.tensor as T
from theano import gof
from theano.compile import optdb
from theano.gof import ParamsType
from theano.gof.opt import TopoOptimizer
from theano.gradient import DisconnectedType
from theano.scalar import int64 as scalar_int64

from pixelvae.lib.ops import _declared
from pixelvae.lib.ops._declared import Declared, Shapes
from pixelvae.machine.backend import device
from pixelvae.machine.errors import UserError

HEADERS = Path(__file__).with_name("c")


def native() -> bool:
    """Whether functions that are compiled now use the C++ operations.

    Examples
    --------
    >>> native()
    True
    """
    return os.environ.get("PIXELVAE_NATIVE") != "0" and not device.active()


class NotLowered(UserError):
    """An operation of this package is left in a graph whose device it cannot run on."""

    def __str__(self) -> str:  # without what Theano puts in front of it, a node as a tuple's member
        return str(self.args[-1])


class NativeOp(gof.Op):
    """An operation that is one call of a C++ function on dense arrays of one float type.

    A subclass declares

    ``takes``
        Its inputs by name, with the sizes of their axes: ``{"x": "N C H W", "scale": "C"}``. Sizes
        of the same name must agree; ``2*D`` is a product. ``?`` behind the sizes: the input may be
        None. ``1|`` before them: an input whose type has one image serves all N.
        ``int`` instead of sizes: a whole number, which is itself a size.
    ``gives``
        Its outputs by name, likewise.
    ``over``
        The outputs that are written over an input of the same shape, with the input's name: the
        C++ finds the input's values there. It is a copy unless Theano's optimiser finds that
        nobody else needs the input, which then stays in its place; ``"in_place"``, the flag for
        this, has to stand in ``__props__``.
    ``sizes``
        Further sizes, each a function and its arguments. The function exists in the C++ header and,
        for whole numbers and symbolic variables, as a method of the same name.
    ``call``
        The function of ``header`` with its arguments: inputs and outputs as pointers (NULL for
        None), sizes, the whole numbers in ``__props__``, and ``x_is_one`` for an input x with
        ``1|``. It returns NULL, or what is wrong with the values.

    and has the methods :meth:`reference` and :meth:`meaning`, which return one value or a list, and
    :meth:`grad` if Theano's gradient of the meaning is not fast enough.

    If the values at a position are a function of the inputs' values there, it may have two methods
    for the cached sampler, which works through the meaning otherwise: ``at_positions``, as
    ``reference``, but with channels last, (..., C); and ``connect``, from the booleans (..., C) of
    the inputs' channels to those of the outputs' channels that depend on them.
    """

    __props__: tuple[str, ...] = ()
    header: str
    takes: Declared
    gives: dict[str, str]
    over: dict[str, str] = {}
    destroys: dict[int, list[int]] = {}  #: the same by numbers, as Theano has it
    in_place = False
    sizes: dict[str, tuple[str, ...]] = {}
    call: str
    #: The function of lib/ops/_gpu.py that stands for the meaning on a GPU, if cuDNN has one.
    cudnn: Optional[str] = None
    at_positions: Optional[Callable[..., np.ndarray]] = None
    connect: Callable[..., np.ndarray]
    _scalars: Sequence[str] = ()  # whole numbers that the C++ is passed

    def reference(self, *arrays: Any) -> Any:
        """The outputs in NumPy, for arrays whose shapes fit."""
        raise NotImplementedError

    def meaning(self, *variables: Any) -> Any:
        """The outputs in Theano's own operations, or in others of ours, equal within rounding."""
        raise NotImplementedError

    def grad(self, inputs, output_gradients):
        """Theano's gradient of the meaning."""
        node = self.make_node(*self.given(inputs))
        wrt = [any(connected) for connected in self.connection_pattern(node)]
        fresh = [v.type() if w else v for v, w in zip(inputs, wrt)]
        known = {
            output: g
            for output, g in zip(self.expressed(self.meaning, fresh), output_gradients)
            if not isinstance(g.type, DisconnectedType)
        }
        replaced = [(f, v) for f, v, w in zip(fresh, inputs, wrt) if w]
        symbols = [symbol for symbol, _ in replaced]
        gradients = T.grad(None, symbols, known_grads=known, disconnected_inputs="ignore")
        results = iter(theano.clone(gradients, replaced))
        return [next(results) if w else DisconnectedType()() for w in wrt]

    def __init_subclass__(cls, **keywords):
        super().__init_subclass__(**keywords)
        if not hasattr(cls, "takes"):
            return
        cls._shapes = Shapes(cls.takes, cls.gives, cls.sizes, cls.__props__)
        numbers = [name for name in cls.__props__ if name != "in_place"]
        cls._scalars = [*numbers, *(f"{name}_is_one" for name in cls._shapes.shared)]
        if cls._scalars:
            cls.params_type = ParamsType(**{name: scalar_int64 for name in cls._scalars})
        takes, gives = list(cls.takes), list(cls.gives)
        cls.destroys = {gives.index(new): [takes.index(old)] for new, old in cls.over.items()}

    def written_over(self) -> NativeOp:
        """The same operation, working in place."""
        op = copy(self)
        op.in_place, op.destroy_map = True, self.destroys
        return op

    # What Theano asks of an operation.

    def make_node(self, *inputs):
        named = dict(zip(self.takes, inputs))
        arrays = self._shapes.arrays
        floats = {
            name: self._as_tensor(value, len(arrays[name]))
            for name, value in named.items()
            if name in arrays and value is not None
        }
        dtype = theano.scalar.upcast(*[v.dtype for v in floats.values()])
        variables = {}
        for name in self.takes:
            if name in floats:
                v = floats[name]
                variables[name] = v if v.dtype == dtype else v.astype(dtype)
            elif name not in arrays:
                variables[name] = T.as_tensor_variable(named[name]).astype("int64")
            elif name in self._shapes.optional:
                variables[name] = T.constant(np.empty((0,) * len(arrays[name]), dtype))
            else:
                raise TypeError(f"{type(self).__name__}: {name} is missing")
        patterns = self._shapes.broadcastable({n: variables[n].broadcastable for n in arrays})
        outputs = [T.TensorType(dtype, pattern)() for pattern in patterns]
        return gof.Apply(self, list(variables.values()), outputs)

    def _as_tensor(self, x, ndim: int):
        x = as_float(x)
        if x.ndim != ndim:
            raise ValueError(f"{type(self).__name__}: an input has {x.ndim} dimensions, not {ndim}")
        return x

    def given(self, inputs) -> list:
        """A node's inputs, with None for those that were left out."""
        optional = self._shapes.optional
        return [
            None if name in optional and isinstance(v, T.Constant) and not v.data.size else v
            for name, v in zip(self.takes, inputs)
        ]

    def expressed(self, function, inputs) -> list:
        """The outputs by ``meaning`` or by a form for GPUs, as a list."""
        return as_list(function(*self.given(inputs)))

    def connection_pattern(self, node):
        arrays, given = self._shapes.arrays, self.given(node.inputs)
        connected = [name in arrays and v is not None for name, v in zip(self.takes, given)]
        return [[c] * len(self.gives) for c in connected]

    def _one(self, node) -> list:
        """The inputs that have one image for all, which only their types may say."""
        named = dict(zip(self.takes, node.inputs))
        return [name for name in self._shapes.shared if named[name].broadcastable[0]]

    def _found(self, node, shapes, numbers) -> dict[str, Any]:
        named = dict(zip(self.takes, shapes))
        return self._shapes.find(
            self, named, dict(zip(self._shapes.numbers, numbers)), self._one(node)
        )

    def infer_shape(self, node, shapes):
        numbers = [v for name, v in zip(self.takes, node.inputs) if name in self._shapes.numbers]
        return self._shapes.outputs(self._found(node, shapes, numbers))

    def perform(self, node, inputs, outputs, params=None):
        given: dict[str, Any] = {
            name: None if name in self._shapes.optional and not array.size else array
            for name, array in zip(self.takes, inputs)
        }
        numbers = [int(given[name]) for name in self._shapes.numbers]
        shapes = {n: given[n].shape for n in self._shapes.arrays if given[n] is not None}
        sizes = self._found(node, [a.shape for a in inputs], numbers)
        if not self._shapes.fit(shapes, sizes, self._one(node)):
            text = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
            raise ValueError(f"{type(self).__name__}: shapes do not fit: {text}")
        for storage, result, variable in zip(
            outputs, as_list(self.reference(*given.values())), node.outputs
        ):
            storage[0] = np.ascontiguousarray(result, variable.dtype)

    def require(self, condition: bool, what: str) -> None:
        """Raises ValueError if :meth:`reference` is given values that it cannot take."""
        if not condition:
            raise ValueError(f"{type(self).__name__}: {what}")

    # The C++. Its text depends on the types alone: numbers are passed, so that one compiled module
    # serves all of them.

    def get_params(self, node):
        """The whole numbers that the function is passed beside the sizes."""
        if not self._scalars:
            raise gof.utils.MethodNotDefined("get_params")
        one = self._one(node)
        flags = {f"{name}_is_one": int(name in one) for name in self._shapes.shared}
        return self.params_type.get_params(self, **flags)

    def prepare_node(self, node, storage_map, compute_map, impl):
        # Theano calls this of every node of every function that it compiles. It only warns if an
        # optimisation fails, as the lowering might; then everything would be computed on the host,
        # and copied there and back.
        if device.active() or (impl == "c" and not native()):
            where = "a GPU" if device.active() else "Theano's own operations (PIXELVAE_NATIVE=0)"
            raise NotLowered(
                f"{type(self).__name__} was not replaced for {where}: see the error above"
            )

    def c_headers(self):
        return [f'"{self.header}"']

    def c_header_dirs(self):
        return [str(HEADERS)]

    def c_compile_args(self):
        # Vector code needs -O3; Theano's own flags name the processor
        # (pixelvae.machine.backend.compiler). NaN and infinity keep their meaning.
        return ["-O3", "-fopenmp", "-fno-math-errno", "-fno-trapping-math"]

    def c_code_cache_version(self):
        declared = repr((self.takes, self.gives, self.over, self.sizes, self.call))
        return (2, _declared.digest(HEADERS / self.header), zlib.crc32(declared.encode()))

    def c_support_code(self):
        return _declared.SUPPORT

    def c_code(self, node, name, inputs, outputs, sub):
        scalars = {n: f"{sub['params']}->{n}" for n in self._scalars}
        variables = dict(zip(self.takes, inputs))
        real = node.outputs[0].type.dtype_specs()[1]
        lines = _declared.sizes(self._shapes, variables, scalars)
        lines += _declared.check(self._shapes, variables, type(self).__name__, sub["fail"])
        lines += _declared.data(
            self._shapes, variables, outputs, self.over, self.in_place, real, sub["fail"]
        )
        lines += _declared.call(self.call, type(self).__name__, sub["fail"])
        return "{\n" + "\n".join(lines) + "\n}"


@gof.local_optimizer(None)
def _write_over(node):
    op = node.op
    if isinstance(op, NativeOp) and op.destroys and not op.in_place:
        return op.written_over()(*op.given(node.inputs), return_list=True)
    return False


# After all else: as long as nothing works in place, the optimiser need not look for cycles at each
# of its steps.
_AFTER_ELEMENTWISE = 80
optdb.register(
    "native_in_place",
    TopoOptimizer(_write_over, failure_callback=TopoOptimizer.warn_inplace),
    _AFTER_ELEMENTWISE,
    "fast_run",
    "inplace",
)


def as_list(values) -> list:
    """One value or several, as a list.

    Examples
    --------
    >>> as_list(1), as_list((1, 2))
    ([1], [1, 2])
    """
    return list(values) if isinstance(values, (list, tuple)) else [values]


def as_float(x):
    """A symbolic variable of a float type; numbers and integer arrays become ``floatX``.

    Examples
    --------
    >>> as_float(np.array([1, 2])).dtype, as_float(0.5).dtype
    ('float32', 'float32')
    """
    x = T.as_tensor_variable(x)
    return x if x.dtype in ("float32", "float64") else x.astype(theano.config.floatX)


# Small examples of the operations, for what goes through all of them: tests, and comparisons of
# devices.

MAPS = (4, 3, 9, 8)  # N, C, H, W of most examples


class Example(NamedTuple):
    """A function of variables, which gives one or a list, the first of them differentiable."""

    function: Callable
    shapes: tuple[tuple[int, ...], ...]  #: of the arguments


_EXAMPLES: dict[str, Example] = {}


def example(name: str, function: Callable, *shapes: tuple[int, ...]) -> None:
    """Register an example.

    Examples
    --------
    >>> from pixelvae.lib.ops.elu import elu
    >>> example("exponential linear unit", elu, MAPS)
    """
    _EXAMPLES[name] = Example(function, shapes)


def examples() -> dict[str, Example]:
    """The examples of all modules in lib/ops, by name.

    Examples
    --------
    >>> examples()["exponential linear unit"].shapes
    ((4, 3, 9, 8),)
    """
    package = importlib.import_module("pixelvae.lib.ops")
    for module in pkgutil.iter_modules(package.__path__):
        # What stands for operations on a GPU needs one to be imported.
        if not module.name.startswith("_"):
            importlib.import_module(f"pixelvae.lib.ops.{module.name}")
    return dict(_EXAMPLES)


def pixels(levels: int):
    """Images (N, C, H, W) of whole numbers from 0 to levels − 1.

    Examples
    --------
    >>> images = pixels(levels=3).data
    >>> images.shape, np.unique(images)
    ((4, 3, 9, 8), array([0., 1., 2.], dtype=float32))
    """
    return T.constant(np.random.RandomState(1).randint(0, levels, MAPS).astype("float32"))
