"""A tile's rows times an upper triangular matrix, ``y = (x - mean) @ P``.

The triangle is taken in blocks of ``BLOCK`` columns of P; a block and some vectors of rows are
accumulated in registers. Rows are centred first: the difference of ``x @ P`` and ``mean @ P`` would
lose the digits that they share.
"""

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from fastem.kernels.runtime.chunks import ceil_div
from fastem.kernels.vectors.emit import constant, data_pointer, fma, load_at, splat, store_at
from fastem.kernels.vectors.machine import TILE, VECTOR_BYTES, WIDE_REGISTER_FILE, vector_lanes

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
    for first in range(0, n_features, BLOCK):
        last = min(first + BLOCK, n_features)
        start, stop = packed_size(first), packed_size(last)
        block = packed[:, start:stop].reshape(n_matrices, -1, BLOCK)
        block[:, :last, : last - first] = factors[:, :last, first:last]
    return packed


def packed_size(n_features):
    """Number of values in a packed triangle."""
    n_blocks = ceil_div(n_features, BLOCK)
    return BLOCK * BLOCK * n_blocks * (n_blocks + 1) // 2


def centered(builder, value, center, remainder):
    """``value - (center + remainder)`` without rounding the sum; no remainder is None."""
    value = builder.fsub(value, center)
    return value if remainder is None else builder.fsub(value, remainder)


def slots_of_zero(builder, vector, n):
    """Accumulators, at zero."""
    slots = [cgutils.alloca_once(builder, vector) for _ in range(n)]
    for slot in slots:
        builder.store(ir.Constant(vector, [0.0] * vector.count), slot)
    return slots


def _add_product(builder, a, b, slot):
    builder.store(fma(builder, a, b, builder.load(slot)), slot)


@intrinsic
def whitened_norms(typingctx, tile, n_features, means, component, factors, peak, log_joint):
    """``log_joint[component * TILE + lane] = peak - |(x - mean) @ P|^2 / 2``.

    Parameters
    ----------
    tile : array
        Rows, transposed.
    means : array of shape (2, n_components, n_features)
        Means and their remainders of rounding.
    factors : array
        As :func:`pack_triangles` returns them.
    peak : float
        The logarithm of weight times density at the mean.
    """
    sig = types.void(tile, types.intp, means, types.intp, factors, tile.dtype, log_joint)
    lanes = vector_lanes(tile.dtype)
    size = tile.dtype.bitwidth // 8
    exact_means = size == 8  # in float64 the remainders are lost in x's own rounding

    def codegen(context, builder, signature, args):
        x, m, p, output = (
            data_pointer(context, builder, signature.args[i], args[i]) for i in (0, 2, 4, 6)
        )
        _, n_features, means_value, component, factors_value, peak, _ = args
        means_shape = context.make_array(signature.args[2])(context, builder, means_value).shape
        factors_shape = context.make_array(signature.args[4])(context, builder, factors_value).shape
        n_components = builder.extract_value(means_shape, 1)
        m = builder.gep(m, [builder.mul(component, n_features)])
        low = builder.gep(m, [builder.mul(n_components, n_features)])
        p = builder.gep(p, [builder.mul(component, builder.extract_value(factors_shape, 1))])
        output = builder.gep(output, [builder.mul(component, constant(TILE))])
        vector = ir.VectorType(x.type.pointee, lanes)
        integer = ir.IntType(64)

        def columns(f, lane):
            """The centred values of feature f."""
            center = splat(builder, builder.load(builder.gep(m, [f])), lanes)
            remainder = None
            if not exact_means:
                remainder = splat(builder, builder.load(builder.gep(low, [f])), lanes)
            at = builder.add(builder.mul(f, constant(TILE)), lane)
            loaded = [
                load_at(builder, x, builder.add(at, constant(v * lanes)), vector, VECTOR_BYTES)
                for v in range(_VECTORS)
            ]
            return [centered(builder, value, center, remainder) for value in loaded]

        def add_block(first, width, lane, squares):
            """Add the squares of ``width`` values of y, from ``first`` on."""
            # Blocks before this one have BLOCK, 2 BLOCK, ... rows.
            start = builder.sdiv(
                builder.mul(first, builder.add(first, constant(BLOCK))), constant(2)
            )
            block = builder.gep(p, [start])
            y = [slots_of_zero(builder, vector, _VECTORS) for _ in range(width)]

            def add_row(f, outputs):
                values = columns(f, lane)
                row = builder.gep(block, [builder.mul(f, constant(BLOCK))])
                for i in outputs:
                    factor = builder.load(builder.gep(row, [constant(i)]))
                    factor = splat(builder, factor, lanes)
                    for value, slot in zip(values, y[i], strict=True):
                        _add_product(builder, value, factor, slot)

            with cgutils.for_range(builder, first) as loop:
                add_row(loop.index, range(width))
            for i in range(width):
                add_row(builder.add(first, constant(i)), range(i, width))
            for row in y:
                for slot, square in zip(row, squares, strict=True):
                    value = builder.load(slot)
                    _add_product(builder, value, value, square)

        whole = builder.and_(n_features, constant(-BLOCK))
        with cgutils.for_range_slice(
            builder, constant(0), constant(TILE), constant(_VECTORS * lanes), integer
        ) as (lane, _):
            squares = slots_of_zero(builder, vector, _VECTORS)
            with cgutils.for_range_slice(builder, constant(0), whole, constant(BLOCK), integer) as (
                first,
                _,
            ):
                add_block(first, BLOCK, lane, squares)
            rest = builder.sub(n_features, whole)
            for width in range(1, BLOCK):
                with builder.if_then(builder.icmp_signed("==", rest, constant(width))):
                    add_block(whole, width, lane, squares)
            minus_half = ir.Constant(vector, [-0.5] * lanes)
            top = splat(builder, peak, lanes)
            for v, square in enumerate(squares):
                value = fma(builder, builder.load(square), minus_half, top)
                at = builder.add(lane, constant(v * lanes))
                store_at(builder, value, output, at, size)
        return context.get_dummy_value()

    return sig, codegen
