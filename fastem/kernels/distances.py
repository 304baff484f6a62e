"""Distances between the rows of two matrices, for Python and for a user's own compiled code.

All distances are sums over direct differences, hence accurate wherever the points lie. From Python
the work is spread over threads; called from a function under ``@njit`` the same kernels run
serially, so that they may be called in a parallel region.
"""

import math
from typing import NamedTuple

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.errors import TypingError
from numba.core.imputils import impl_ret_borrowed
from numba.extending import intrinsic, overload

from fastem.kernels.arrays import read_only
from fastem.kernels.assignment import BLOCK, VECTORS, nearest_two, squared_norms
from fastem.kernels.chunks import row_chunks
from fastem.kernels.compiling import inline, kernel
from fastem.kernels.kmeans.rounding import (
    WIDE,
    nearest_exactly,
    rounding_error,
    undecided_lanes,
)
from fastem.kernels.parallel import next_chunk, run
from fastem.kernels.row_distance import row_distance
from fastem.kernels.simd import (
    LANES,
    TILE,
    VECTOR_BYTES,
    call_llvm,
    data_pointer,
    first_bit,
    fma,
    load_at,
    splat,
    store_at,
    vector_lanes,
)
from fastem.kernels.tiles import aligned_empty, aligned_empty_like, load_tile

# A chunk of pairwise distances: so many rows of X, and tiles of Y that fit into the cache.
_CHUNK_ROWS = 256
_CHUNK_VALUES = 32768
_CHUNK_TILES = 16


# Pairwise distances


def _add_square(builder, difference, total):
    return fma(builder, difference, difference, total)


def _add_magnitude(builder, difference, total):
    return builder.fadd(total, call_llvm(builder, "fabs", [difference]))


def _constant(value):
    return ir.Constant(ir.IntType(64), value)


def _block_of_distances(add):
    """An intrinsic that compares BLOCK rows with a tile; ``add`` emits one feature's share."""

    @intrinsic
    def block_of_distances(typingctx, X, row, last_row, tile, n_features, output, start, stride):
        """Write the distances of rows ``row`` to ``row + BLOCK`` to the lanes of a tile.

        The i-th row's go to ``output.flat[start + i * stride:]``, TILE values. Rows behind
        ``last_row`` are replaced by it, input and output.
        """
        integer = types.intp
        sig = types.void(X, integer, integer, tile, integer, output, integer, integer)
        lanes = vector_lanes(tile.dtype)
        size = tile.dtype.bitwidth // 8

        def codegen(context, builder, signature, args):
            x, y, z = (
                data_pointer(context, builder, signature.args[i], args[i]) for i in (0, 3, 5)
            )
            row, last_row, n_features, start, stride = (args[i] for i in (1, 2, 4, 6, 7))
            vector = ir.VectorType(y.type.pointee, lanes)
            zero = ir.Constant(vector, [0.0] * lanes)
            rows, outputs = [], []
            for i in range(BLOCK):
                number = builder.add(row, _constant(i))
                inside = builder.icmp_signed("<", number, last_row)
                number = builder.select(inside, number, last_row)
                rows.append(builder.gep(x, [builder.mul(number, n_features)]))
                at = builder.mul(builder.sub(number, row), stride)
                outputs.append(builder.add(start, at))
            with cgutils.for_range_slice(
                builder, _constant(0), _constant(TILE), _constant(VECTORS * lanes), ir.IntType(64)
            ) as (lane, _):
                sums = [
                    [cgutils.alloca_once(builder, vector) for _ in range(VECTORS)]
                    for _ in range(BLOCK)
                ]
                for slots in sums:
                    for slot in slots:
                        builder.store(zero, slot)
                with cgutils.for_range(builder, n_features) as loop:
                    at = builder.add(builder.mul(loop.index, _constant(TILE)), lane)
                    columns = [
                        load_at(
                            builder, y, builder.add(at, _constant(v * lanes)), vector, VECTOR_BYTES
                        )
                        for v in range(VECTORS)
                    ]
                    for base, slots in zip(rows, sums, strict=True):
                        value = splat(builder, builder.load(builder.gep(base, [loop.index])), lanes)
                        for column, slot in zip(columns, slots, strict=True):
                            difference = builder.fsub(value, column)
                            builder.store(add(builder, difference, builder.load(slot)), slot)
                for at, slots in zip(outputs, sums, strict=True):
                    for v, slot in enumerate(slots):
                        column = builder.add(lane, _constant(v * lanes))
                        store_at(builder, builder.load(slot), z, builder.add(at, column), size)
            return context.get_dummy_value()

        return sig, codegen

    return block_of_distances


_SQUARED_EUCLIDEAN = _block_of_distances(_add_square)
_MANHATTAN = _block_of_distances(_add_magnitude)


@kernel
def _chunk_shape(n_rows, n_columns, n_features):
    """Tiles of Y in a chunk, chunks side by side, and the number of all chunks."""
    n_tiles = max(1, min(_CHUNK_TILES, _CHUNK_VALUES // (TILE * n_features)))
    across = (n_columns + n_tiles * TILE - 1) // (n_tiles * TILE)
    return n_tiles, across, across * ((n_rows + _CHUNK_ROWS - 1) // _CHUNK_ROWS)


def _pairwise_kernel(block_of_distances):
    @kernel
    def pairwise(tickets, X, Y, output):
        n_rows, n_features = X.shape
        n_columns = len(Y)
        n_tiles, across, n_chunks = _chunk_shape(n_rows, n_columns, n_features)
        one = X.dtype.type(1)
        shift = np.zeros(n_features + LANES, X.dtype)
        tiles = aligned_empty_like(n_tiles * n_features * TILE, X)
        edge = np.empty(TILE * TILE, X.dtype)
        numbers = np.empty(TILE, np.int64)
        while True:
            chunk = next_chunk(tickets)
            if chunk >= n_chunks:
                return
            top = chunk // across * _CHUNK_ROWS
            left = chunk % across * n_tiles * TILE
            bottom = min(top + _CHUNK_ROWS, n_rows)
            right = min(left + n_tiles * TILE, n_columns)
            if n_columns < TILE:
                # Few lanes of a tile of Y would be in use.
                for first in range(top, bottom, TILE):
                    load_tile(X, first, one, shift, numbers, tiles)
                    for column in range(0, n_columns, BLOCK):
                        start = column * TILE
                        block_of_distances(
                            Y, column, n_columns - 1, tiles, n_features, edge, start, TILE
                        )
                    for lane in range(min(TILE, bottom - first)):
                        for column in range(n_columns):
                            output[first + lane, column] = edge[column * TILE + lane]
                continue
            for first in range(left, right, TILE):
                tile = tiles[(first - left) * n_features :]
                load_tile(Y, first, one, shift, numbers, tile)
            for row in range(top, bottom, BLOCK):
                for first in range(left, right, TILE):
                    tile = tiles[(first - left) * n_features :]
                    if first + TILE <= n_columns:
                        start = row * n_columns + first
                        block_of_distances(
                            X, row, bottom - 1, tile, n_features, output, start, n_columns
                        )
                        continue
                    block_of_distances(X, row, bottom - 1, tile, n_features, edge, 0, TILE)
                    for i in range(min(BLOCK, bottom - row)):
                        for lane in range(n_columns - first):
                            output[row + i, first + lane] = edge[i * TILE + lane]

    return pairwise


_squared_euclidean = _pairwise_kernel(_SQUARED_EUCLIDEAN)
_manhattan = _pairwise_kernel(_MANHATTAN)


# The nearest row


class _Packed(NamedTuple):
    """The rows of Y as ``nearest_two`` and ``nearest_exactly`` take them; see there.

    ``points`` are the rows in float64.
    """

    scale: float
    shift: np.ndarray
    negated: np.ndarray
    half_norms: np.ndarray
    order: np.ndarray
    points: np.ndarray
    exact: np.ndarray
    rounding: float
    radius: float


_rounding_error = inline(rounding_error)


@kernel
def _pack(Y):
    n_centers, n_features = Y.shape
    points = Y.astype(np.float64)
    origin = np.zeros(n_features)
    reach = 0.0
    for j in range(n_centers):
        for f in range(n_features):
            origin[f] += points[j, f] / n_centers
    for f in range(n_features):
        # As exact in the rows' dtype as they are.
        mean = np.float64(Y.dtype.type(origin[f]))
        origin[f] = mean if np.isfinite(mean) else 0.0
    for j in range(n_centers):
        for f in range(n_features):
            reach = max(reach, abs(points[j, f] - origin[f]))
    # A power of two that neither overflows nor vanishes in float32.
    exponent = math.frexp(reach)[1] if 0 < reach < np.inf else 0
    scale = math.ldexp(1.0, max(-126, min(126, -exponent)))
    shift = np.zeros(n_features + LANES, Y.dtype)
    for f in range(n_features):
        shift[f] = -origin[f] * scale
    negated = np.zeros((n_centers + 1, n_features), np.float32)
    half_norms = np.full(n_centers + 1, np.float32(np.inf))
    greatest = 0.0
    for j in range(n_centers):
        square = 0.0
        for f in range(n_features):
            value = np.float32((points[j, f] - origin[f]) * scale)
            negated[j, f] = -value
            square += np.float64(value) * np.float64(value)
        half_norms[j] = 0.5 * square
        greatest = max(greatest, square)
    order = np.full((n_centers + BLOCK - 1) // BLOCK * BLOCK, n_centers, np.int32)
    order[:n_centers] = np.arange(n_centers)
    exact = points if n_features >= WIDE else np.ascontiguousarray(points.T)
    rounding = np.float64(_rounding_error(n_features))
    radius = math.sqrt(greatest) * 1.001
    return _Packed(scale, shift, negated, half_norms, order, points, exact, rounding, radius)


@kernel
def _nearest(tickets, n_chunks, chunk_rows, X, packed, labels, distances):
    n_rows, n_features = X.shape
    tile = aligned_empty(n_features * TILE)
    norms, best, second = aligned_empty(TILE), aligned_empty(TILE), aligned_empty(TILE)
    numbers = np.empty(TILE, np.int64)
    nearest = np.empty(TILE, np.int32)
    scratch = np.empty(len(packed.points))
    unshifted = np.zeros(n_features)
    scale = X.dtype.type(packed.scale)
    rounding, radius = np.float32(packed.rounding), np.float32(packed.radius)
    while True:
        chunk = next_chunk(tickets)
        if chunk >= n_chunks:
            return
        for first in range(chunk * chunk_rows, min((chunk + 1) * chunk_rows, n_rows), TILE):
            load_tile(X, first, scale, packed.shift, numbers, tile)
            squared_norms(tile, n_features, norms)
            nearest_two(
                tile,
                n_features,
                packed.negated,
                packed.half_norms,
                packed.order,
                0,
                len(packed.order),
                best,
                second,
                nearest,
            )
            undecided = undecided_lanes(norms, best, second, rounding, radius)
            while undecided != np.uint64(0):
                lane = np.intp(first_bit(undecided))
                undecided &= undecided - np.uint64(1)
                row = min(first + lane, n_rows - 1)
                nearest[lane], _, _ = nearest_exactly(X, row, unshifted, packed.exact, scratch)
            for lane in range(min(TILE, n_rows - first)):
                row = first + lane
                labels[row] = nearest[lane]
                distances[row] = row_distance(X, row, unshifted, packed.points, nearest[lane])


# From Python


def _rows(X, name):
    X = np.asarray(X)
    if X.dtype.kind not in "biufO":
        raise ValueError(f"{name} must hold real numbers, not {X.dtype}")
    if X.ndim != 2:
        raise ValueError(f"{name} must be a 2-D array of rows, got {X.ndim} dimension(s)")
    return X


def _same_dtype(X, Y):
    """Both as C-contiguous arrays of one dtype that the kernels are compiled for."""
    X, Y = _rows(X, "X"), _rows(Y, "Y")
    _check_shapes(X, Y)
    dtype = np.float32 if X.dtype == Y.dtype == np.float32 else np.float64
    return [read_only(np.require(array, dtype, ["C", "A"])) for array in (X, Y)]


def _check_shapes(X, Y):
    if X.shape[1] != Y.shape[1]:
        raise ValueError("X and Y must have the same number of features")
    if X.shape[1] == 0:
        raise ValueError("X and Y must have at least one feature")


def _check_any(Y):
    if len(Y) == 0:
        raise ValueError("Y must have at least one row")


def _pairwise(body, X, Y):
    X, Y = _same_dtype(X, Y)
    output = np.empty((len(X), len(Y)), X.dtype)
    _, _, n_chunks = _chunk_shape(len(X), len(Y), X.shape[1])
    run(body, n_chunks, X, Y, output)
    return output


def squared_euclidean(X: np.ndarray, Y: np.ndarray) -> np.ndarray:
    """Squared Euclidean distance of every row of X to every row of Y.

    Callable from Python and from functions under ``@njit``, where it takes 2-D arrays and runs on
    the calling thread.

    Parameters
    ----------
    X : array-like of shape (n_rows, n_features)
    Y : array-like of shape (n_others, n_features)

    Returns
    -------
    distances : ndarray of shape (n_rows, n_others)
        Sums of squared differences; float32 if both are, else float64. NaN and infinity give
        what they give in NumPy.

    Raises
    ------
    ValueError
        If an argument is not a 2-D array of real numbers or their features differ in number.
    """
    return _pairwise(_squared_euclidean, X, Y)


def manhattan(X: np.ndarray, Y: np.ndarray) -> np.ndarray:
    """Manhattan (L1) distance of every row of X to every row of Y.

    Callable from Python and from functions under ``@njit``, where it takes 2-D arrays and runs on
    the calling thread.

    Parameters
    ----------
    X : array-like of shape (n_rows, n_features)
    Y : array-like of shape (n_others, n_features)

    Returns
    -------
    distances : ndarray of shape (n_rows, n_others)
        Sums of absolute differences; float32 if both are, else float64. NaN and infinity give
        what they give in NumPy.

    Raises
    ------
    ValueError
        If an argument is not a 2-D array of real numbers or their features differ in number.
    """
    return _pairwise(_manhattan, X, Y)


def nearest(X: np.ndarray, Y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For every row of X the nearest row of Y, and the squared Euclidean distance to it.

    Rows are compared in float32 with a proven bound on the rounding, and those that this can't
    decide in float64, so that the labels are those that float64 arithmetic gives for float32 data
    too. Callable from Python and from functions under ``@njit``, where it takes 2-D arrays and runs
    on the calling thread. Besides its output it needs up to three times the memory of Y.

    Parameters
    ----------
    X : array-like of shape (n_rows, n_features)
    Y : array-like of shape (n_others, n_features)
        Of at least one row.

    Returns
    -------
    labels : ndarray of shape (n_rows,), int32
        The nearest row's number; among equally near rows the lowest. 0 where no distance is a
        finite number.
    distances : ndarray of shape (n_rows,)
        Squared distances, by direct differences in float64; float32 if both are, else float64.

    Raises
    ------
    ValueError
        If an argument is not a 2-D array of real numbers, their features differ in number, or Y
        has no rows.
    """
    X, Y = _same_dtype(X, Y)
    _check_any(Y)
    labels, distances = np.empty(len(X), np.int32), np.empty(len(X), X.dtype)
    chunk_rows, n_chunks = row_chunks(len(X))
    run(_nearest, n_chunks, n_chunks, chunk_rows, X, _pack(Y), labels, distances)
    return labels, distances


# From compiled code


@intrinsic
def _read_only(typingctx, array):
    """The same array, of the type that the kernels are compiled for."""
    result = types.Array(array.dtype, array.ndim, "C", readonly=True)

    def codegen(context, builder, signature, args):
        return impl_ret_borrowed(context, builder, result, args[0])

    return result(array), codegen


def _same(array, other):
    raise NotImplementedError("for kernels only")


@overload(_same)
def _same_dtype_compiled(array, other):
    """``array`` as :func:`_same_dtype` returns it."""
    dtype = types.float32 if array.dtype == other.dtype == types.float32 else types.float64
    if array.layout == "C" and array.aligned and array.dtype == dtype:
        return lambda array, other: _read_only(array)
    return lambda array, other: _read_only(np.ascontiguousarray(array.astype(dtype)))


@kernel
def _check_compiled(X, Y):
    if X.shape[1] != Y.shape[1]:
        raise ValueError("X and Y must have the same number of features")
    if X.shape[1] == 0:
        raise ValueError("X and Y must have at least one feature")


@kernel
def _squared_euclidean_serial(X, Y):
    _check_compiled(X, Y)
    X, Y = _same(X, Y), _same(Y, X)
    output = np.empty((len(X), len(Y)), X.dtype)
    _squared_euclidean(np.zeros(1, np.int64), X, Y, output)
    return output


@kernel
def _manhattan_serial(X, Y):
    _check_compiled(X, Y)
    X, Y = _same(X, Y), _same(Y, X)
    output = np.empty((len(X), len(Y)), X.dtype)
    _manhattan(np.zeros(1, np.int64), X, Y, output)
    return output


@kernel
def _nearest_serial(X, Y):
    _check_compiled(X, Y)
    if len(Y) == 0:
        raise ValueError("Y must have at least one row")
    X, Y = _same(X, Y), _same(Y, X)
    labels, distances = np.empty(len(X), np.int32), np.empty(len(X), X.dtype)
    _nearest(np.zeros(1, np.int64), 1, max(len(X), 1), X, _pack(Y), labels, distances)
    return labels, distances


def _overload(function, serial):
    @overload(function)
    def implementation(X, Y):
        for array in (X, Y):
            if not isinstance(array, types.Array) or array.ndim != 2:
                raise TypingError(f"{function.__name__} takes two 2-D arrays, not {X} and {Y}")
            if not isinstance(array.dtype, types.Float | types.Integer | types.Boolean):
                raise TypingError(f"{function.__name__} takes real numbers, not {array.dtype}")
        return lambda X, Y: serial(X, Y)


_overload(squared_euclidean, _squared_euclidean_serial)
_overload(manhattan, _manhattan_serial)
_overload(nearest, _nearest_serial)
