"""Squared distances from the rows of a tile to a few points, by direct differences.

``|x - c|^2`` as a sum of squared differences has a relative error of a few roundings wherever the
rows lie, unlike ``|x|^2 + |c|^2 - 2 x.c``, at the price of one more instruction a feature. Rows and
points are in the rows' own dtype. Points come in pairs: :func:`pad_points` repeats the last.
"""

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from fastem.kernels.runtime.compiling import inline
from fastem.kernels.vectors.emit import (
    constant,
    data_pointer,
    fma,
    llvm_type,
    load_at,
    minimum,
    prefetch,
    shuffle,
    splat,
    store_at,
    sum_lanes,
    sum_vectors,
    transpose_square,
)
from fastem.kernels.vectors.machine import TILE, VECTOR_BYTES, WIDE_REGISTER_FILE

# Rows of fewer bytes are transposed, so that a vector holds one feature of several rows; of more,
# it holds several features of one row. Any such row fills a vector of any machine.
WIDE_ROW = 192

_ROWS = 4 if WIDE_REGISTER_FILE else 2  # whole rows, or vectors of rows, accumulated together
_INTEGER = ir.IntType(64)
# Listed rows are fetched so many bytes and at most so many rows before they are compared: the
# machine's own prefetching is late for rows taken several at a time.
_AHEAD = 8192
_MOST_AHEAD = 64
LIST_SLACK = _MOST_AHEAD + _ROWS

# Rows of so few features, that follow one another, are loaded many at a time.
_NARROW = 4


def pad_points(points, scale, dtype):
    """Scaled points as the kernels take them: in pairs, contiguous, in the rows' dtype."""
    n_points = len(points)
    if n_points == 0:
        return np.empty(points.shape, dtype)
    padded = np.empty((n_points + n_points % 2, points.shape[1]), dtype)
    padded[:n_points] = points
    padded[n_points:] = padded[n_points - 1 : n_points]
    padded *= dtype.type(scale)
    return padded


def _lanes(dtype):
    return VECTOR_BYTES * 8 // dtype.bitwidth


def _zeros(builder, vector, n):
    zero = ir.Constant(vector, [0.0] * vector.count)
    slots = [cgutils.alloca_once(builder, vector) for _ in range(n)]
    for slot in slots:
        builder.store(zero, slot)
    return slots


def _add_square(builder, difference, slot):
    builder.store(fma(builder, difference, difference, builder.load(slot)), slot)


@intrinsic
def _row_group(typingctx, X, rows, at, ahead, scale, points, point, n_points, distances, lane):
    """``distances[(point + i) * TILE + lane + r]``, ``_ROWS`` rows r by ``n_points`` (literal) i.

    ``rows[at + r]`` are the rows' numbers; those at ``rows[ahead + r]`` are fetched.
    """
    if not isinstance(n_points, types.IntegerLiteral):
        return None
    count = n_points.literal_value
    sig = types.void(
        X,
        rows,
        types.intp,
        types.intp,
        X.dtype,
        points,
        types.intp,
        n_points,
        distances,
        types.intp,
    )

    def codegen(context, builder, signature, args):
        x, numbers, c, output = (
            data_pointer(context, builder, signature.args[i], args[i]) for i in (0, 1, 5, 8)
        )
        shape = context.make_array(signature.args[0])(context, builder, args[0]).shape
        width = builder.extract_value(shape, 1)
        at, ahead, scale, point, lane = args[2], args[3], args[4], args[6], args[9]
        lanes = _lanes(X.dtype)
        size = X.dtype.bitwidth // 8
        vector = ir.VectorType(llvm_type(X.dtype), lanes)
        factor = splat(builder, scale, lanes)

        def starts_of_rows(first):
            for r in range(_ROWS):
                row = builder.load(builder.gep(numbers, [builder.add(first, constant(r))]))
                row = builder.sext(row, _INTEGER)
                yield builder.gep(x, [builder.mul(row, width)])

        row_starts = list(starts_of_rows(at))
        later_starts = list(starts_of_rows(ahead))
        point_starts = [
            builder.gep(c, [builder.mul(builder.add(point, constant(i)), width)])
            for i in range(count)
        ]
        sums = _zeros(builder, vector, count * _ROWS)

        def accumulate(feature, mask=None):
            for start in later_starts:
                prefetch(builder, start, feature)
            values = [
                builder.fmul(load_at(builder, start, feature, vector, size), factor)
                for start in row_starts
            ]
            slots = iter(sums)
            for start in point_starts:
                known = load_at(builder, start, feature, vector, size)
                for value in values:
                    # Not fused with the product: additions have units of their own.
                    difference = builder.fsub(value, known)
                    if mask is not None:
                        zero = ir.Constant(vector, [0.0] * lanes)
                        difference = builder.select(mask, difference, zero)
                    _add_square(builder, difference, next(slots))

        rest = builder.srem(width, constant(lanes))
        whole = builder.sub(width, rest)
        with cgutils.for_range_slice(builder, constant(0), whole, constant(lanes), _INTEGER) as (
            feature,
            _,
        ):
            accumulate(feature)
        with builder.if_then(builder.icmp_signed("!=", rest, constant(0))):
            # The last vector overlaps the one before it rather than the row's end.
            narrow = ir.IntType(32)
            numbers = ir.Constant(ir.VectorType(narrow, lanes), list(range(lanes)))
            overlap = builder.trunc(builder.sub(constant(lanes), rest), narrow)
            new = builder.icmp_signed(">=", numbers, splat(builder, overlap, lanes))
            accumulate(builder.sub(width, constant(lanes)), new)
        totals = [builder.load(slot) for slot in sums]
        totals += [ir.Constant(vector, [0.0] * lanes)] * (-len(totals) % lanes)
        summed = [sum_vectors(builder, totals[i : i + lanes]) for i in range(0, len(totals), lanes)]
        run = min(_ROWS, lanes)
        for start in range(0, count * _ROWS, run):
            part = summed[start // lanes]
            if run < lanes:
                first = start % lanes
                part = shuffle(builder, part, part, range(first, first + run))
            i, r = divmod(start, _ROWS)
            position = builder.mul(builder.add(point, constant(i)), constant(TILE))
            position = builder.add(builder.add(position, lane), constant(r))
            store_at(builder, part, output, position, size)
        return context.get_dummy_value()

    return sig, codegen


@inline
def end_list(rows, n_listed, n_rows):
    """Put behind the listed rows, of ``n_rows``, those that may well come next."""
    if n_listed > 0:
        for j in range(n_listed, n_listed + LIST_SLACK):
            rows[j] = min(rows[j - 1] + 1, n_rows - 1)


@inline
def row_distances(X, rows, first, n_rows, scale, points, distances):
    """Squared distances of listed rows to all points, in scaled units.

    Parameters
    ----------
    X : array of shape (n, n_features), of at least WIDE_ROW bytes a row
    rows : int32 array
        ``rows[first : first + n_rows]`` are the rows' numbers; ``LIST_SLACK`` more numbers of
        rows follow, those that come next as far as they are known.
    n_rows : int
        At most TILE.
    scale : X.dtype
    points : array of shape (n_points, n_features), from ``pad_points``
    distances : array of n_points * TILE values
        ``distances[i * TILE + j]`` is set for point i and ``rows[first + j]``, and up to three
        behind.
    """
    ahead = _AHEAD // (X.itemsize * X.shape[1]) // _ROWS * _ROWS
    ahead = first + min(max(ahead, _ROWS), _MOST_AHEAD)
    whole = len(points) // 4 * 4
    for j in range(0, n_rows, _ROWS):
        for i in range(0, whole, 4):
            _row_group(X, rows, first + j, ahead + j, scale, points, i, 4, distances, j)
        if whole < len(points):
            _row_group(X, rows, first + j, ahead + j, scale, points, whole, 2, distances, j)


@intrinsic
def _columns(typingctx, X, n_features, first_row, lane, scale, tile):
    """A vector of consecutive rows of ``n_features`` (literal) into the tile, from ``lane`` on."""
    if not isinstance(n_features, types.IntegerLiteral):
        return None
    width = n_features.literal_value
    sig = types.void(X, n_features, types.intp, types.intp, X.dtype, tile)

    def codegen(context, builder, signature, args):
        x = data_pointer(context, builder, signature.args[0], args[0])
        output = data_pointer(context, builder, signature.args[5], args[5])
        lanes = _lanes(X.dtype)
        size = X.dtype.bitwidth // 8
        start = builder.mul(builder.add(args[2], args[3]), constant(width))
        vector = ir.VectorType(llvm_type(X.dtype), lanes * width)
        rows = load_at(builder, x, start, vector, size)
        for line in range(0, lanes * width, 64 // size):
            prefetch(builder, x, builder.add(start, constant(_AHEAD // size + line)))
        factor = splat(builder, args[4], lanes)
        for f in range(width):
            column = shuffle(builder, rows, rows, range(f, lanes * width, width))
            position = builder.add(args[3], constant(f * TILE))
            store_at(builder, builder.fmul(column, factor), output, position, size)
        return context.get_dummy_value()

    return sig, codegen


@intrinsic
def _square(typingctx, X, first_row, feature, lane, scale, tile):
    """As many features as a vector has lanes, of as many rows, into the tile."""
    sig = types.void(X, types.intp, types.intp, types.intp, X.dtype, tile)

    def codegen(context, builder, signature, args):
        x = data_pointer(context, builder, signature.args[0], args[0])
        output = data_pointer(context, builder, signature.args[5], args[5])
        shape = context.make_array(signature.args[0])(context, builder, args[0]).shape
        width = builder.extract_value(shape, 1)
        first_row, feature, lane, scale = args[1:5]
        lanes = _lanes(X.dtype)
        size = X.dtype.bitwidth // 8
        vector = ir.VectorType(llvm_type(X.dtype), lanes)
        factor = splat(builder, scale, lanes)
        rows = []
        for r in range(lanes):
            row = builder.add(builder.add(first_row, lane), constant(r))
            start = builder.add(builder.mul(row, width), feature)
            prefetch(builder, x, builder.add(start, constant(_AHEAD // size)))
            rows.append(builder.fmul(load_at(builder, x, start, vector, size), factor))
        for f, column in enumerate(transpose_square(builder, rows)):
            position = builder.mul(builder.add(feature, constant(f)), constant(TILE))
            store_at(builder, column, output, builder.add(position, lane), size)
        return context.get_dummy_value()

    return sig, codegen


@inline
def load_columns(X, first_row, lanes, scale, tile):
    """``tile[f * TILE + lane] = X[first_row + lane, f] * scale``, ``lanes`` rows in a vector.

    Lanes behind the last row repeat it.
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
        x, c, output = (
            data_pointer(context, builder, signature.args[i], args[i]) for i in (0, 1, 4)
        )
        shape = context.make_array(signature.args[1])(context, builder, args[1]).shape
        width = builder.extract_value(shape, 1)
        point = args[2]
        lanes = _lanes(tile.dtype)
        size = tile.dtype.bitwidth // 8
        vector = ir.VectorType(llvm_type(tile.dtype), lanes)
        starts = [
            builder.gep(c, [builder.mul(builder.add(point, constant(i)), width)])
            for i in range(count)
        ]
        with cgutils.for_range_slice(
            builder, constant(0), constant(TILE), constant(_ROWS * lanes), _INTEGER
        ) as (lane, _):
            sums = _zeros(builder, vector, count * _ROWS)
            with cgutils.for_range(builder, width) as loop:
                position = builder.add(builder.mul(loop.index, constant(TILE)), lane)
                values = [
                    load_at(builder, x, builder.add(position, constant(v * lanes)), vector, size)
                    for v in range(_ROWS)
                ]
                slots = iter(sums)
                for start in starts:
                    value = splat(builder, builder.load(builder.gep(start, [loop.index])), lanes)
                    for row in values:
                        _add_square(builder, builder.fsub(row, value), next(slots))
            for s, slot in enumerate(sums):
                i, v = divmod(s, _ROWS)
                position = builder.mul(builder.add(point, constant(i)), constant(TILE))
                position = builder.add(builder.add(position, lane), constant(v * lanes))
                store_at(builder, builder.load(slot), output, position, size)
        return context.get_dummy_value()

    return sig, codegen


@inline
def tile_distance(tile, points, distances):
    """As ``tile_distances``, to the first point only."""
    _tile_group(tile, points, 0, 1, distances)


@inline
def tile_distances(tile, points, distances):
    """Squared distances of a tile's lanes to all points: ``distances[i * TILE + lane]``."""
    whole = len(points) // 4 * 4
    for i in range(0, whole, 4):
        _tile_group(tile, points, i, 4, distances)
    if whole < len(points):
        _tile_group(tile, points, whole, 2, distances)


@intrinsic
def take_lesser(typingctx, distances, closest, labels, row, label):
    """Where a tile's distances are less than those known, put them and ``label`` in their place."""
    sig = types.void(distances, closest, labels, types.intp, types.int32)

    def codegen(context, builder, signature, args):
        new, old, numbers = (
            data_pointer(context, builder, signature.args[i], args[i]) for i in range(3)
        )
        lanes = _lanes(distances.dtype)
        size = distances.dtype.bitwidth // 8
        vector = ir.VectorType(llvm_type(distances.dtype), lanes)
        label_vector = ir.VectorType(ir.IntType(32), lanes)
        label = splat(builder, args[4], lanes)
        for lane in range(0, TILE, lanes):
            at = builder.add(args[3], constant(lane))
            a = load_at(builder, new, constant(lane), vector, size)
            b = load_at(builder, old, at, vector, size)
            lesser = builder.fcmp_ordered("<", a, b)
            store_at(builder, builder.select(lesser, a, b), old, at, size)
            known = load_at(builder, numbers, at, label_vector, 4)
            store_at(builder, builder.select(lesser, label, known), numbers, at, 4)
        return context.get_dummy_value()

    return sig, codegen


@intrinsic
def sum_of_lesser(typingctx, distances, first, closest, row, weights):
    """Compare a tile's distances with those known.

    Returns the sum of ``weights[lane] * min(distances[first + lane], closest[row + lane])`` in
    float64, and the lanes where the first is the lesser, as the bits of a uint64.
    """
    result = types.Tuple((types.float64, types.uint64))
    sig = result(distances, types.intp, closest, types.intp, weights)

    def codegen(context, builder, signature, args):
        new, old, weight = (
            data_pointer(context, builder, signature.args[i], args[i]) for i in (0, 2, 4)
        )
        lanes = _lanes(distances.dtype)
        size = distances.dtype.bitwidth // 8
        vector = ir.VectorType(llvm_type(distances.dtype), lanes)
        wide = ir.VectorType(ir.DoubleType(), lanes)
        total = ir.Constant(wide, [0.0] * lanes)
        bits = ir.Constant(_INTEGER, 0)
        for lane in range(0, TILE, lanes):
            a = load_at(builder, new, builder.add(args[1], constant(lane)), vector, size)
            b = load_at(builder, old, builder.add(args[3], constant(lane)), vector, size)
            w = load_at(builder, weight, constant(lane), wide, 8)
            mask = builder.bitcast(builder.fcmp_ordered("<", a, b), ir.IntType(lanes))
            mask = builder.shl(builder.zext(mask, _INTEGER), constant(lane))
            bits = builder.or_(bits, mask)
            least = minimum(builder, a, b)
            if least.type != wide:
                least = builder.fpext(least, wide)
            total = fma(builder, least, w, total)
        total = sum_lanes(builder, total)
        return context.make_tuple(builder, signature.return_type, [total, bits])

    return sig, codegen
