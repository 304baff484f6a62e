"""Rows into tiles: gathered, shifted, scaled, rounded to the tile's dtype and transposed.

``tile[f * TILE + lane] = X[row, f] * scale + shift[f]`` with ``shift = -origin * scale``, one fused
multiply-add. ``scale`` is a power of two, so that only the last rounding is one. A tile is float32
or float64, whatever the rows are.
"""

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastem.kernels.runtime.compiling import inline
from fastem.kernels.runtime.memory import aligned_empty as aligned_empty
from fastem.kernels.runtime.memory import aligned_empty_like as aligned_empty_like
from fastem.kernels.vectors.emit import (
    INDEX,
    Emitter,
    constant,
    fma,
    load_at,
    prefetch,
    shuffle,
    splat,
    store_at,
    transpose_square,
)
from fastem.kernels.vectors.machine import LINE_BYTES, TILE, VECTOR_BYTES, vector_lanes
from fastem.kernels.vectors.vector import fetch, lanes_of

# Rows of so few features are loaded whole, many at a time, when they follow one another.
NARROW = 4

# Bytes fetched ahead within each row. The hardware loses track of so many rows read side by side:
# 784 features take 15 % less time. Beyond a row's end nothing is fetched: what follows a gathered
# row is seldom the next one, and to fetch it took as long as to gather.
_AHEAD = 256

# Lines of the cache that are fetched of a row before it is gathered.
_MOST_LINES = 4


# A tile of more bytes must be small beside the rows.
_LARGE_TILE = 1 << 21


@inline
def tile_fits(n_rows, n_features, itemsize):
    """Whether a tile takes little memory, or at most a quarter of what the rows take.

    Where few rows are so long that it doesn't, they are compared one by one.
    """
    return 4 * TILE * n_features <= max(_LARGE_TILE, n_rows * n_features * itemsize // 4)


@inline
def tiles_fit(X):
    """:func:`tile_fits` of an array's rows."""
    return tile_fits(X.shape[0], X.shape[1], X.itemsize)


def _convert(builder, values, scalar):
    """Round or widen a vector to another floating-point type."""
    vector = ir.VectorType(scalar, values.type.count)
    if values.type == vector:
        return values
    convert = builder.fptrunc if isinstance(scalar, ir.FloatType) else builder.fpext
    return convert(values, vector)


def _starts(e, n_features, rows, lane, count):
    """Where rows begin in an array of ``n_features``, from ``lane`` on.

    Of those whose numbers are in the array ``rows``, or that follow one another from row number
    ``rows`` on, the last one again and again behind the end. The array is the emitter's first
    argument, ``rows`` its third.
    """
    if isinstance(e.signature.args[2], types.Array):
        (numbers,) = e.pointers(2)
        for i in range(count):
            row = e.value(numbers, e.plus(lane, i))
            yield e.times(row if row.type == INDEX else e.builder.sext(row, INDEX), n_features)
        return
    last = e.times(e.plus(e.extent(0, 0), -1), n_features)
    start = e.times(e.plus(rows, lane), n_features)
    for _ in range(count):
        yield e.builder.select(e.builder.icmp_signed("<", start, last), start, last)
        start = e.plus(start, n_features)


@intrinsic
def _transpose_block(typingctx, X, n_features, rows, lane, feature, scale, shift, tile):
    """A square of the tile, from ``lane`` and ``feature`` on.

    ``rows`` are numbers, or the first of consecutive ones. Features at or behind ``n_features``
    are loaded but not stored.
    """
    rows = rows if isinstance(rows, types.Array) else types.intp
    sig = types.void(X, types.intp, rows, types.intp, types.intp, X.dtype, shift, tile)
    lanes = vector_lanes(tile.dtype)

    def codegen(context, builder, signature, args):
        e = Emitter(context, builder, signature, args)
        width, rows, factor = args[1], args[2], args[5]
        x_pointer, shift_pointer, tile_pointer = e.pointers(0, 6, 7)
        lane, feature = args[3], args[4]
        size = X.dtype.bitwidth // 8
        scalar = tile_pointer.type.pointee
        vector = ir.VectorType(x_pointer.type.pointee, lanes)
        factor = splat(builder, factor, lanes)
        offset = load_at(builder, shift_pointer, feature, vector, size)
        later = e.plus(feature, _AHEAD // size)
        later = builder.select(builder.icmp_signed("<", later, width), later, feature)
        block = []
        for start in _starts(e, width, rows, lane, lanes):
            values = load_at(builder, x_pointer, e.plus(start, feature), vector, size)
            prefetch(builder, x_pointer, e.plus(start, later))
            block.append(_convert(builder, fma(builder, values, factor, offset), scalar))
        for i, column in enumerate(transpose_square(builder, block)):
            f = e.plus(feature, i)
            with builder.if_then(builder.icmp_signed("<", f, width)):
                at = e.plus(e.times(f, TILE), lane)
                store_at(builder, column, tile_pointer, at, tile.dtype.bitwidth // 8)
        return e.nothing()

    return sig, codegen


@intrinsic
def _deinterleave(typingctx, X, n_features, first_row, lane, scale, shift, tile):
    """A vector's worth of consecutive rows of ``n_features`` (literal), from ``lane`` on."""
    if not isinstance(n_features, types.IntegerLiteral):
        return None
    width = n_features.literal_value
    lanes = vector_lanes(tile.dtype)
    sig = types.void(X, n_features, types.intp, types.intp, X.dtype, shift, tile)

    def codegen(context, builder, signature, args):
        e = Emitter(context, builder, signature, args)
        x_pointer, shift_pointer, tile_pointer = e.pointers(0, 5, 6)
        first_row, lane, scale = args[2], args[3], args[4]
        vector = ir.VectorType(x_pointer.type.pointee, lanes * width)
        start = e.times(e.plus(first_row, lane), width)
        rows = load_at(builder, x_pointer, start, vector, X.dtype.bitwidth // 8)
        factor = splat(builder, scale, lanes)
        for f in range(width):
            column = shuffle(builder, rows, rows, [i * width + f for i in range(lanes)])
            offset = builder.load(builder.gep(shift_pointer, [constant(f)]))
            column = fma(builder, column, factor, splat(builder, offset, lanes))
            at = e.plus(lane, f * TILE)
            column = _convert(builder, column, tile_pointer.type.pointee)
            store_at(builder, column, tile_pointer, at, tile.dtype.bitwidth // 8)
        return e.nothing()

    return sig, codegen


@inline
def first_lanes(n_lanes):
    """The first lanes of a tile as the bits of a uint64."""
    return ~np.uint64(0) >> np.uint64(TILE - n_lanes)


@inline
def fetch_start(X, row):
    """Ask for the first cache lines of a row that is gathered later."""
    n_features = X.shape[1]
    line = lanes_of(X) * (LINE_BYTES // VECTOR_BYTES)  # known to the compiler, as X.itemsize isn't
    for f in range(0, min(n_features, _MOST_LINES * line), line):
        fetch(X, row * n_features + f)
    # It lies on one line more unless rows are aligned.
    fetch(X, row * n_features + n_features - 1)


@inline
def gather_tile(X, rows, scale, shift, tile):
    """Fill ``tile`` with the TILE rows whose numbers are in ``rows``.

    ``shift`` has at least ``n_features + LANES`` values.
    """
    lanes = lanes_of(tile)
    n_features = X.shape[1]
    if n_features <= NARROW or X.size < lanes:
        # Features outside: with rows outside, a third as many of them were waited for at once.
        for f in range(n_features):
            for lane in range(TILE):
                tile[f * TILE + lane] = X[np.uintp(rows[lane]), f] * scale + shift[f]
        return
    last = max(0, n_features - lanes)
    for lane in range(0, TILE, lanes):
        # A vector reaches into the rows behind; those at the very end have none.
        beyond = False
        if n_features < lanes:
            for i in range(lane, lane + lanes):
                beyond |= rows[i] * n_features + lanes > X.size
        if beyond:
            for i in range(lane, lane + lanes):
                for f in range(n_features):
                    tile[f * TILE + i] = X[rows[i], f] * scale + shift[f]
        else:
            for feature in range(0, n_features, lanes):
                # The last block overlaps the one before it rather than the row's end.
                _transpose_block(X, n_features, rows, lane, min(feature, last), scale, shift, tile)


@inline
def load_narrow(X, first_row, scale, shift, tile):
    """Fill ``tile`` with TILE consecutive rows if they have few features; whether it did."""
    n_rows, n_features = X.shape
    if n_features > NARROW or first_row + TILE > n_rows:
        return False
    for lane in range(0, TILE, lanes_of(tile)):
        if n_features == 1:
            _deinterleave(X, 1, first_row, lane, scale, shift, tile)
        elif n_features == 2:
            _deinterleave(X, 2, first_row, lane, scale, shift, tile)
        elif n_features == 3:
            _deinterleave(X, 3, first_row, lane, scale, shift, tile)
        else:
            _deinterleave(X, 4, first_row, lane, scale, shift, tile)
    return True


@inline
def load_tile(X, first_row, scale, shift, tile):
    """Fill ``tile`` with TILE consecutive rows; lanes behind the last row repeat it.

    ``shift`` is as for :func:`gather_tile`.
    """
    if load_narrow(X, first_row, scale, shift, tile):
        return
    lanes = lanes_of(tile)
    n_rows, n_features = X.shape
    last = max(0, n_features - lanes)
    for lane in range(0, TILE, lanes):
        # As in `gather_tile`.
        end = min(first_row + lane + lanes, n_rows)
        if n_features <= NARROW or (last == 0 and (end - 1) * n_features + lanes > X.size):
            for i in range(lane, lane + lanes):
                row = min(first_row + i, n_rows - 1)
                for f in range(n_features):
                    tile[f * TILE + i] = X[row, f] * scale + shift[f]
        else:
            for feature in range(0, n_features, lanes):
                at = min(feature, last)
                _transpose_block(X, n_features, first_row, lane, at, scale, shift, tile)
