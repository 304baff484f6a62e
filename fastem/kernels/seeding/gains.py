"""How much nearer points may be than the closest seed, as the codes of rows and points tell.

Both are coded as ``codes.py`` says. Sums of products of codes are exact; what is made of them in
float32 is widened by a margin.
"""

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastem.kernels.runtime.compiling import inline
from fastem.kernels.seeding.codes import MARGIN
from fastem.kernels.vectors.emit import (
    INDEX,
    Emitter,
    call_llvm,
    call_named,
    constant,
    fma,
    load_at,
    shuffle,
    splat,
    store_at,
    sum_lanes,
)
from fastem.kernels.vectors.machine import CPU_FEATURES, LANES, TILE, WIDE_REGISTER_FILE

_VECTORS = min(4 if WIDE_REGISTER_FILE else 2, TILE // LANES)  # of rows, taken together
_TINY = 1e-30


def _pair_products(builder, a, b):
    """Sums of two products each of neighbouring int16, as int32."""
    lanes = a.type.count // 2
    result = ir.VectorType(ir.IntType(32), lanes)
    name = {4: "sse2.pmadd.wd", 8: "avx2.pmadd.wd", 16: "avx512.pmaddw.d.512"}[lanes]
    needed = {4: "sse2", 8: "avx2", 16: "avx512bw"}[lanes]
    if f"+{needed}" in CPU_FEATURES:
        return call_named(builder, f"llvm.x86.{name}", result, [a, b])
    products = []
    for first in (0, 1):
        mask = range(first, 2 * lanes, 2)
        x, y = (builder.sext(shuffle(builder, v, v, mask), result) for v in (a, b))
        products.append(builder.mul(x, y))
    return builder.add(*products)


@intrinsic
def _product_pair(typingctx, codes, tile, points, point, products):
    """``products[(point + i) * TILE + lane]`` for all lanes and two points."""
    count = 2
    sig = types.void(codes, types.intp, points, types.intp, products)

    def codegen(context, builder, signature, args):
        e = Emitter(context, builder, signature, args)
        x, c, output = e.pointers(0, 2, 4)
        n_pairs = e.extent(2, 1)
        tile, point = args[1], args[3]
        x = e.row(x, e.times(tile, n_pairs), 2 * TILE)
        starts = [e.row(c, e.plus(point, i), n_pairs) for i in range(count)]
        bytes_ = ir.VectorType(ir.IntType(8), 2 * LANES)
        shorts = ir.VectorType(ir.IntType(16), 2 * LANES)
        sums_type = ir.VectorType(ir.IntType(32), LANES)
        with e.loop(0, TILE, _VECTORS * LANES) as lane:
            slots = e.zeros(sums_type, count * _VECTORS)
            with e.loop(0, n_pairs) as f:
                at = e.plus(e.times(f, TILE), lane)
                at = e.times(at, 2)
                values = [
                    builder.sext(
                        load_at(builder, x, e.plus(at, 2 * v * LANES), bytes_, 1),
                        shorts,
                    )
                    for v in range(_VECTORS)
                ]
                remaining = iter(slots)
                for start in starts:
                    pair = splat(builder, builder.load(builder.gep(start, [f])), LANES)
                    pair = builder.bitcast(pair, shorts)
                    for value in values:
                        slot = next(remaining)
                        product = _pair_products(builder, value, pair)
                        builder.store(builder.add(builder.load(slot), product), slot)
            for s, slot in enumerate(slots):
                i, v = divmod(s, _VECTORS)
                position = e.times(e.plus(point, i), TILE)
                position = e.plus(e.plus(position, lane), v * LANES)
                store_at(builder, builder.load(slot), output, position, 4)
        return e.nothing()

    return sig, codegen


@inline
def code_products(codes, tile, points, products):
    """Sums of products of the codes of a tile's rows with those of all points.

    Parameters
    ----------
    codes : int8 array of shape (n_tiles, n_pairs, TILE, 2)
        A ``Coarse``'s.
    tile : int
        The tile's number.
    points : int32 array of shape (n_points, n_pairs), n_points even
        The points' codes, two int16 in each value.
    products : int32 array of n_points * TILE values
        Gets ``products[i * TILE + lane]``.
    """
    for i in range(0, len(points), 2):
        _product_pair(codes, tile, points, i, products)


@intrinsic
def gain_terms(typingctx, norms, closest, row, step, error, terms):
    """What :func:`possible_gains` must know of a tile's rows.

    With ``D`` a row's closest squared distance, ``d`` the distance between its code and a
    point's, and ``e`` the error of both, the row gains between ``D - (d + e)^2`` and
    ``D - (d - e)^2``. For any positive ``a`` these squares lie within
    ``d^2 (1 +- a) + e^2 (1 +- 1/a)``, which takes no square root for each point. With
    ``a = e / (sqrt(D) + e)`` the upper bound is positive just where ``d - e < sqrt(D)``.

    Parameters
    ----------
    norms, closest : arrays of shape (n_tiles * TILE,), int32 and float64
    row : int
        The tile's first.
    step, error : float
        The tile's; the error with the points'.
    terms : float32 array of 4 * TILE values
        Bounds on a row's gain are ``terms[:TILE] - terms[TILE:] * q`` (above) and
        ``terms[2 * TILE:] - terms[3 * TILE:] * q`` (below), with ``q`` the point's squared norm
        less twice the product of both.
    """
    sig = types.void(norms, closest, types.intp, types.float64, types.float64, terms)

    def codegen(context, builder, signature, args):
        e = Emitter(context, builder, signature, args)
        numbers, old, output = e.pointers(0, 1, 5)
        single, double = ir.FloatType(), ir.DoubleType()
        vector = ir.VectorType(single, LANES)
        square = builder.fptrunc(builder.fmul(args[3], args[3]), single)
        square = splat(builder, square, LANES)
        error = splat(builder, builder.fptrunc(args[4], single), LANES)
        margin, tiny = (ir.Constant(vector, [value] * LANES) for value in (MARGIN, _TINY))
        for lane in range(0, TILE, LANES):
            at = e.plus(args[2], lane)
            known = load_at(builder, old, at, ir.VectorType(double, LANES), 8)
            known = builder.fadd(builder.fptrunc(known, vector), tiny)
            norm = load_at(builder, numbers, at, ir.VectorType(ir.IntType(32), LANES), 4)
            norm = builder.fmul(builder.sitofp(norm, vector), square)
            root = call_llvm(builder, "sqrt", [known])
            reach = builder.fadd(root, error)
            mixed = builder.fmul(root, error)
            above = builder.fadd(known, mixed)
            below = builder.fsub(builder.fsub(known, mixed), builder.fmul(error, error))
            below = builder.fsub(below, builder.fmul(error, error))
            slack = builder.fadd(builder.fmul(builder.fadd(above, norm), margin), tiny)
            slope = builder.fdiv(root, reach)
            steeper = builder.fdiv(builder.fadd(reach, error), reach)
            values = (
                builder.fsub(builder.fadd(above, slack), builder.fmul(slope, norm)),
                slope,
                builder.fsub(builder.fsub(below, slack), builder.fmul(steeper, norm)),
                steeper,
            )
            for number, value in enumerate(values):
                store_at(builder, value, output, constant(number * TILE + lane), 4)
        return e.nothing()

    return sig, codegen


@intrinsic
def possible_gains(typingctx, products, first, terms, weights, factor, norm):
    """How much nearer a point than ``closest`` a tile's rows may be.

    Parameters
    ----------
    products : int32 array
        From :func:`code_products`; those from ``first`` on belong to the point.
    terms : float32 array
        From :func:`gain_terms`.
    weights : float32 array of TILE values
    factor, norm : float
        Twice the step of the tile times that of the point; the point's squared norm.

    Returns
    -------
    lanes : uint64
        The bits of those that may be nearer.
    least, most : float
        Bounds on the weighted sum of what the rows gain.
    """
    result = types.Tuple((types.uint64, types.float64, types.float64))
    sig = result(products, types.intp, terms, weights, types.float64, types.float64)

    def codegen(context, builder, signature, args):
        e = Emitter(context, builder, signature, args)
        numbers, values, weights = e.pointers(0, 2, 3)
        single = ir.FloatType()
        vector = ir.VectorType(single, LANES)
        zero = ir.Constant(vector, [0.0] * LANES)
        factor = builder.fneg(splat(builder, builder.fptrunc(args[4], single), LANES))
        norm = splat(builder, builder.fptrunc(args[5], single), LANES)
        slack = builder.fmul(norm, ir.Constant(vector, [MARGIN] * LANES))
        bits = ir.Constant(INDEX, 0)
        least = most = zero
        for lane in range(0, TILE, LANES):
            at = e.plus(args[1], lane)
            product = load_at(builder, numbers, at, ir.VectorType(ir.IntType(32), LANES), 4)
            cross = fma(builder, builder.sitofp(product, vector), factor, norm)
            above, slope, below, steeper = (
                load_at(builder, values, constant(number * TILE + lane), vector, 4)
                for number in range(4)
            )
            weight = load_at(builder, weights, constant(lane), vector, 4)
            cross = builder.fneg(cross)
            above = builder.fadd(fma(builder, slope, cross, above), slack)
            below = builder.fsub(fma(builder, steeper, cross, below), slack)
            # What has overflowed is possible, too.
            possible = builder.fcmp_unordered(">", above, zero)
            most = fma(builder, builder.select(possible, above, zero), weight, most)
            certain = builder.fcmp_ordered(">", below, zero)
            least = fma(builder, builder.select(certain, below, zero), weight, least)
            mask = builder.zext(builder.bitcast(possible, ir.IntType(LANES)), INDEX)
            bits = builder.or_(bits, builder.shl(mask, constant(lane)))
        sums = [builder.fpext(sum_lanes(builder, v), ir.DoubleType()) for v in (least, most)]
        return context.make_tuple(builder, signature.return_type, [bits, *sums])

    return sig, codegen
