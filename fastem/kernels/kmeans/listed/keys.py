"""The least of a tile's scores, with the centres' numbers in their lowest bits."""

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastem.kernels.distances.tile_nearest import BLOCK
from fastem.kernels.vectors.emit import Emitter, constant, maximum, minimum, splat, store_at
from fastem.kernels.vectors.machine import LANES, TILE

#: How many of a lane's least scores are found.
N_KEYS = 9


@intrinsic
def least_keys(typingctx, scores, n_scores, keys):
    """Write each lane's least scores with their numbers, in rising order, and what others exceed.

    A key's lowest eight bits are a score's number, of less than 256, so that a key may be off by
    the share 2^-15 of the score, which is kept within 1e30.

    The two least of every eighth score are found first, and the least of these then: seldom are
    three of the least so many scores apart, and to find the nine least of all takes twice as long.

    Parameters
    ----------
    scores : float32 array
        ``n_scores`` times TILE values.
    n_scores : int
        A multiple of BLOCK, 16 at least. Infinite scores at the end mean nothing.
    keys : float32 array of shape (N_KEYS, TILE)
        The last are not of scores: no score of another number than the others' is less.
    """
    sig = types.void(scores, types.intp, keys)

    def codegen(context, builder, signature, args):
        e = Emitter(context, builder, signature, args)
        given, output = e.pointers(0, 2)
        vector = ir.VectorType(ir.FloatType(), LANES)
        integers = ir.VectorType(ir.IntType(32), LANES)
        most = splat(builder, ir.Constant(ir.FloatType(), 1e30), LANES)
        infinity = splat(builder, ir.Constant(ir.FloatType(), float("inf")), LANES)
        high = ir.Constant(integers, [-256] * LANES)

        def insert(key, slots):
            """Keep the least keys in rising order; what is left."""
            for slot in slots:
                old = builder.load(slot)
                builder.store(minimum(builder, key, old), slot)
                key = maximum(builder, key, old)
            return key

        with e.loop(0, TILE, LANES) as lane:
            parts = [e.places(2, infinity) for _ in range(2 * BLOCK)]
            (others,) = e.places(1, infinity)

            def insert_block(first, parts, lane=lane, others=others):
                for i, part in enumerate(parts):
                    j = e.plus(first, i)
                    score = e.lanes(given, j, lane, vector)
                    score = maximum(builder, minimum(builder, score, most), builder.fneg(most))
                    number = splat(builder, builder.trunc(j, ir.IntType(32)), LANES)
                    key = builder.and_(builder.bitcast(score, integers), high)
                    key = builder.bitcast(builder.or_(key, number), vector)
                    key = insert(key, part)
                    builder.store(minimum(builder, key, builder.load(others)), others)

            rest = builder.srem(args[1], constant(2 * BLOCK))
            whole = builder.sub(args[1], rest)
            with e.loop(0, whole, 2 * BLOCK) as first:
                insert_block(first, parts)
            with builder.if_then(builder.icmp_signed("!=", rest, constant(0))):
                insert_block(whole, parts[:BLOCK])
            least = e.places(N_KEYS, infinity)
            for slot in [slot for part in parts for slot in part]:
                insert(builder.load(slot), least)
            last = minimum(builder, builder.load(least[-1]), builder.load(others))
            builder.store(last, least[-1])
            for i, slot in enumerate(least):
                at = e.plus(lane, i * TILE)
                store_at(builder, builder.load(slot), output, at, 4)
        return e.nothing()

    return sig, codegen
