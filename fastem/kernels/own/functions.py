"""A user's own functions, compiled for the passes over the rows.

Each becomes a *body* of one signature, ``(tile, n_features, arguments, layout, component,
n_components, scratch, out)``, that the driver calls by its address. So the driver is compiled
without knowing them and kept on disk, while a user's function is compiled in each process: what
runs is never an older version of it.

A function that does the same to every row is compiled for many rows at once (``lanes.py``), one
with an ``if`` that depends on the row, say, for one row after the other.
"""

import contextlib
import functools
import inspect
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numba import types
from numba.core import cgutils
from numba.core.errors import NumbaError
from numba.extending import intrinsic

from fastem.kernels.own.lanes import WIDTH, lanes_at, store_lanes
from fastem.kernels.runtime.compiling import body, foreign, inline
from fastem.kernels.vectors.machine import TILE

_VALUES, _INTEGERS = (types.Array(dtype, 1, "C") for dtype in (types.float64, types.int64))
_SIGNATURE = (_VALUES, types.intp, _VALUES, _INTEGERS, types.intp, types.intp, _VALUES, _VALUES)


class Arguments(NamedTuple):
    """What the functions take beside a row, as the kernels pass it on.

    Parameters
    ----------
    values : ndarray of float64
        One component after the other: the logarithm of its weight, then its arguments' values.
    layout : ndarray of int64
        The number of values of a component, then the shapes of its arguments.
    """

    values: np.ndarray
    layout: np.ndarray

    @classmethod
    def of(cls, log_weights: np.ndarray, arrays: tuple[np.ndarray, ...]) -> "Arguments":
        """From arrays whose first axis runs over the components."""
        columns = [array.reshape(len(log_weights), -1) for array in (log_weights, *arrays)]
        values = np.hstack(columns, dtype=np.float64)
        shapes = [size for array in arrays for size in array.shape[1:]]
        return cls(values.ravel(), np.array([values.shape[1], *shapes], np.int64))


@intrinsic
def call(
    typingctx, address, tile, n_features, values, layout, component, n_components, scratch, out
):
    """Call a body by its address; its exceptions are the caller's."""

    def codegen(context, builder, signature, args):
        convention = context.call_conv
        function_type = convention.get_function_type(types.none, _SIGNATURE)
        function = builder.inttoptr(args[0], function_type.as_pointer())
        status, _ = convention.call_function(builder, function, types.none, _SIGNATURE, args[1:])
        with cgutils.if_unlikely(builder, status.is_error):
            convention.return_status_propagate(builder, status)
        return context.get_dummy_value()

    return types.void(types.intp, *_SIGNATURE), codegen


def _reader(n_axes):
    """A function that takes arguments with so many axes each out of a component's values."""
    if not n_axes:
        return inline(lambda values, at, layout, shape: ())
    following = _reader(n_axes[1:])
    if n_axes[0] == 0:

        def read(values, at, layout, shape):
            return (values[at], *following(values, at + 1, layout, shape))
    elif n_axes[0] == 1:

        def read(values, at, layout, shape):
            stop = at + layout[shape]
            return (values[at:stop], *following(values, stop, layout, shape + 1))
    else:

        def read(values, at, layout, shape):
            rows, columns = layout[shape], layout[shape + 1]
            stop = at + rows * columns
            matrix = values[at:stop].reshape((rows, columns))
            return (matrix, *following(values, stop, layout, shape + 2))

    return inline(read)


# The bodies: for each kind of function, one for many rows at once and one for row after row.


@inline
def _load_row(tile, lane, n_features, row):
    """Copy one lane's features to ``row``."""
    for f in range(n_features):
        row[f] = tile[f * TILE + lane]


def _density_bodies(function, read):
    """``out[j * TILE + lane] = log(weight) + log_density(row, *arguments)`` of all components."""

    def many(tile, n_features, values, layout, component, n_components, scratch, out):
        for lane in range(0, TILE, WIDTH):
            x = lanes_at(tile, lane, n_features)
            for j in range(n_components):
                at = j * layout[0]
                log_density = function(x, *read(values, at + 1, layout, 1))
                store_lanes(log_density + values[at], out, j * TILE + lane)

    def single(tile, n_features, values, layout, component, n_components, scratch, out):
        x = scratch[:n_features]
        for lane in range(TILE):
            _load_row(tile, lane, n_features, x)
            for j in range(n_components):
                at = j * layout[0]
                log_density = function(x, *read(values, at + 1, layout, 1))
                out[j * TILE + lane] = log_density + values[at]

    return many, single


def _base_bodies(function, read):
    """``out[lane] = log_base(row)``."""

    def many(tile, n_features, values, layout, component, n_components, scratch, out):
        for lane in range(0, TILE, WIDTH):
            store_lanes(function(lanes_at(tile, lane, n_features)), out, lane)

    def single(tile, n_features, values, layout, component, n_components, scratch, out):
        x = scratch[:n_features]
        for lane in range(TILE):
            _load_row(tile, lane, n_features, x)
            out[lane] = function(x)

    return many, single


def _statistics_bodies(function, read):
    """``out[t * TILE + lane]`` are the values that ``statistics(row, out, *arguments)`` writes."""

    def many(tile, n_features, values, layout, component, n_components, scratch, out):
        for i in range(len(out)):
            out[i] = 0.0
        arguments = read(values, component * layout[0] + 1, layout, 1)
        for lane in range(0, TILE, WIDTH):
            x = lanes_at(tile, lane, n_features)
            function(x, lanes_at(out, lane, len(out) // TILE), *arguments)

    def single(tile, n_features, values, layout, component, n_components, scratch, out):
        arguments = read(values, component * layout[0] + 1, layout, 1)
        n_statistics = len(out) // TILE
        x = scratch[:n_features]
        statistics = scratch[n_features : n_features + n_statistics]
        for lane in range(TILE):
            _load_row(tile, lane, n_features, x)
            for t in range(n_statistics):
                statistics[t] = 0.0
            function(x, statistics, *arguments)
            for t in range(n_statistics):
                out[t * TILE + lane] = statistics[t]

    return many, single


_BODIES = {
    "log_density": _density_bodies,
    "log_base": _base_bodies,
    "statistics": _statistics_bodies,
}


class Body(NamedTuple):
    """A compiled body.

    Parameters
    ----------
    address : int
        Valid as long as this object lives.
    many : bool
        Whether it takes many rows at once.
    library : object
        Owns the machine code.
    """

    address: int
    many: bool
    library: object


@functools.lru_cache(maxsize=256)
def compile_body(kind: str, function: Callable, n_axes: tuple[int, ...] = ()) -> Body:
    """Compile a user's function.

    Parameters
    ----------
    kind : {"log_density", "log_base", "statistics"}
    function : function
        Under ``@njit`` or not: it is compiled anew, with this package's options.
    n_axes : tuple of int
        The axes, up to 2, of each component's arguments that the function takes.

    Returns
    -------
    Body

    Raises
    ------
    TypeError
        If Numba can't compile the function for these arguments.
    """
    plain = getattr(function, "py_func", function)
    _check_signature(kind, plain, n_axes)
    read = _reader(n_axes)
    many, _ = _BODIES[kind](foreign(plain), read)
    # Whatever lanes can't do, scalars may.
    with contextlib.suppress(Exception):
        return _compiled(many, many=True)
    _, single = _BODIES[kind](foreign(plain, checked=True), read)
    try:
        return _compiled(single, many=False)
    except NumbaError as error:
        raise TypeError(f"{kind} can't be compiled by Numba: {error}") from error


@functools.lru_cache(maxsize=256)
def check_indices(kind: str, function: Callable, *shapes: tuple[int, ...]) -> None:
    """Try a function in Python, where an index out of range is an error.

    In code for many rows at once, whose indices don't depend on the rows, it would lead to other
    memory unnoticed.

    Parameters
    ----------
    kind : {"log_density", "log_base", "statistics"}
    function : function
    *shapes : tuple of int
        Those of the function's arguments.

    Raises
    ------
    IndexError
        If an index is out of range.
    """
    plain = getattr(function, "py_func", function)
    try:
        with np.errstate(all="ignore"):
            plain(*map(np.ones, shapes))
    except IndexError as error:
        listed = ", ".join(map(str, shapes))
        raise IndexError(f"{kind}, for arguments of shapes {listed}: {error}") from error
    except Exception:  # of ones, or what only compiled code can do
        return


def _check_signature(kind, function, n_axes):
    first = ("x", "out") if kind == "statistics" else ("x",)
    names = [*first, *(f"argument_{i}" for i in range(len(n_axes)))]
    try:
        inspect.signature(function).bind(*names)
    except TypeError as error:
        raise TypeError(
            f"{kind} is called with {', '.join(first)} and {len(n_axes)} further argument(s), what "
            f"'arguments' returns; its definition takes {inspect.signature(function)}"
        ) from error


def _compiled(function, many):
    dispatcher = body(function)
    dispatcher.compile(_SIGNATURE)
    result = dispatcher.overloads[_SIGNATURE]
    address = result.library.get_pointer_to_function(result.fndesc.llvm_func_name)
    return Body(address, many, dispatcher)
