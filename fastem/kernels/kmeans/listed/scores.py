"""The nearest and the second nearest of a few centres, by scores in float32.

The few are those of a row's own list and those of a list that all rows share. As in
``row_nearest.py``, vectors lie along the features; all scores of a row are accumulated together
and folded at once. A tile's scores are compared together: within a row, each step would wait for
the one before it.
"""

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastem.kernels.distances.rounding import chain_error
from fastem.kernels.runtime.chunks import ceil_div
from fastem.kernels.vectors.emit import (
    INDEX,
    Emitter,
    constant,
    fma,
    llvm_type,
    load_at,
    load_some,
    maximum,
    minimum,
    shuffle,
    splat,
    store_at,
    sum_lanes,
    sum_vectors,
    transpose_square,
    zeros_of,
)
from fastem.kernels.vectors.machine import LANES, TILE, VECTOR_BYTES, WIDE_REGISTER_FILE
from fastem.kernels.vectors.tiles import aligned_empty

#: How many centres a row's own list has, and how many the shared one.
LISTED = 8

#: Numbers of centres are bytes.
MOST_LISTED = 256


def empty_layout(n_clusters, n_features):
    """What :func:`lay_out_centers` writes to: (centres, vectors, lanes), float32."""
    shape = n_clusters, 1 + ceil_div(n_features, LANES), LANES
    layout = aligned_empty(int(np.prod(shape))).reshape(shape)
    layout[:] = 0
    return layout


def lay_out_centers(packed, layout):
    """Lay out packed centres as rows are compared with: what their scores start with, then them."""
    n_clusters, n_features = len(layout), packed.negated.shape[1]
    layout[:, 0, 0] = packed.half_norms[:n_clusters]
    layout.reshape(n_clusters, -1)[:, LANES : LANES + n_features] = packed.negated[:n_clusters]


def listed_error(n_features):
    """``e`` of ``rounding.py`` for these scores."""
    return chain_error(ceil_div(n_features, LANES) + LANES.bit_length())


_LIST = ir.VectorType(ir.IntType(8), LISTED)


@intrinsic
def score_listed(
    typingctx, X, row, scale, shift, layout, near, shared_layout, lane, norms, scores, numbers
):
    """Write a row's squared norm, its scores, and its own list's numbers to ``lane``.

    Parameters
    ----------
    X, row, scale, shift
        As ``tiles.py`` says.
    layout : float32 array
        From ``lay_out_centers``.
    near : uint8 array of shape (n_rows, LISTED)
        The rows' own lists.
    shared_layout : float32 array of shape (vectors, LISTED, lanes)
        The rows of ``layout`` that the other list names, vector by vector.
    norms : float32 array of TILE values
    scores : float32 array of shape (TILE, 2 * LISTED)
    numbers : uint8 array of shape (TILE, LISTED)
    """
    sig = types.void(
        X, types.intp, X.dtype, shift, layout, near, shared_layout, types.intp, norms, scores,
        numbers,
    )  # fmt: skip

    def codegen(context, builder, signature, args):
        e = Emitter(context, builder, signature, args)
        x, offsets, centers, lists, shared = e.pointers(0, 3, 4, 5, 6)
        norms, scores, numbers = e.pointers(8, 9, 10)
        row, scale, lane = args[1], args[2], args[7]
        width, size = e.extent(0, 1), X.dtype.bitwidth // 8
        stride = e.times(e.extent(4, 1), LANES)
        given = ir.VectorType(llvm_type(X.dtype), LANES)
        vector = ir.VectorType(ir.FloatType(), LANES)
        factor = splat(builder, scale, LANES)
        x = e.row(x, row, width)
        own = load_at(builder, lists, e.times(row, LISTED), _LIST, LISTED)
        store_at(builder, own, numbers, e.times(lane, LISTED), LISTED)
        starts = []
        for i in range(LISTED):
            number = builder.extract_element(own, ir.Constant(ir.IntType(32), i))
            starts.append(e.row(centers, builder.zext(number, INDEX), stride))
        (norm,) = e.zeros(vector, 1)

        def center_at(slot, feature):
            if slot < LISTED:
                return load_at(builder, starts[slot], e.plus(feature, LANES), vector, VECTOR_BYTES)
            at = e.times(e.plus(feature, LANES), LISTED)
            at = e.plus(at, (slot - LISTED) * LANES)
            return load_at(builder, shared, at, vector, VECTOR_BYTES)

        rest = builder.srem(width, constant(LANES))
        whole = builder.sub(width, rest)
        totals = []
        # All at once, or as many as there are registers for.
        together = 2 * LISTED if WIDE_REGISTER_FILE else LISTED
        for first in range(0, 2 * LISTED, together):
            slots = range(first, first + together)
            sums = [e.places(1, center_at(slot, constant(-LANES)))[0] for slot in slots]

            def accumulate(feature, values, slots=slots, sums=sums, first=first):
                offset = load_at(builder, offsets, feature, given, size)
                value = fma(builder, values, factor, offset)
                value = value if value.type == vector else builder.fptrunc(value, vector)
                if first == 0:
                    e.add_product(norm, value, value)
                for slot, total in zip(slots, sums, strict=True):
                    e.add_product(total, value, center_at(slot, feature))

            with e.loop(0, whole, LANES) as feature:
                accumulate(feature, load_at(builder, x, feature, given, size))
            with builder.if_then(builder.icmp_signed("!=", rest, constant(0))):
                accumulate(whole, load_some(builder, x, whole, given, size, rest))
            totals += [builder.load(total) for total in sums]
        for i in range(0, 2 * LISTED, LANES):
            summed = sum_vectors(builder, totals[i : i + LANES])
            store_at(builder, summed, scores, e.plus(e.times(lane, 2 * LISTED), i), 4)
        builder.store(sum_lanes(builder, builder.load(norm)), e.at(norms, lane))
        return e.nothing()

    return sig, codegen


@intrinsic
def nearest_two_listed(typingctx, scores, numbers, shared, best, second, beyond, nearest):
    """Write each lane's least and second least score, and the centre of the least.

    Parameters
    ----------
    scores, numbers
        From ``score_listed``.
    shared : uint8 array of LISTED values
        The list that all rows share. A centre on both lists counts once.
    best, second : float32 arrays of TILE values
    beyond : float32 array of TILE values
        Gets the least score of the shared centres that are not on the row's own list.
    nearest : int32 array of TILE values
    """
    sig = types.void(scores, numbers, shared, best, second, beyond, nearest)

    def codegen(context, builder, signature, args):
        e = Emitter(context, builder, signature, args)
        given, lists, shared, *outputs = e.pointers(0, 1, 2, 3, 4, 5, 6)
        vector = ir.VectorType(ir.FloatType(), LANES)
        integers = ir.VectorType(ir.IntType(32), LANES)
        infinity = splat(builder, ir.Constant(ir.FloatType(), float("inf")), LANES)
        with e.loop(0, TILE, LANES) as lane:
            columns = []
            for i in range(0, 2 * LISTED, LANES):
                square = []
                for r in range(LANES):
                    at = e.plus(e.times(e.plus(lane, r), 2 * LISTED), i)
                    square.append(load_at(builder, given, at, vector, 4))
                columns += transpose_square(builder, square)
            whole = ir.VectorType(ir.IntType(8), LANES * LISTED)
            whole = load_at(builder, lists, e.times(lane, LISTED), whole, LISTED)
            own = [
                shuffle(builder, whole, whole, range(i, LANES * LISTED, LISTED))
                for i in range(LISTED)
            ]
            least, runner_up, outside = infinity, infinity, infinity
            label = zeros_of(integers)
            for slot, score in enumerate(columns):
                if slot < LISTED:
                    number = builder.zext(own[slot], integers)
                else:
                    number = splat(builder, e.value(shared, slot - LISTED), LANES)
                    twice = builder.icmp_signed("==", own[0], number)
                    for listed in own[1:]:
                        twice = builder.or_(twice, builder.icmp_signed("==", listed, number))
                    score = builder.select(twice, infinity, score)
                    outside = minimum(builder, score, outside)
                    number = builder.zext(number, integers)
                closer = builder.fcmp_ordered("<", score, least)
                label = builder.select(closer, number, label)
                runner_up = minimum(builder, maximum(builder, score, least), runner_up)
                least = builder.select(closer, score, least)
            results = least, runner_up, outside, label
            for result, output in zip(results, outputs, strict=True):
                store_at(builder, result, output, lane, 4)
        return e.nothing()

    return sig, codegen
