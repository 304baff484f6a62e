"""Squared distances from the rows of a tile to a few points, by direct differences.

As ``direct_rows.py``, for rows of few features: a vector holds one feature of several rows.
"""

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastem.kernels.runtime.compiling import inline
from fastem.kernels.vectors.emit import (
    Emitter,
    add_square,
    llvm_type,
    load_at,
    prefetch,
    shuffle,
    splat,
    store_at,
    transpose_square,
)
from fastem.kernels.vectors.machine import LINE_BYTES, TILE, WIDE_REGISTER_FILE, vector_lanes

_VECTORS = 4 if WIDE_REGISTER_FILE else 2  # of rows, accumulated together
_AHEAD = 8192  # bytes that rows are fetched before they are transposed

# Rows of so few features, that follow one another, are loaded many at a time.
_NARROW = 4


@intrinsic
def _columns(typingctx, X, n_features, first_row, lane, scale, tile):
    """A vector of consecutive rows of ``n_features`` (literal) into the tile, from ``lane`` on."""
    if not isinstance(n_features, types.IntegerLiteral):
        return None
    width = n_features.literal_value
    sig = types.void(X, n_features, types.intp, types.intp, X.dtype, tile)

    def codegen(context, builder, signature, args):
        e = Emitter(context, builder, signature, args)
        x, output = e.pointers(0, 5)
        lanes = vector_lanes(X.dtype)
        size = X.dtype.bitwidth // 8
        start = e.times(e.plus(args[2], args[3]), width)
        vector = ir.VectorType(llvm_type(X.dtype), lanes * width)
        rows = load_at(builder, x, start, vector, size)
        for line in range(0, lanes * width, LINE_BYTES // size):
            prefetch(builder, x, e.plus(start, _AHEAD // size + line))
        factor = splat(builder, args[4], lanes)
        for f in range(width):
            column = shuffle(builder, rows, rows, range(f, lanes * width, width))
            position = e.plus(args[3], f * TILE)
            store_at(builder, builder.fmul(column, factor), output, position, size)
        return e.nothing()

    return sig, codegen


@intrinsic
def _square(typingctx, X, first_row, feature, lane, scale, tile):
    """As many features as a vector has lanes, of as many rows, into the tile."""
    sig = types.void(X, types.intp, types.intp, types.intp, X.dtype, tile)

    def codegen(context, builder, signature, args):
        e = Emitter(context, builder, signature, args)
        x, output = e.pointers(0, 5)
        width = e.extent(0, 1)
        first_row, feature, lane, scale = args[1:5]
        lanes = vector_lanes(X.dtype)
        size = X.dtype.bitwidth // 8
        vector = ir.VectorType(llvm_type(X.dtype), lanes)
        factor = splat(builder, scale, lanes)
        rows = []
        for r in range(lanes):
            start = e.plus(e.times(e.plus(e.plus(first_row, lane), r), width), feature)
            prefetch(builder, x, e.plus(start, _AHEAD // size))
            rows.append(builder.fmul(load_at(builder, x, start, vector, size), factor))
        for f, column in enumerate(transpose_square(builder, rows)):
            position = e.plus(e.times(e.plus(feature, f), TILE), lane)
            store_at(builder, column, output, position, size)
        return e.nothing()

    return sig, codegen


@inline
def load_columns(X, first_row, lanes, scale, tile):
    """``tile[f * TILE + lane] = X[first_row + lane, f] * scale``; lanes behind the last repeat it.

    Parameters
    ----------
    X : array of shape (n_rows, n_features)
    first_row : int
    lanes : int
        Rows in a vector.
    scale : X.dtype
    tile : array of TILE * n_features values of X.dtype
    """
    n_rows, n_features = X.shape
    if first_row + TILE > n_rows or _NARROW < n_features < lanes:
        for lane in range(TILE):
            row = min(first_row + lane, n_rows - 1)
            for f in range(n_features):
                tile[f * TILE + lane] = X[row, f] * scale
        return
    for lane in range(0, TILE, lanes):
        if n_features > _NARROW:
            for feature in range(0, n_features, lanes):
                # The last block overlaps the one before it rather than the row's end.
                _square(X, first_row, min(feature, n_features - lanes), lane, scale, tile)
        elif n_features == 1:
            _columns(X, 1, first_row, lane, scale, tile)
        elif n_features == 2:
            _columns(X, 2, first_row, lane, scale, tile)
        elif n_features == 3:
            _columns(X, 3, first_row, lane, scale, tile)
        else:
            _columns(X, 4, first_row, lane, scale, tile)


@intrinsic
def _tile_group(typingctx, tile, points, point, n_points, distances):
    """``distances[(point + i) * TILE + lane]`` for all lanes and ``n_points`` (literal) i."""
    if not isinstance(n_points, types.IntegerLiteral):
        return None
    count = n_points.literal_value
    sig = types.void(tile, points, types.intp, n_points, distances)

    def codegen(context, builder, signature, args):
        e = Emitter(context, builder, signature, args)
        x, c, output = e.pointers(0, 1, 4)
        width = e.extent(1, 1)
        point = args[2]
        lanes = vector_lanes(tile.dtype)
        size = tile.dtype.bitwidth // 8
        vector = ir.VectorType(llvm_type(tile.dtype), lanes)
        starts = [e.row(c, e.plus(point, i), width) for i in range(count)]
        with e.loop(0, TILE, _VECTORS * lanes) as lane:
            sums = e.zeros(vector, count * _VECTORS)
            with e.loop(0, width) as f:
                position = e.plus(e.times(f, TILE), lane)
                values = [
                    load_at(builder, x, e.plus(position, v * lanes), vector, size)
                    for v in range(_VECTORS)
                ]
                slots = iter(sums)
                for start in starts:
                    value = splat(builder, builder.load(builder.gep(start, [f])), lanes)
                    for row in values:
                        slot = next(slots)
                        difference = builder.fsub(row, value)
                        builder.store(add_square(builder, difference, builder.load(slot)), slot)
            for s, slot in enumerate(sums):
                i, v = divmod(s, _VECTORS)
                position = e.plus(e.plus(e.times(e.plus(point, i), TILE), lane), v * lanes)
                store_at(builder, builder.load(slot), output, position, size)
        return e.nothing()

    return sig, codegen


@inline
def tile_distance(tile, points, distances):
    """As ``tile_distances``, to the first point only."""
    _tile_group(tile, points, 0, 1, distances)


@inline
def tile_distances(tile, points, distances):
    """Squared distances of a tile's lanes to all points.

    Parameters
    ----------
    tile : array of n_features * TILE values
    points : array of shape (n_points, n_features), from ``direct_rows.pad_points``
    distances : array of n_points * TILE values
        Gets ``distances[i * TILE + lane]``.
    """
    whole = len(points) // 4 * 4
    for i in range(0, whole, 4):
        _tile_group(tile, points, i, 4, distances)
    if whole < len(points):
        _tile_group(tile, points, whole, 2, distances)
