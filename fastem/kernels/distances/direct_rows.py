"""Squared distances from whole rows to a few points, by direct differences.

``|x - c|^2`` as a sum of squared differences has a relative error of a few roundings wherever the
rows lie, unlike ``|x|^2 + |c|^2 - 2 x.c``, at the price of one more instruction a feature. Rows and
points are in the rows' own dtype. Points come in pairs: :func:`pad_points` repeats the last.
"""

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastem.kernels.distances.listed import MOST_AHEAD
from fastem.kernels.runtime.compiling import inline
from fastem.kernels.vectors.emit import (
    INDEX,
    Emitter,
    add_square,
    constant,
    llvm_type,
    load_at,
    prefetch,
    shuffle,
    splat,
    store_at,
    sum_vectors,
    zeros_of,
)
from fastem.kernels.vectors.machine import TILE, WIDE_REGISTER_FILE, vector_lanes

# Rows of fewer bytes are transposed (``direct_tiles.py``), so that a vector holds one feature of
# several rows; of more, it holds several features of one row. Any such row fills a vector of any
# machine.
WIDE_ROW = 192

_ROWS = 4 if WIDE_REGISTER_FILE else 2  # accumulated together
# Listed rows are fetched so many bytes before they are compared: the machine's own prefetching is
# late for rows taken several at a time.
_AHEAD = 8192


def pad_points(points, scale, dtype):
    """Points as the kernels take them.

    Parameters
    ----------
    points : ndarray of shape (n_points, n_features)
    scale : float
        What they are multiplied by.
    dtype : dtype
        The rows'.

    Returns
    -------
    ndarray of shape (n_points + n_points % 2, n_features), C-contiguous
        In pairs: the last is repeated.
    """
    n_points = len(points)
    if n_points == 0:
        return np.empty(points.shape, dtype)
    padded = np.empty((n_points + n_points % 2, points.shape[1]), dtype)
    padded[:n_points] = points
    padded[n_points:] = padded[n_points - 1 : n_points]
    padded *= dtype.type(scale)
    return padded


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
        e = Emitter(context, builder, signature, args)
        x, numbers, c, output = e.pointers(0, 1, 5, 8)
        width = e.extent(0, 1)
        at, ahead, scale, point, lane = args[2], args[3], args[4], args[6], args[9]
        lanes = vector_lanes(X.dtype)
        size = X.dtype.bitwidth // 8
        vector = ir.VectorType(llvm_type(X.dtype), lanes)
        factor = splat(builder, scale, lanes)

        def starts_of_rows(first):
            for r in range(_ROWS):
                row = builder.load(builder.gep(numbers, [e.plus(first, r)]))
                yield e.row(x, builder.sext(row, INDEX), width)

        row_starts = list(starts_of_rows(at))
        later_starts = list(starts_of_rows(ahead))
        point_starts = [e.row(c, e.plus(point, i), width) for i in range(count)]
        sums = e.zeros(vector, count * _ROWS)

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
                        difference = builder.select(mask, difference, zeros_of(vector))
                    slot = next(slots)
                    builder.store(add_square(builder, difference, builder.load(slot)), slot)

        rest = builder.srem(width, constant(lanes))
        whole = builder.sub(width, rest)
        with e.loop(0, whole, lanes) as feature:
            accumulate(feature)
        with builder.if_then(builder.icmp_signed("!=", rest, constant(0))):
            # The last vector overlaps the one before it rather than the row's end.
            narrow = ir.IntType(32)
            numbers = ir.Constant(ir.VectorType(narrow, lanes), list(range(lanes)))
            overlap = builder.trunc(builder.sub(constant(lanes), rest), narrow)
            new = builder.icmp_signed(">=", numbers, splat(builder, overlap, lanes))
            accumulate(builder.sub(width, constant(lanes)), new)
        totals = [builder.load(slot) for slot in sums]
        totals += [zeros_of(vector)] * (-len(totals) % lanes)
        summed = [sum_vectors(builder, totals[i : i + lanes]) for i in range(0, len(totals), lanes)]
        run = min(_ROWS, lanes)
        for start in range(0, count * _ROWS, run):
            part = summed[start // lanes]
            if run < lanes:
                first = start % lanes
                part = shuffle(builder, part, part, range(first, first + run))
            i, r = divmod(start, _ROWS)
            position = e.plus(e.plus(e.times(e.plus(point, i), TILE), lane), r)
            store_at(builder, part, output, position, size)
        return e.nothing()

    return sig, codegen


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
    ahead = first + min(max(ahead, _ROWS), MOST_AHEAD)
    whole = len(points) // 4 * 4
    for j in range(0, n_rows, _ROWS):
        for i in range(0, whole, 4):
            _row_group(X, rows, first + j, ahead + j, scale, points, i, 4, distances, j)
        if whole < len(points):
            _row_group(X, rows, first + j, ahead + j, scale, points, whole, 2, distances, j)
