"""The nearest and the second nearest centre of whole rows: vectors lie along the features.

As ``tile_nearest.py``, by the *score* ``|c|^2 / 2 - x.c``, but without tiles: to transpose a row
costs more than to compare it with a few centres. Two rows and a block of centres are accumulated
in registers, segment by segment of the features, so that the centres' segment stays in the fastest
cache. Rows are shifted, scaled and rounded to float32 as they are read.
"""

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastem.kernels.distances.listed import MOST_AHEAD
from fastem.kernels.runtime.chunks import ceil_div
from fastem.kernels.runtime.compiling import inline
from fastem.kernels.vectors.emit import (
    INDEX,
    Emitter,
    constant,
    fma,
    llvm_type,
    load_at,
    load_some,
    prefetch,
    shuffle,
    splat,
    store_at,
    sum_vectors,
)
from fastem.kernels.vectors.machine import LANES, TILE, VECTOR_BYTES, WIDE_REGISTER_FILE
from fastem.kernels.vectors.tiles import aligned_empty
from fastem.kernels.vectors.vector import broadcast, greater, lesser, load, store, where

_ROWS = 2  # accumulated together
_MOST_CENTERS = 10 if WIDE_REGISTER_FILE else 4  # likewise

# What the centres' segment may take of the fastest cache, and the most vectors of a row that are
# summed at a stretch, for the sake of the rounding error.
# With all of a cache of 32 kB, and rows fetched into it, 157 MB took 8.8 ms on two threads; with
# half of it, and rows fetched into the next cache, 6.5 (314 MB of float64: 14.1 and 9.6).
_SEGMENT_BYTES, _SEGMENT_VECTORS = 16384, 64

_AHEAD = 12288  # bytes that rows are fetched before they are compared


def empty_blocks(n_features, n_clusters):
    """What :func:`fill_blocks` writes to: (blocks, vectors, centres of a block, lanes), float32."""
    n_blocks = ceil_div(n_clusters, _MOST_CENTERS)
    size = ceil_div(n_clusters, n_blocks)
    shape = n_blocks, ceil_div(n_features, LANES), size + size % 2, LANES
    blocks = aligned_empty(int(np.prod(shape))).reshape(shape)
    blocks[:] = 0
    return blocks


def fill_blocks(negated, blocks):
    """Lay out the negated centres, (n_clusters, n_features), in the order they are read in."""
    n_clusters, n_features = negated.shape
    n_blocks, n_vectors, size, lanes = blocks.shape
    rows = np.zeros((n_blocks * size, n_vectors * lanes), np.float32)
    rows[:n_clusters, :n_features] = negated
    blocks[:] = rows.reshape(n_blocks, size, n_vectors, lanes).swapaxes(1, 2)


@inline
def segment_vectors(blocks):
    """How many vectors of a row are compared at a stretch."""
    n_blocks, n_vectors, size, _ = blocks.shape
    most = _SEGMENT_BYTES // (VECTOR_BYTES * n_blocks * size)
    n_segments = ceil_div(n_vectors, min(max(most, 1), _SEGMENT_VECTORS))
    return ceil_div(n_vectors, n_segments)


def longest_chain(blocks):
    """The most roundings that a product of a row's and a centre's value goes through."""
    n_segments = ceil_div(blocks.shape[1], segment_vectors(blocks))
    return segment_vectors(blocks) + LANES.bit_length() - 1 + n_segments


@inline
def n_scores(blocks):
    """How much scratch a tile's norms and scores take."""
    return blocks.shape[0] * (1 + blocks.shape[2]) * TILE


@intrinsic
def _compare_pair(
    typingctx, X, rows, first, ahead, scale, shift, blocks, block, start, stop, size, scores, lane
):
    """Add up the norms and the products with the ``size`` (literal) centres of a block.

    Of the two rows in ``rows[first:]`` and the features from ``start`` (a multiple of the lanes) to
    ``stop``; the rows in ``rows[ahead:]`` are fetched.
    """
    if not isinstance(size, types.IntegerLiteral):
        return None
    n_centers = size.literal_value
    integer = types.intp
    sig = types.void(
        X,
        rows,
        integer,
        integer,
        X.dtype,
        shift,
        blocks,
        integer,
        integer,
        integer,
        size,
        scores,
        integer,
    )

    def codegen(context, builder, signature, args):
        e = Emitter(context, builder, signature, args)
        x, numbers, offsets, c, output = e.pointers(0, 1, 5, 6, 11)
        first, ahead, scale, block, start, stop, lane = (args[i] for i in (2, 3, 4, 7, 8, 9, 12))
        width = e.extent(0, 1)
        size = X.dtype.bitwidth // 8
        given = ir.VectorType(llvm_type(X.dtype), LANES)
        vector = ir.VectorType(ir.FloatType(), LANES)
        zero = ir.Constant(vector, [0.0] * LANES)
        factor = splat(builder, scale, LANES)

        def starts_of_rows(at):
            for r in range(_ROWS):
                row = builder.load(builder.gep(numbers, [e.plus(at, r)]))
                yield e.row(x, builder.sext(row, INDEX), width)

        row_starts, later_starts = list(starts_of_rows(first)), list(starts_of_rows(ahead))
        features = e.times(e.extent(6, 1), LANES)
        c = e.row(c, e.times(block, features), n_centers)
        sums = e.zeros(vector, _ROWS * (1 + n_centers))

        def add_product(a, b, slot):
            builder.store(fma(builder, a, b, builder.load(slot)), slot)

        def accumulate(feature, load_row):
            offset = load_at(builder, offsets, feature, given, size)
            for row in later_starts:
                for line in range(0, LANES * size, 64):
                    prefetch(builder, row, e.plus(feature, line // size), nearest=False)
            values = []
            for row in row_starts:
                value = fma(builder, load_row(row, feature), factor, offset)
                values.append(value if value.type == vector else builder.fptrunc(value, vector))
            slots = iter(sums)
            for value in values:
                add_product(value, value, next(slots))
            at = e.times(feature, n_centers)
            for i in range(n_centers):
                center = load_at(builder, c, e.plus(at, i * LANES), vector, 4)
                for value in values:
                    add_product(value, center, next(slots))

        rest = builder.srem(builder.sub(stop, start), constant(LANES))
        whole = builder.sub(stop, rest)
        with e.loop(start, whole, LANES) as feature:
            accumulate(feature, lambda row, at: load_at(builder, row, at, given, size))
        with builder.if_then(builder.icmp_signed("!=", rest, constant(0))):
            accumulate(whole, lambda row, at: load_some(builder, row, at, given, size, rest))
        totals = [builder.load(slot) for slot in sums]
        totals += [zero] * (-len(totals) % LANES)
        summed = [sum_vectors(builder, totals[i : i + LANES]) for i in range(0, len(totals), LANES)]
        at = e.times(block, (1 + n_centers) * TILE)
        at = e.plus(at, lane)
        pair = ir.VectorType(ir.FloatType(), _ROWS)
        for i in range(1 + n_centers):
            numbered, inside = divmod(i * _ROWS, LANES)
            part = shuffle(
                builder, summed[numbered], summed[numbered], range(inside, inside + _ROWS)
            )
            position = e.plus(at, i * TILE)
            part = builder.fadd(part, load_at(builder, output, position, pair, 4))
            store_at(builder, part, output, position, 4)
        return e.nothing()

    return sig, codegen


@inline
def _compare_segment(X, rows, first, n_rows, scale, shift, blocks, start, stop, scores):
    """Add a segment's norms and products to those of listed rows, in pairs."""
    ahead = first + min(max(_AHEAD // (X.itemsize * X.shape[1]), 1) * _ROWS, MOST_AHEAD)
    size = blocks.shape[2]
    for lane in range(0, n_rows, _ROWS):
        at, later = first + lane, ahead + lane
        for b in range(blocks.shape[0]):
            if size == 2:
                _compare_pair(
                    X, rows, at, later, scale, shift, blocks, b, start, stop, 2, scores, lane
                )
            elif size == 4:
                _compare_pair(
                    X, rows, at, later, scale, shift, blocks, b, start, stop, 4, scores, lane
                )
            elif size == 6:
                _compare_pair(
                    X, rows, at, later, scale, shift, blocks, b, start, stop, 6, scores, lane
                )
            elif size == 8:
                _compare_pair(
                    X, rows, at, later, scale, shift, blocks, b, start, stop, 8, scores, lane
                )
            else:
                _compare_pair(
                    X, rows, at, later, scale, shift, blocks, b, start, stop, 10, scores, lane
                )


@inline
def _least_two(scores, n_clusters, size, best, second, nearest):
    for lane in range(0, TILE, LANES):
        infinity = broadcast(np.float32(np.inf), LANES)
        least, runner_up, label = infinity, infinity, broadcast(np.int32(0), LANES)
        for j in range(n_clusters):
            at = (j + j // size + 1) * TILE
            score = load(scores, at + lane, LANES)
            closer = score < least
            label = where(closer, broadcast(np.int32(j), LANES), label)
            runner_up = lesser(greater(score, least), runner_up)
            least = where(closer, score, least)
        store(least, best, lane)
        store(runner_up, second, lane)
        store(label, nearest, lane)


@inline
def nearest_two_rows(
    X, rows, first, n_rows, scale, shift, blocks, half_norms, scores, best, second, nearest
):
    """Write each listed row's least and second least score, and the centre of the least.

    Parameters
    ----------
    X : array of shape (n, n_features), float32 or float64
    rows : int32 array
        ``rows[first : first + n_rows]`` are the rows' numbers; ``LIST_SLACK`` more numbers of
        rows follow, those that come next as far as they are known.
    n_rows : int
        At most TILE.
    scale, shift
        As ``tiles.py`` says.
    blocks : float32 array
        From ``fill_blocks``.
    half_norms : float32 array of at least n_clusters + 1 values
    scores : float32 scratch of ``n_scores(blocks)`` values
        The first ``n_rows`` are the rows' squared norms afterwards.
    best, second, nearest
        Of TILE values, of which ``n_rows`` are set; what follows means nothing.
    """
    n_blocks, _, size, _ = blocks.shape
    n_clusters = len(half_norms) - 1
    for line in range(n_blocks * (1 + size)):
        j = line - line // (1 + size) - 1
        start = half_norms[j] if line % (1 + size) != 0 and j < n_clusters else np.float32(0)
        for lane in range(0, TILE, LANES):
            store(broadcast(start, LANES), scores, line * TILE + lane)
    step = segment_vectors(blocks) * LANES
    for feature in range(0, X.shape[1], step):
        stop = min(feature + step, X.shape[1])
        _compare_segment(X, rows, first, n_rows, scale, shift, blocks, feature, stop, scores)
    _least_two(scores, n_clusters, size, best, second, nearest)
