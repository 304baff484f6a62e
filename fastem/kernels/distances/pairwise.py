"""All distances between the rows of two matrices, for Python and for a user's compiled code.

They are sums over direct differences, hence accurate wherever the points lie. From Python the work
is spread over threads; called from a function under ``@njit`` the same kernels run serially, so
that they may be called in a parallel region.
"""

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastem.kernels.distances.tile_nearest import BLOCK, VECTORS
from fastem.kernels.runtime.arrays import large_empty
from fastem.kernels.runtime.compiling import kernel
from fastem.kernels.runtime.inputs import as_pair, compiled_as
from fastem.kernels.runtime.parallel import next_chunk, run
from fastem.kernels.vectors.emit import Emitter, add_magnitude, add_square, load_at, splat, store_at
from fastem.kernels.vectors.machine import LANES, TILE, VECTOR_BYTES, vector_lanes
from fastem.kernels.vectors.tiles import aligned_empty_like, load_tile

# A chunk of pairwise distances: so many rows of X, and tiles of Y that fit into the cache.
_CHUNK_ROWS = 256
_CHUNK_VALUES = 32768
_CHUNK_TILES = 16


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
            e = Emitter(context, builder, signature, args)
            x, y, z = e.pointers(0, 3, 5)
            row, last_row, n_features, start, stride = (args[i] for i in (1, 2, 4, 6, 7))
            vector = ir.VectorType(y.type.pointee, lanes)
            rows, outputs = [], []
            for i in range(BLOCK):
                number = e.plus(row, i)
                inside = builder.icmp_signed("<", number, last_row)
                number = builder.select(inside, number, last_row)
                rows.append(e.row(x, number, n_features))
                at = e.times(builder.sub(number, row), stride)
                outputs.append(e.plus(start, at))
            with e.loop(0, TILE, VECTORS * lanes) as lane:
                sums = [e.zeros(vector, VECTORS) for _ in range(BLOCK)]
                with e.loop(0, n_features) as f:
                    at = e.plus(e.times(f, TILE), lane)
                    columns = [
                        load_at(builder, y, e.plus(at, v * lanes), vector, VECTOR_BYTES)
                        for v in range(VECTORS)
                    ]
                    for base, slots in zip(rows, sums, strict=True):
                        value = splat(builder, builder.load(builder.gep(base, [f])), lanes)
                        for column, slot in zip(columns, slots, strict=True):
                            difference = builder.fsub(value, column)
                            builder.store(add(builder, difference, builder.load(slot)), slot)
                for at, slots in zip(outputs, sums, strict=True):
                    for v, slot in enumerate(slots):
                        column = e.plus(lane, v * lanes)
                        store_at(builder, builder.load(slot), z, e.plus(at, column), size)
            return e.nothing()

        return sig, codegen

    return block_of_distances


@kernel
def chunk_shape(n_rows, n_columns, n_features):
    """Tiles of Y in a chunk, chunks side by side, and the number of all chunks."""
    n_tiles = max(1, min(_CHUNK_TILES, _CHUNK_VALUES // (TILE * n_features)))
    across = (n_columns + n_tiles * TILE - 1) // (n_tiles * TILE)
    return n_tiles, across, across * ((n_rows + _CHUNK_ROWS - 1) // _CHUNK_ROWS)


def _pairwise_kernel(block_of_distances):
    @kernel
    def pairwise(tickets, n_chunks, X, Y, output):
        """Write all distances between the rows of X and Y, of one dtype, (n_rows, n_columns)."""
        n_rows, n_features = X.shape
        n_columns = len(Y)
        n_tiles, across, _ = chunk_shape(n_rows, n_columns, n_features)
        one = X.dtype.type(1)
        shift = np.zeros(n_features + LANES, X.dtype)
        tiles = aligned_empty_like(n_tiles * n_features * TILE, X)
        edge = np.empty(TILE * TILE, X.dtype)
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
                    load_tile(X, first, one, shift, tiles)
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
                load_tile(Y, first, one, shift, tile)
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


block_of_squared_euclidean = _block_of_distances(add_square)
block_of_manhattan = _block_of_distances(add_magnitude)
squared_euclidean_pass = _pairwise_kernel(block_of_squared_euclidean)
manhattan_pass = _pairwise_kernel(block_of_manhattan)


def _pairwise(body, X, Y):
    X, Y = as_pair(X, Y)
    output = np.empty((len(X), len(Y)), X.dtype)
    _, _, n_chunks = chunk_shape(len(X), len(Y), X.shape[1])
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
        If an argument is not a 2-D array of real numbers, or their features differ in number or
        there are none.
    """
    return _pairwise(squared_euclidean_pass, X, Y)


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
        If an argument is not a 2-D array of real numbers, or their features differ in number or
        there are none.
    """
    return _pairwise(manhattan_pass, X, Y)


@kernel
def _squared_euclidean_serial(X, Y):
    X, Y = as_pair(X, Y)
    output = large_empty((len(X), len(Y)), X.dtype)
    n_chunks = chunk_shape(len(X), len(Y), X.shape[1])[2]
    squared_euclidean_pass(np.zeros(1, np.int64), n_chunks, X, Y, output)
    return output


@kernel
def _manhattan_serial(X, Y):
    X, Y = as_pair(X, Y)
    output = large_empty((len(X), len(Y)), X.dtype)
    n_chunks = chunk_shape(len(X), len(Y), X.shape[1])[2]
    manhattan_pass(np.zeros(1, np.int64), n_chunks, X, Y, output)
    return output


compiled_as(squared_euclidean, _squared_euclidean_serial)
compiled_as(manhattan, _manhattan_serial)
