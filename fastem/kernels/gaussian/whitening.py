"""A tile's rows times an upper triangular matrix, ``y = (x - mean) @ P``.

The triangle is taken in blocks of ``BLOCK`` columns of P; a block and some vectors of rows are
accumulated in registers. Rows are centred first: the difference of ``x @ P`` and ``mean @ P`` would
lose the digits that they share.
"""

import functools

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastem.kernels.gaussian.batch import Center, centered
from fastem.kernels.runtime.chunks import ceil_div
from fastem.kernels.runtime.compiling import inline
from fastem.kernels.vectors.emit import Emitter, constant, fma, splat, store_at
from fastem.kernels.vectors.machine import TILE, WIDE_REGISTER_FILE

BLOCK = 4  # columns of P, hence values of y, accumulated together
_VECTORS = 4 if WIDE_REGISTER_FILE else 2  # vectors of rows accumulated together


def pack_triangles(factors, dtype):
    """Upper triangular matrices as the kernels read them.

    Parameters
    ----------
    factors : ndarray of shape (n_matrices, n_features, n_features)
    dtype : dtype

    Returns
    -------
    packed : ndarray of shape (n_matrices, packed_size(n_features)), dtype
        Block after block of ``BLOCK`` columns, each down to its lowest row that is not zero, row
        after row; columns behind the last are zero.
    """
    n_matrices, n_features, _ = factors.shape
    packed = np.zeros((n_matrices, packed_size(n_features)), dtype)
    rows, columns, places = _triangle(n_features)
    packed[:, places] = factors[:, rows, columns]
    return packed


@functools.lru_cache(maxsize=1)  # found anew, they take as long as a pass over some hundred rows
def _triangle(n_features):
    """The entries of an upper triangle, by rows and columns, and their places when packed."""
    rows, columns = np.triu_indices(n_features)
    first = columns // BLOCK * BLOCK
    blocks = first // BLOCK
    starts = BLOCK * BLOCK * blocks * (blocks + 1) // 2
    return rows, columns, starts + rows * BLOCK + columns - first


@inline
def packed_size(n_features):
    """Number of values in a packed triangle."""
    n_blocks = ceil_div(n_features, BLOCK)
    return BLOCK * BLOCK * n_blocks * (n_blocks + 1) // 2


@inline
def pack_triangle(factors, component, packed):
    """Write one of the matrices as :func:`pack_triangles` packs them, but for the zeros."""
    for f in range(factors.shape[1]):
        first = f // BLOCK * BLOCK
        for g in range(f + 1):
            place = packed_size(first) + g * BLOCK + f - first
            packed[component, place] = factors[component, g, f]


@intrinsic
def whitened_norms(typingctx, tile, n_features, means, component, factors, peak, log_joint):
    """``log_joint[component * TILE + lane] = peak - |(x - mean) @ P|^2 / 2``.

    Parameters
    ----------
    tile : array of n_features * TILE values
        Rows, transposed.
    n_features : int
    means : array of shape (2, n_components, n_features)
        Means and their remainders of rounding.
    component : int
    factors : array of shape (n_components, packed_size(n_features))
        As :func:`pack_triangles` returns them.
    peak : float
        The logarithm of weight times density at the mean.
    log_joint : array of n_components * TILE values
    """
    # LLVM's own code, as a block's BLOCK * _VECTORS sums are more than Python has names for.
    sig = types.void(tile, types.intp, means, types.intp, factors, tile.dtype, log_joint)
    size = tile.dtype.bitwidth // 8

    def codegen(context, builder, signature, args):
        e = Emitter(context, builder, signature, args)
        _, n_features, _, component, _, peak, _ = args
        x, factors, output = e.pointers(0, 4, 6)
        center = Center(e, 2, component, n_features)
        factors = e.row(factors, component, e.extent(4, 1))
        output = e.row(output, component, TILE)
        vector = e.vector(0)
        lanes = vector.count

        def add_row(block, f, columns, lane):
            """Add feature f's share in the ``columns``, a list of vectors of rows for each."""
            mean = center.of(f)
            values = [
                centered(builder, e.lanes(x, f, e.plus(lane, v * lanes), vector), mean)
                for v in range(_VECTORS)
            ]
            row = e.row(block, f, BLOCK)
            for i, column in columns:
                factor = e.splat(row, i, lanes)
                for value, slot in zip(values, column, strict=True):
                    e.add_product(slot, value, factor)

        def add_block(first, width, lane, squares):
            """Add the squares of ``width`` values of y, from ``first`` on."""
            # Blocks before this one have BLOCK, 2 BLOCK, ... rows.
            start = e.quotient(e.times(first, e.plus(first, BLOCK)), 2)
            block = e.at(factors, start)
            y = list(enumerate(e.zeros(vector, _VECTORS) for _ in range(width)))
            with e.loop(0, first) as f:
                add_row(block, f, y, lane)
            for i in range(width):
                add_row(block, e.plus(first, i), y[i:], lane)
            for _, column in y:
                for slot, square in zip(column, squares, strict=True):
                    value = builder.load(slot)
                    e.add_product(square, value, value)

        whole = builder.and_(n_features, constant(-BLOCK))
        rest = builder.sub(n_features, whole)
        minus_half = ir.Constant(vector, [-0.5] * lanes)
        top = splat(builder, peak, lanes)
        with e.loop(0, TILE, _VECTORS * lanes) as lane:
            squares = e.zeros(vector, _VECTORS)
            with e.loop(0, whole, BLOCK) as first:
                add_block(first, BLOCK, lane, squares)
            for width in range(1, BLOCK):
                with e.if_equal(rest, width):
                    add_block(whole, width, lane, squares)
            for v, square in enumerate(squares):
                value = fma(builder, builder.load(square), minus_half, top)
                store_at(builder, value, output, e.plus(lane, v * lanes), size)
        return e.nothing()

    return sig, codegen
