"""The nearest and the second nearest centre of every row of a tile.

With the rows and centres taken relative to an origin, ``|x - c|^2 = |x|^2 + 2 s`` with the *score*
``s = |c|^2 / 2 - x.c``: the least score is the nearest centre. The L1 distance is its own score (as
``2 sum max(x, c) - sum x - sum c`` it is less exact and no faster). A block of rows and
``BLOCK`` centres is accumulated in registers, feature by feature, and compared at once.
"""

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from fastem.kernels.runtime.chunks import round_up
from fastem.kernels.runtime.compiling import kernel
from fastem.kernels.vectors.emit import (
    call_llvm,
    constant,
    data_pointer,
    fma,
    load_at,
    maximum,
    minimum,
    splat,
    store_at,
)
from fastem.kernels.vectors.machine import LANES, TILE, VECTOR_BYTES, WIDE_REGISTER_FILE

BLOCK = 4  # centres accumulated together
VECTORS = 4 if WIDE_REGISTER_FILE else 2  # vectors of rows accumulated together

# Products are summed this many at a time, and the partial sums then: the rounding error grows with
# PARTIAL + n_features / PARTIAL instead of n_features, and so does the share of rows that float32
# can't decide (784 features: from a third of the rows of a split blob to hardly any).
PARTIAL = 32


@kernel
def pack_centers(centers, scale, negated, half_norms):
    """Write centres as the kernels read them; return the greatest norm of a scaled centre.

    In one call: NumPy would take longer for few centres than a pass over few rows.

    Parameters
    ----------
    centers : array of shape (n_clusters, n_features), float32 or float64
    scale : float
        A power of two.
    negated : float32 array of shape (n_clusters + 1, n_features)
        Gets ``-centers * scale`` and a row of zeros.
    half_norms : float32 array of shape (n_clusters + 1,)
        Gets ``|c|^2 / 2`` of these, and infinity: the padding's score, which is never the least.
        A centre far beyond the rows may be infinite, too.
    """
    n_clusters, n_features = centers.shape
    greatest = np.float32(0)
    for j in range(n_clusters):
        norm = 0.0
        for f in range(n_features):
            negated[j, f] = np.float32(-centers[j, f] * scale)
            norm += np.float64(negated[j, f]) * np.float64(negated[j, f])
        half_norms[j] = np.float32(0.5 * norm)
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


def _add_square(builder, value, total):
    return fma(builder, value, value, total)


def _add_magnitude(builder, value, total):
    return builder.fadd(total, call_llvm(builder, "fabs", [value]))


def _add_product(builder, row, center, total):
    return fma(builder, row, center, total)


def _add_difference(builder, row, center, total):
    return _add_magnitude(builder, builder.fsub(row, center), total)


def _sum_features(add, tile, norms):
    """An intrinsic's signature and code; ``add`` emits one feature's share."""
    sig = types.void(tile, types.intp, norms)

    def codegen(context, builder, signature, args):
        x = data_pointer(context, builder, signature.args[0], args[0])
        output = data_pointer(context, builder, signature.args[2], args[2])
        n_features = args[1]
        vector = ir.VectorType(ir.FloatType(), LANES)
        zero = ir.Constant(vector, [0.0] * LANES)
        n_vectors = TILE // LANES
        sums = [cgutils.alloca_once(builder, vector) for _ in range(n_vectors)]
        partial = [cgutils.alloca_once(builder, vector) for _ in range(n_vectors)]

        def accumulate(first, last, slots):
            for slot in slots:
                builder.store(zero, slot)
            with cgutils.for_range_slice(builder, first, last, constant(1), ir.IntType(64)) as (
                feature,
                _,
            ):
                at = builder.mul(feature, constant(TILE))
                for v, slot in enumerate(slots):
                    lane = builder.add(at, constant(v * LANES))
                    value = load_at(builder, x, lane, vector, VECTOR_BYTES)
                    builder.store(add(builder, value, builder.load(slot)), slot)

        short = builder.icmp_signed("<=", n_features, constant(PARTIAL))
        with builder.if_else(short) as (few, many):
            with few:
                accumulate(constant(0), n_features, sums)
            with many:
                accumulate(constant(0), constant(PARTIAL), sums)
                with cgutils.for_range_slice(
                    builder, constant(PARTIAL), n_features, constant(PARTIAL), ir.IntType(64)
                ) as (first, _):
                    last = builder.add(first, constant(PARTIAL))
                    beyond = builder.icmp_signed("<", n_features, last)
                    accumulate(first, builder.select(beyond, n_features, last), partial)
                    for slot, addend in zip(sums, partial, strict=True):
                        builder.store(builder.fadd(builder.load(slot), builder.load(addend)), slot)
        for v, slot in enumerate(sums):
            store_at(builder, builder.load(slot), output, constant(v * LANES), 4)
        return context.get_dummy_value()

    return sig, codegen


@intrinsic
def squared_norms(typingctx, tile, n_features, norms):
    """Write each lane's sum of squares to ``norms`` (TILE values), summed as the scores are."""
    return _sum_features(_add_square, tile, norms)


@intrinsic
def absolute_norms(typingctx, tile, n_features, norms):
    """Write each lane's sum of magnitudes to ``norms`` (TILE values)."""
    return _sum_features(_add_magnitude, tile, norms)


def _compare(add, tile, centers, offsets, order, best, second, labels):
    """An intrinsic's signature and code; ``add`` emits one feature's share of a score."""
    integer = types.intp
    sig = types.void(tile, integer, centers, offsets, order, integer, integer, best, second, labels)

    def codegen(context, builder, signature, args):
        # Vectors that don't fit into registers are kept on the stack. Without this, they straddle
        # cache lines there: 2 features and 8 clusters took a third more time.
        builder.function.attributes.alignstack = VECTOR_BYTES

        def pointer(i):
            return data_pointer(context, builder, signature.args[i], args[i])

        x, c, first_terms, numbers = pointer(0), pointer(2), pointer(3), pointer(4)
        outputs = [pointer(i) for i in (7, 8, 9)]
        n_features, start, stop = args[1], args[5], args[6]
        single = ir.FloatType()
        vector = ir.VectorType(single, LANES)
        label_vector = ir.VectorType(ir.IntType(32), LANES)
        zero = ir.Constant(vector, [0.0] * LANES)
        infinity = splat(builder, ir.Constant(single, float("inf")), LANES)

        with cgutils.for_range_slice(
            builder, constant(0), constant(TILE), constant(VECTORS * LANES), ir.IntType(64)
        ) as (lane, _):
            least = [cgutils.alloca_once_value(builder, infinity) for _ in range(VECTORS)]
            runner_up = [cgutils.alloca_once_value(builder, infinity) for _ in range(VECTORS)]
            nearest = [cgutils.alloca_once(builder, label_vector) for _ in range(VECTORS)]
            for v in range(VECTORS):
                builder.store(infinity, least[v])
                builder.store(infinity, runner_up[v])
                builder.store(ir.Constant(label_vector, [0] * LANES), nearest[v])

            with cgutils.for_range_slice(builder, start, stop, constant(BLOCK), ir.IntType(64)) as (
                j,
                _,
            ):
                which = [
                    builder.load(builder.gep(numbers, [builder.add(j, constant(i))]))
                    for i in range(BLOCK)
                ]
                bases = []
                sums = []
                for number in which:
                    wide = builder.sext(number, ir.IntType(64))
                    bases.append(builder.gep(c, [builder.mul(wide, n_features)]))
                    offset = splat(builder, builder.load(builder.gep(first_terms, [wide])), LANES)
                    row = [cgutils.alloca_once(builder, vector) for _ in range(VECTORS)]
                    for slot in row:
                        builder.store(offset, slot)
                    sums.append(row)

                def accumulate(first, last, slots):
                    with cgutils.for_range_slice(
                        builder, first, last, constant(1), ir.IntType(64)
                    ) as (f, _):
                        at = builder.add(builder.mul(f, constant(TILE)), lane)
                        rows = [
                            load_at(
                                builder,
                                x,
                                builder.add(at, constant(v * LANES)),
                                vector,
                                VECTOR_BYTES,
                            )
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

                accumulate(constant(0), at_most(constant(PARTIAL)), sums)
                with cgutils.for_range_slice(
                    builder, constant(PARTIAL), n_features, constant(PARTIAL), ir.IntType(64)
                ) as (first, _):
                    partial = [
                        [cgutils.alloca_once(builder, vector) for _ in range(VECTORS)]
                        for _ in range(BLOCK)
                    ]
                    for slots in partial:
                        for slot in slots:
                            builder.store(zero, slot)
                    accumulate(first, at_most(builder.add(first, constant(PARTIAL))), partial)
                    for slots, row in zip(partial, sums, strict=True):
                        for v in range(VECTORS):
                            total = builder.fadd(builder.load(row[v]), builder.load(slots[v]))
                            builder.store(total, row[v])
                for number, row in zip(which, sums, strict=True):
                    number = splat(builder, number, LANES)
                    for v in range(VECTORS):
                        score, old = builder.load(row[v]), builder.load(least[v])
                        closer = builder.fcmp_ordered("<", score, old)
                        label = builder.select(closer, number, builder.load(nearest[v]))
                        builder.store(label, nearest[v])
                        loser = maximum(builder, score, old)
                        loser = minimum(builder, loser, builder.load(runner_up[v]))
                        builder.store(loser, runner_up[v])
                        builder.store(builder.select(closer, score, old), least[v])
            for v in range(VECTORS):
                at = builder.add(lane, constant(v * LANES))
                for slots, output in zip((least, runner_up, nearest), outputs, strict=True):
                    store_at(builder, builder.load(slots[v]), output, at, 4)
        return context.get_dummy_value()

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
def nearest_two_manhattan(
    typingctx, tile, n_features, centers, offsets, order, start, stop, best, second, labels
):
    """As ``nearest_two``, with the L1 distance plus the centre's offset as the score."""
    return _compare(_add_difference, tile, centers, offsets, order, best, second, labels)
