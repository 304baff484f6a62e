"""The nearest and the second nearest centre of every row of a tile.

With the rows and centres taken relative to an origin, ``|x - c|^2 = |x|^2 + 2 s`` with the *score*
``s = |c|^2 / 2 - x.c``: the least score is the nearest centre. The L1 distance is its own score (as
``2 sum max(x, c) - sum x - sum c`` it is less exact and no faster). A block of rows and
``BLOCK`` centres is accumulated in registers, feature by feature, and compared at once.
"""

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastem.kernels.runtime.chunks import round_up
from fastem.kernels.runtime.compiling import kernel
from fastem.kernels.vectors.emit import (
    INDEX,
    Emitter,
    add_magnitude,
    add_square,
    constant,
    fma,
    load_at,
    maximum,
    minimum,
    splat,
    store_at,
    zeros_of,
)
from fastem.kernels.vectors.machine import LANES, TILE, VECTOR_BYTES, WIDE_REGISTER_FILE

BLOCK = 4  # centres accumulated together
VECTORS = 4 if WIDE_REGISTER_FILE else 2  # vectors of rows accumulated together

# Products are summed this many at a time, and the partial sums then: the rounding error grows with
# PARTIAL + n_features / PARTIAL instead of n_features, and so does the share of rows that float32
# can't decide (784 features: from a third of the rows of a split blob to hardly any).
PARTIAL = 32


@kernel
def pack_centers(centers, origin, scale, negated, half_norms):
    """Write centres as the kernels read them; return the greatest norm of a scaled centre.

    In one call: NumPy would take longer for few centres than a pass over few rows.

    Parameters
    ----------
    centers : float64 array of shape (n_clusters, n_features)
    origin : float64 array of shape (n_features,)
    scale : float
        A power of two.
    negated : float32 array of shape (n_clusters + 1, n_features)
        Gets ``-(centers - origin) * scale`` and a row of zeros.
    half_norms : float32 array of shape (n_clusters + 1,)
        Gets ``|c|^2 / 2`` of these, and infinity: the padding's score, which is never the least.
        A centre far beyond the rows may be infinite, too.
    """
    n_clusters, n_features = centers.shape
    greatest = np.float32(0)
    side_by_side = n_clusters - n_clusters % 4
    for j in range(0, side_by_side, 4):  # an addition waits for the one before
        for i in range(j, j + 4):
            for f in range(n_features):
                negated[i, f] = np.float32(-(centers[i, f] - origin[f]) * scale)
        first = second = third = fourth = 0.0
        for f in range(n_features):
            first += np.float64(negated[j, f]) * np.float64(negated[j, f])
            second += np.float64(negated[j + 1, f]) * np.float64(negated[j + 1, f])
            third += np.float64(negated[j + 2, f]) * np.float64(negated[j + 2, f])
            fourth += np.float64(negated[j + 3, f]) * np.float64(negated[j + 3, f])
        half_norms[j], half_norms[j + 1] = np.float32(0.5 * first), np.float32(0.5 * second)
        half_norms[j + 2], half_norms[j + 3] = np.float32(0.5 * third), np.float32(0.5 * fourth)
    for j in range(side_by_side, n_clusters):
        norm = 0.0
        for f in range(n_features):
            negated[j, f] = np.float32(-(centers[j, f] - origin[f]) * scale)
            norm += np.float64(negated[j, f]) * np.float64(negated[j, f])
        half_norms[j] = np.float32(0.5 * norm)
    for j in range(n_clusters):
        greatest = max(greatest, half_norms[j])
    negated[n_clusters] = np.float32(0)
    half_norms[n_clusters] = np.float32(np.inf)
    return np.sqrt(2.0 * np.float64(greatest))


def pad_order(indices, padding):
    """Centre numbers, filled up to whole blocks with ``padding``, the number of no centre."""
    n = len(indices)
    order = np.full(round_up(n, BLOCK), padding, np.int32)
    order[:n] = indices
    return order


def _add_product(builder, row, center, total):
    return fma(builder, row, center, total)


def _add_difference(builder, row, center, total):
    return add_magnitude(builder, builder.fsub(row, center), total)


def _sum_features(add, tile, norms):
    """An intrinsic's signature and code; ``add`` emits one feature's share."""
    sig = types.void(tile, types.intp, norms)

    def codegen(context, builder, signature, args):
        e = Emitter(context, builder, signature, args)
        x, output = e.pointers(0, 2)
        n_features = args[1]
        vector = ir.VectorType(ir.FloatType(), LANES)
        sums = e.zeros(vector, TILE // LANES)
        partial = e.zeros(vector, TILE // LANES)

        def accumulate(first, last, slots):
            for slot in slots:
                builder.store(zeros_of(vector), slot)
            with e.loop(first, last) as feature:
                at = e.times(feature, TILE)
                for v, slot in enumerate(slots):
                    lane = e.plus(at, v * LANES)
                    value = load_at(builder, x, lane, vector, VECTOR_BYTES)
                    builder.store(add(builder, value, builder.load(slot)), slot)

        short = builder.icmp_signed("<=", n_features, constant(PARTIAL))
        with builder.if_else(short) as (few, many):
            with few:
                accumulate(0, n_features, sums)
            with many:
                accumulate(0, PARTIAL, sums)
                with e.loop(PARTIAL, n_features, PARTIAL) as first:
                    last = e.plus(first, PARTIAL)
                    beyond = builder.icmp_signed("<", n_features, last)
                    accumulate(first, builder.select(beyond, n_features, last), partial)
                    for slot, addend in zip(sums, partial, strict=True):
                        builder.store(builder.fadd(builder.load(slot), builder.load(addend)), slot)
        for v, slot in enumerate(sums):
            store_at(builder, builder.load(slot), output, constant(v * LANES), 4)
        return e.nothing()

    return sig, codegen


@intrinsic
def squared_norms(typingctx, tile, n_features, norms):
    """Write each lane's sum of squares to ``norms`` (TILE values), summed as the scores are."""
    return _sum_features(add_square, tile, norms)


@intrinsic
def absolute_norms(typingctx, tile, n_features, norms):
    """Write each lane's sum of magnitudes to ``norms`` (TILE values)."""
    return _sum_features(add_magnitude, tile, norms)


def _compare(add, tile, centers, offsets, order, best, second, labels, *scores):
    """An intrinsic's signature and code; ``add`` emits one feature's share of a score.

    Where there is a last argument, all scores are written to it.
    """
    integer = types.intp
    outputs = best, second, labels, *scores
    sig = types.void(tile, integer, centers, offsets, order, integer, integer, *outputs)

    def codegen(context, builder, signature, args):
        e = Emitter(context, builder, signature, args)

        x, c, first_terms, numbers, *outputs = e.pointers(0, 2, 3, 4, 7, 8, 9)
        kept = e.pointers(10)[0] if scores else None
        n_features, start, stop = args[1], args[5], args[6]
        single = ir.FloatType()
        vector = ir.VectorType(single, LANES)
        label_vector = ir.VectorType(ir.IntType(32), LANES)
        infinity = splat(builder, ir.Constant(single, float("inf")), LANES)

        with e.loop(0, TILE, VECTORS * LANES) as lane:
            least = e.places(VECTORS, infinity)
            runner_up = e.places(VECTORS, infinity)
            nearest = e.zeros(label_vector, VECTORS)
            with e.loop(start, stop, BLOCK) as j:
                which = [builder.load(builder.gep(numbers, [e.plus(j, i)])) for i in range(BLOCK)]
                bases = []
                sums = []
                for number in which:
                    wide = builder.sext(number, INDEX)
                    bases.append(e.row(c, wide, n_features))
                    offset = splat(builder, builder.load(builder.gep(first_terms, [wide])), LANES)
                    sums.append(e.places(VECTORS, offset))

                def accumulate(first, last, slots):
                    with e.loop(first, last) as f:
                        at = e.plus(e.times(f, TILE), lane)
                        rows = [
                            load_at(builder, x, e.plus(at, v * LANES), vector, VECTOR_BYTES)
                            for v in range(VECTORS)
                        ]
                        for base, row in zip(bases, slots, strict=True):
                            value = splat(builder, builder.load(builder.gep(base, [f])), LANES)
                            for v in range(VECTORS):
                                total = add(builder, rows[v], value, builder.load(row[v]))
                                builder.store(total, row[v])

                def at_most(stop):
                    beyond = builder.icmp_signed("<", n_features, stop)
                    return builder.select(beyond, n_features, stop)

                accumulate(0, at_most(constant(PARTIAL)), sums)
                with e.loop(PARTIAL, n_features, PARTIAL) as first:
                    partial = [e.zeros(vector, VECTORS) for _ in range(BLOCK)]
                    accumulate(first, at_most(e.plus(first, PARTIAL)), partial)
                    for slots, row in zip(partial, sums, strict=True):
                        for v in range(VECTORS):
                            total = builder.fadd(builder.load(row[v]), builder.load(slots[v]))
                            builder.store(total, row[v])
                for i, (number, row) in enumerate(zip(which, sums, strict=True)):
                    number = splat(builder, number, LANES)
                    for v in range(VECTORS):
                        score, old = builder.load(row[v]), builder.load(least[v])
                        if scores:
                            at = e.plus(e.times(e.plus(j, i), TILE), e.plus(lane, v * LANES))
                            store_at(builder, score, kept, at, 4)
                        closer = builder.fcmp_ordered("<", score, old)
                        label = builder.select(closer, number, builder.load(nearest[v]))
                        builder.store(label, nearest[v])
                        loser = maximum(builder, score, old)
                        loser = minimum(builder, loser, builder.load(runner_up[v]))
                        builder.store(loser, runner_up[v])
                        builder.store(builder.select(closer, score, old), least[v])
            for v in range(VECTORS):
                at = e.plus(lane, v * LANES)
                for slots, output in zip((least, runner_up, nearest), outputs, strict=True):
                    store_at(builder, builder.load(slots[v]), output, at, 4)
        return e.nothing()

    return sig, codegen


@intrinsic
def nearest_two(
    typingctx, tile, n_features, centers, half_norms, order, start, stop, best, second, labels
):
    """Write each lane's least and second least score, and the centre of the least.

    ``order[start:stop]`` are the centres to compare (whole blocks); among equal scores the one
    that comes first in it wins. ``best``, ``second`` and ``labels`` have TILE values.
    """
    return _compare(_add_product, tile, centers, half_norms, order, best, second, labels)


@intrinsic
def nearest_two_of_all(
    typingctx, tile, n_features, centers, half_norms, order, start, stop, best, second, labels,
    scores,
):  # fmt: skip
    """As ``nearest_two``, and write all scores, (len(order), TILE), of ``order`` in its order."""
    return _compare(_add_product, tile, centers, half_norms, order, best, second, labels, scores)


@intrinsic
def nearest_two_manhattan(
    typingctx, tile, n_features, centers, offsets, order, start, stop, best, second, labels
):
    """As ``nearest_two``, with the L1 distance plus the centre's offset as the score."""
    return _compare(_add_difference, tile, centers, offsets, order, best, second, labels)
