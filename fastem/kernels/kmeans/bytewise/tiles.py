"""Scores of a tile's rows and blocks of centres from bytes, with bounds on what these leave out.

A row is ``x = step * codes + rest`` with codes from -127 to 127, and so is a centre ``c``. The
product of the codes is a sum of integers, which is exact and takes a quarter of float32's time if
the CPU adds up four products of bytes a lane at once. Of the *score* ``s = |c|^2 / 2 - x.c`` it
leaves out at most::

    |c's rest| |x's part coded| + |x's rest| |c|

Such an instruction takes unsigned bytes and signed ones. The rows' have 128 added; the centres'
are negated, and 128 times their sum is what the sums start with. On the way from there to
``-sum(x c)`` the first ``F`` of ``n`` products have replaced their share of the start, so that a
sum is never more than ``127 (128 (n - F) + 127 F) < 2^14 n``: it fits into 32 bits with up to
``MOST_FEATURES`` features.
"""

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from fastem.kernels.runtime.compiling import inline
from fastem.kernels.vectors.emit import (
    Emitter,
    call_llvm,
    constant,
    fma,
    load_at,
    maximum,
    minimum,
    prefetch,
    splat,
    store_at,
)
from fastem.kernels.vectors.machine import BYTE_DOTS, LANES, TILE, VECTOR_BYTES, WIDE_REGISTER_FILE

BLOCK = 4  # centres accumulated together
_VECTORS = 4 if WIDE_REGISTER_FILE else 2  # vectors of rows accumulated together
GROUP = min(_VECTORS * LANES, TILE)  # rows accumulated together

MOST_FEATURES = 1 << 16
CODES = 127
# No step is smaller: products of two steps are normal numbers of float32, and so are squares.
LEAST_STEP = 2.0**-60

# Adding it rounds a small number of float32 to an integer, which its low bits are then.
_ROUNDING = 1.5 * 2.0**23


def code_values(builder, values, inverse, step, rest):
    """A vector's codes in its low bits, while code is emitted.

    The squares of what they leave are added to the place ``rest``. ``inverse`` and ``step`` are
    vectors. Of values that aren't finite, what is left isn't either.
    """
    rounding = ir.Constant(values.type, [_ROUNDING] * values.type.count)
    shifted = fma(builder, values, inverse, rounding)
    left = fma(builder, builder.fneg(builder.fsub(shifted, rounding)), step, values)
    builder.store(fma(builder, left, left, builder.load(rest)), rest)
    return builder.bitcast(shifted, ir.VectorType(ir.IntType(32), values.type.count))


@intrinsic
def code_tile_in_seven_bits(typingctx, tile, n_features, steps, rests, codes):
    """Code a tile's rows with numbers from -63 to 63.

    Parameters
    ----------
    tile : float32 array of n_features * TILE values
    n_features : int
    steps, rests : float32 arrays of TILE values
        Get each row's step; the squared norm of what the codes leave, not finite where the row
        isn't, whose codes mean nothing.
    codes : int32 array of ceil(n_features / 4) * TILE values
        Gets the codes of four features of a row each, plus 64, as bytes.
    """
    most, flip = 63, 0x40404040  # the latter adds 64 to a code of two's complement
    sig = types.void(tile, types.intp, steps, rests, codes)

    def codegen(context, builder, signature, args):
        e = Emitter(context, builder, signature, args)
        x, step_pointer, rest_pointer, output = e.pointers(0, 2, 3, 4)
        n_features = args[1]
        vector = ir.VectorType(ir.FloatType(), LANES)
        integers = ir.VectorType(ir.IntType(32), LANES)
        last = builder.sub(n_features, constant(1))
        n_quads = builder.sdiv(e.plus(n_features, 3), constant(4))

        def every(value, of=vector):
            return ir.Constant(of, [value] * LANES)

        with e.loop(0, TILE, LANES) as lane:
            (greatest,) = e.zeros(vector, 1)
            with e.loop(0, n_features) as f:
                size = call_llvm(builder, "fabs", [e.lanes(x, f, lane, vector)])
                builder.store(maximum(builder, size, builder.load(greatest)), greatest)
            step = builder.fmul(builder.load(greatest), every(1 / most))
            tiny = builder.fcmp_ordered("<", step, every(LEAST_STEP))
            step = builder.select(tiny, every(LEAST_STEP), step)
            inverse = builder.fdiv(every(1.0), step, flags=["contract"])
            (rest,) = e.zeros(vector, 1)
            with e.loop(0, n_quads) as quad:
                word = every(0, integers)
                for i in range(4):
                    feature = e.plus(e.times(quad, 4), i)
                    missing = builder.icmp_signed(">", feature, last)
                    feature = builder.select(missing, last, feature)
                    value = e.lanes(x, feature, lane, vector)
                    value = builder.select(missing, every(0.0), value)
                    byte = code_values(builder, value, inverse, step, rest)
                    byte = builder.and_(byte, every(2 * most + 1, integers))
                    word = builder.or_(word, builder.shl(byte, every(8 * i, integers)))
                word = builder.xor(word, every(flip, integers))
                store_at(builder, word, output, e.plus(e.times(quad, TILE), lane), VECTOR_BYTES)
            store_at(builder, step, step_pointer, lane, VECTOR_BYTES)
            store_at(builder, builder.load(rest), rest_pointer, lane, VECTOR_BYTES)
        return e.nothing()

    return sig, codegen


@inline
def bound_norms(square, left, n_features, lane, rows):
    """Write the bounds on a coded row that ``next_promising`` takes; one on the row's own norm.

    Its squared norm and that of what its codes leave are sums in float32.
    """
    grown = 1 + (n_features + 8) * 2.0**-22  # covers the roundings of sums of squares
    norm = np.sqrt(square * grown)
    # Of rounding to float32 first.
    rest = np.sqrt(left * grown) + norm * 2.0**-20 + 2.0**-60
    rows[1, lane], rows[2, lane] = norm + rest, rest
    return norm


def add_byte_products(builder, total, unsigned, signed):
    """Add each lane's four products of bytes to its sum."""
    if not BYTE_DOTS:  # for tests: no algorithm compares in bytes there
        for i in range(4):
            places, top, low = (
                ir.Constant(total.type, [value] * LANES) for value in (8 * i, 24, 255)
            )
            x = builder.and_(builder.lshr(unsigned, places), low)
            y = builder.ashr(builder.shl(signed, builder.sub(top, places)), top)
            total = builder.add(total, builder.mul(x, y))
        return total
    bits = VECTOR_BYTES * 8
    byte_vector = ir.VectorType(ir.IntType(8), VECTOR_BYTES)
    function = cgutils.get_or_insert_function(
        builder.module,
        ir.FunctionType(total.type, [total.type, byte_vector, byte_vector]),
        f"llvm.x86.avx512.vpdpbusd.{bits}",
    )
    pair = (builder.bitcast(operand, byte_vector) for operand in (unsigned, signed))
    return builder.call(function, [total, *pair])


@intrinsic
def next_promising(
    typingctx,
    codes,
    n_quads,
    centers,
    limits,
    rows,
    first,
    stop,
    least,
    beyond,
    own,
    outer,
    scores,
    lanes,
    X,
    ahead,
):
    """Compare groups of rows with blocks of centres up to the first that may hold a nearest one.

    A *unit* is a block of centres and a group of a tile's rows, numbered with the groups running
    fastest.

    Parameters
    ----------
    codes : int32 array
        A tile's rows, from ``rows.transpose_words``.
    n_quads : int
    centers : CodedCenters
    limits : float32 array of shape (n_blocks, 3)
        The greatest ``rest``, ``length`` and ``slack`` of each block's centres.
    rows : float32 array of shape (3, TILE)
        The rows' steps, the greatest norms of what their codes stand for, and of what these leave.
    first, stop : int
        The units to compare.
    least : float32 array of TILE values
        An upper bound of each row's least score, which is lowered.
    beyond : float32 array of TILE values
        A lower bound of all scores passed over, which is lowered.
    own : int32 array of shape (2, TILE)
        The first of a row's own blocks, and how many these are.
    outer : float32 array of TILE values
        A lower bound of the scores of each row's other blocks, which is lowered.
    scores : float32 array of (BLOCK + 1) * GROUP values
        Gets the scores of the unit returned, and lower bounds of each row's least.
    lanes : uint64 array of one value
        Gets the rows of the group to which one of the unit's centres may be nearest.
    X, ahead
        The row ``X[ahead]`` is fetched meanwhile.

    Returns
    -------
    int
        The unit, or ``stop``.
    """
    sig = types.intp(
        codes,
        types.intp,
        centers,
        limits,
        rows,
        types.intp,
        types.intp,
        least,
        beyond,
        own,
        outer,
        scores,
        lanes,
        X,
        types.intp,
    )

    def codegen(context, builder, signature, args):
        e = Emitter(context, builder, signature, args)
        x, limit, row, least_pointer, beyond_pointer = e.pointers(0, 3, 4, 7, 8)
        own, outer_pointer, output, mask_pointer = e.pointers(9, 10, 11, 12)
        later = e.row(*e.pointers(13), args[14], e.extent(13, 1))
        n_quads, first, stop = args[1], args[5], args[6]
        c, starts, steps, halves = (
            e.field(2, name).data for name in ("codes", "starts", "steps", "halves")
        )
        integer = ir.IntType(32)
        vector = ir.VectorType(ir.FloatType(), LANES)
        integers = ir.VectorType(integer, LANES)
        n_vectors = GROUP // LANES

        unit = cgutils.alloca_once(builder, first.type)
        found = cgutils.alloca_once(builder, ir.IntType(GROUP))
        builder.store(first, unit)
        builder.store(ir.Constant(ir.IntType(GROUP), 0), found)
        head = builder.append_basic_block("head")
        body = builder.append_basic_block("body")
        after = builder.append_basic_block("after")
        end = builder.append_basic_block("end")
        builder.branch(head)
        builder.position_at_end(head)
        inside = builder.icmp_signed("<", builder.load(unit), stop)
        builder.cbranch(inside, body, end)

        builder.position_at_end(body)
        block = builder.sdiv(builder.load(unit), constant(TILE // GROUP))
        group = builder.srem(builder.load(unit), constant(TILE // GROUP))
        lane = e.times(group, GROUP)
        numbers = [e.plus(e.times(block, BLOCK), i) for i in range(BLOCK)]
        sums = [e.places(n_vectors, e.splat(starts, number, LANES)) for number in numbers]
        base = e.row(c, e.times(block, BLOCK), n_quads)
        with e.loop(0, n_quads) as quad:
            prefetch(builder, later, e.times(quad, 4))
            at = e.plus(e.times(quad, TILE), lane)
            vectors = [
                load_at(builder, x, e.plus(at, v * LANES), integers, VECTOR_BYTES)
                for v in range(n_vectors)
            ]
            for i, slots in enumerate(sums):
                four = e.splat(base, e.plus(e.times(quad, BLOCK), i), LANES)
                for slot, values in zip(slots, vectors, strict=True):
                    total = add_byte_products(builder, builder.load(slot), values, four)
                    builder.store(total, slot)

        rest, length, slack = (
            e.splat(limit, e.plus(e.times(block, 3), i), LANES) for i in range(3)
        )
        number = splat(builder, builder.trunc(block, integer), LANES)
        mask, values = None, []
        for v in range(n_vectors):
            at = e.plus(lane, v * LANES)
            step, reach, left = (e.lanes(row, i, at, vector) for i in range(3))
            lowest = None
            for i, slots in enumerate(sums):
                product = builder.sitofp(builder.load(slots[v]), vector)
                product = builder.fmul(product, e.splat(steps, numbers[i], LANES))
                score = fma(builder, product, step, e.splat(halves, numbers[i], LANES))
                values.append((score, i * GROUP + v * LANES))
                lowest = score if lowest is None else minimum(builder, score, lowest)
            error = fma(builder, rest, reach, fma(builder, length, left, slack))
            old = load_at(builder, least_pointer, at, vector, VECTOR_BYTES)
            new = minimum(builder, builder.fadd(lowest, error), old)
            store_at(builder, new, least_pointer, at, VECTOR_BYTES)
            low = builder.fsub(lowest, error)
            values.append((low, BLOCK * GROUP + v * LANES))
            promising = builder.fcmp_ordered("<=", low, new)
            begin, count = (e.lanes(own, i, at, integers) for i in range(2))
            inside = builder.icmp_unsigned("<", builder.sub(number, begin), count)
            old = load_at(builder, outer_pointer, at, vector, VECTOR_BYTES)
            other = builder.select(inside, old, minimum(builder, low, old))
            store_at(builder, other, outer_pointer, at, VECTOR_BYTES)
            old = load_at(builder, beyond_pointer, at, vector, VECTOR_BYTES)
            new = builder.select(promising, old, minimum(builder, low, old))
            store_at(builder, new, beyond_pointer, at, VECTOR_BYTES)
            some = builder.zext(builder.bitcast(promising, ir.IntType(LANES)), ir.IntType(GROUP))
            some = builder.shl(some, ir.Constant(some.type, v * LANES))
            mask = some if mask is None else builder.or_(mask, some)
        hit = builder.icmp_unsigned("!=", mask, ir.Constant(mask.type, 0))
        with builder.if_then(hit, likely=False):
            builder.store(mask, found)
            for score, at in values:
                store_at(builder, score, output, constant(at), VECTOR_BYTES)
            builder.branch(end)
        builder.branch(after)
        builder.position_at_end(after)
        builder.store(e.plus(builder.load(unit), 1), unit)
        builder.branch(head)

        builder.position_at_end(end)
        mask = builder.load(found)
        wide = ir.IntType(64)
        builder.store(mask if GROUP == 64 else builder.zext(mask, wide), mask_pointer)
        return builder.load(unit)

    return sig, codegen
