"""A copy of float64 rows in one byte a value, to tell which rows can't be nearer a point.

A tile's rows, shifted by an origin, are ``x = step * codes + r`` with codes from -127 to 127 and
one step for the tile; the greatest ``|r|`` of its rows is kept. Points are coded likewise, in 16
bits. By the triangle inequality ``|x - c|`` is at least the distance between the codes less the
errors, and the former takes sums of products of integers only, which are exact: a sixteenth of
the arithmetic and an eighth of the memory's traffic that the rows themselves take.
"""

from typing import NamedTuple

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from fastem.kernels.distances.direct import load_columns
from fastem.kernels.runtime.arrays import read_only
from fastem.kernels.runtime.chunks import ceil_div
from fastem.kernels.runtime.compiling import inline, kernel
from fastem.kernels.runtime.parallel import next_chunk, run
from fastem.kernels.vectors.emit import (
    call_llvm,
    constant,
    data_pointer,
    fma,
    load_at,
    maximum,
    shuffle,
    splat,
    store_at,
    sum_lanes,
)
from fastem.kernels.vectors.machine import (
    CPU_FEATURES,
    LANES,
    TILE,
    VECTOR_BYTES,
    WIDE_REGISTER_FILE,
)
from fastem.kernels.vectors.tiles import aligned_empty

_DOUBLES = VECTOR_BYTES // 8
_VECTORS = min(4 if WIDE_REGISTER_FILE else 2, TILE // LANES)  # of rows, taken together
_CODES = 127
MOST_FEATURES = 1 << 16  # sums of products of codes stay below 2**31
_CHUNK_TILES = 16
# No step is smaller: its square is a normal number of float32.
_LEAST_STEP = 2.0**-60
# A multiple of what rounding in float32 makes of a comparison, relative to the terms in it.
_MARGIN = 2.0**-19
_TINY = 1e-30


class Coarse(NamedTuple):
    """The copy of some rows.

    Parameters
    ----------
    codes : ndarray of shape (n_tiles, n_pairs, TILE, 2), int8
        Pairs of features of a tile's rows; zeros behind the last feature.
    norms : ndarray of shape (n_tiles * TILE,), int32
        Squared norms of the rows' codes.
    steps : ndarray of shape (n_tiles,), float32
    errors : ndarray of shape (n_tiles,), float32
        At least the greatest norm of what the codes leave of a row, in the scaled units.
    """

    codes: np.ndarray
    norms: np.ndarray
    steps: np.ndarray
    errors: np.ndarray


NO_ROWS = Coarse(
    *map(
        read_only,
        (
            np.empty((0, 0, TILE, 2), np.int8),
            np.empty(0, np.int32),
            np.empty(0, np.float32),
            np.empty(0, np.float32),
        ),
    )
)


@intrinsic
def _greatest(typingctx, columns, n_features, origin):
    """The greatest ``abs(columns[f * TILE + lane] - origin[f])``."""
    sig = types.float64(columns, types.intp, origin)

    def codegen(context, builder, signature, args):
        x, o = (data_pointer(context, builder, signature.args[i], args[i]) for i in (0, 2))
        vector = ir.VectorType(ir.DoubleType(), _DOUBLES)
        slots = [cgutils.alloca_once(builder, vector) for _ in range(4)]
        for slot in slots:
            builder.store(ir.Constant(vector, [0.0] * _DOUBLES), slot)
        with cgutils.for_range(builder, args[1]) as loop:
            shift = splat(builder, builder.load(builder.gep(o, [loop.index])), _DOUBLES)
            start = builder.mul(loop.index, constant(TILE))
            for number, lane in enumerate(range(0, TILE, _DOUBLES)):
                slot = slots[number % 4]
                value = load_at(builder, x, builder.add(start, constant(lane)), vector, 8)
                value = call_llvm(builder, "fabs", [builder.fsub(value, shift)])
                builder.store(maximum(builder, value, builder.load(slot)), slot)
        result = builder.load(slots[0])
        for slot in slots[1:]:
            result = maximum(builder, result, builder.load(slot))
        lanes = _DOUBLES
        while lanes > 1:
            lanes //= 2
            halves = (range(lanes), range(lanes, 2 * lanes))
            result = maximum(builder, *(shuffle(builder, result, result, h) for h in halves))
        return builder.extract_element(result, ir.Constant(ir.IntType(32), 0))

    return sig, codegen


@intrinsic
def _code_pairs(typingctx, columns, n_features, origin, step, codes, tile, norms, errors):
    """A tile's codes, their squared norms, and the squared norms of what they leave."""
    sig = types.void(columns, types.intp, origin, types.float64, codes, types.intp, norms, errors)

    def codegen(context, builder, signature, args):
        x, o, output, squares, rests = (
            data_pointer(context, builder, signature.args[i], args[i]) for i in (0, 2, 4, 6, 7)
        )
        n_features, tile = args[1], args[5]
        vector = ir.VectorType(ir.DoubleType(), _DOUBLES)
        integers = ir.VectorType(ir.IntType(32), _DOUBLES)
        step = splat(builder, args[3], _DOUBLES)
        inverse = builder.fdiv(ir.Constant(vector, [1.0] * _DOUBLES), step)
        last = builder.sub(n_features, constant(1))
        n_pairs = builder.lshr(builder.add(n_features, constant(1)), constant(1))
        output = builder.gep(output, [builder.mul(builder.mul(tile, n_pairs), constant(2 * TILE))])
        with cgutils.for_range_slice(
            builder, constant(0), constant(TILE), constant(_DOUBLES), ir.IntType(64)
        ) as (lane, _):
            square, rest = (cgutils.alloca_once(builder, t) for t in (integers, vector))
            builder.store(ir.Constant(integers, [0] * _DOUBLES), square)
            builder.store(ir.Constant(vector, [0.0] * _DOUBLES), rest)
            with cgutils.for_range(builder, n_pairs) as loop:
                pair = []
                for i in (0, 1):
                    feature = builder.add(builder.mul(loop.index, constant(2)), constant(i))
                    missing = builder.icmp_signed(">", feature, last)
                    feature = builder.select(missing, last, feature)
                    shift = splat(builder, builder.load(builder.gep(o, [feature])), _DOUBLES)
                    at = builder.add(builder.mul(feature, constant(TILE)), lane)
                    value = builder.fsub(load_at(builder, x, at, vector, 8), shift)
                    value = builder.select(missing, ir.Constant(vector, [0.0] * _DOUBLES), value)
                    code = call_llvm(builder, "rint", [builder.fmul(value, inverse)])
                    left = builder.fsub(value, builder.fmul(code, step))
                    builder.store(fma(builder, left, left, builder.load(rest)), rest)
                    code = builder.fptosi(code, integers)
                    added = builder.add(builder.load(square), builder.mul(code, code))
                    builder.store(added, square)
                    pair.append(builder.trunc(code, ir.VectorType(ir.IntType(8), _DOUBLES)))
                order = [j for i in range(_DOUBLES) for j in (i, _DOUBLES + i)]
                at = builder.add(builder.mul(loop.index, constant(TILE)), lane)
                both = shuffle(builder, *pair, order)
                store_at(builder, both, output, builder.mul(at, constant(2)), 1)
            at = builder.add(builder.mul(tile, constant(TILE)), lane)
            store_at(builder, builder.load(square), squares, at, 4)
            store_at(builder, builder.load(rest), rests, lane, 8)
        return context.get_dummy_value()

    return sig, codegen


@kernel
def _code_rows(tickets, n_chunks, X, scale, origin, codes, norms, steps, errors):
    n_features = X.shape[1]
    columns = aligned_empty(2 * TILE * n_features).view(X.dtype)
    rests = np.empty(TILE)
    while True:
        chunk = next_chunk(tickets)
        if chunk >= n_chunks:
            return
        for tile in range(chunk * _CHUNK_TILES, min((chunk + 1) * _CHUNK_TILES, len(steps))):
            load_columns(X, tile * TILE, _DOUBLES, scale, columns)
            greatest = _greatest(columns, n_features, origin)
            steps[tile] = max(greatest / _CODES * (1 + _MARGIN), _LEAST_STEP)
            _code_pairs(columns, n_features, origin, steps[tile], codes, tile, norms, rests)
            worst = 0.0
            for lane in range(TILE):
                worst = max(worst, rests[lane])
            errors[tile] = np.sqrt(worst) * (1 + _MARGIN)


def code_rows(X, scale, origin):
    """The coarse copy of rows.

    Parameters
    ----------
    X : ndarray of shape (n_rows, n_features), float64, C-contiguous
        Rows of more than ``MOST_FEATURES`` stay uncoded.
    scale : float
        A power of two.
    origin : ndarray of shape (n_features,), float64
        What is subtracted from the scaled rows; any will do, the nearer their mean the better.

    Returns
    -------
    Coarse
    """
    n_rows, n_features = X.shape
    if n_features > MOST_FEATURES:
        return NO_ROWS
    n_tiles = ceil_div(n_rows, TILE)
    coarse = Coarse(
        np.empty((n_tiles, (n_features + 1) // 2, TILE, 2), np.int8),
        np.empty(n_tiles * TILE, np.int32),
        np.empty(n_tiles, np.float32),
        np.empty(n_tiles, np.float32),
    )
    n_chunks = ceil_div(n_tiles, _CHUNK_TILES)
    run(_code_rows, n_chunks, read_only(X), scale, origin, *coarse)
    return Coarse(*map(read_only, coarse))


@inline
def code_points(points, scale, origin, codes, steps, norms):
    """Code points as :func:`code_products` takes them.

    Parameters
    ----------
    points : ndarray of shape (n_points, n_features), float64
    scale, origin
        As for :func:`code_rows`.
    codes : ndarray of shape (at least n_points, 2 * n_pairs), int16
    steps, norms : ndarrays of shape (at least n_points,), float64
        The norms are the squared ones of what the codes stand for.

    Returns
    -------
    float
        At least the greatest norm of what the codes leave of a point.
    """
    n_features = len(origin)
    # Sums of products with the rows' codes stay below 2**31.
    most = min(2**15 - 1, 2**31 // (128 * (n_features + 1)))
    worst = 0.0
    for i in range(len(points)):
        greatest = 0.0
        for f in range(n_features):
            greatest = max(greatest, abs(points[i, f] * scale - origin[f]))
        step = max(greatest / most, _LEAST_STEP)
        norm, error = 0.0, 0.0
        for f in range(n_features):
            value = points[i, f] * scale - origin[f]
            code = min(max(np.rint(value / step), -most), most)
            codes[i, f] = np.int16(code)
            norm += (code * step) ** 2
            error += (value - code * step) ** 2
        steps[i] = step
        norms[i] = norm
        worst = max(worst, error)
    return np.sqrt(worst) * (1 + _MARGIN)


def _pair_products(builder, a, b):
    """Sums of two products each of neighbouring int16, as int32."""
    lanes = a.type.count // 2
    result = ir.VectorType(ir.IntType(32), lanes)
    name = {4: "sse2.pmadd.wd", 8: "avx2.pmadd.wd", 16: "avx512.pmaddw.d.512"}[lanes]
    needed = {4: "sse2", 8: "avx2", 16: "avx512bw"}[lanes]
    if f"+{needed}" in CPU_FEATURES:
        function = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(result, [a.type, b.type]), f"llvm.x86.{name}"
        )
        return builder.call(function, [a, b])
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
        x, c, output = (
            data_pointer(context, builder, signature.args[i], args[i]) for i in (0, 2, 4)
        )
        shape = context.make_array(signature.args[2])(context, builder, args[2]).shape
        n_pairs = builder.extract_value(shape, 1)
        tile, point = args[1], args[3]
        integer = ir.IntType(64)
        x = builder.gep(x, [builder.mul(builder.mul(tile, n_pairs), constant(2 * TILE))])
        starts = [
            builder.gep(c, [builder.mul(builder.add(point, constant(i)), n_pairs)])
            for i in range(count)
        ]
        bytes_ = ir.VectorType(ir.IntType(8), 2 * LANES)
        shorts = ir.VectorType(ir.IntType(16), 2 * LANES)
        sums_type = ir.VectorType(ir.IntType(32), LANES)
        with cgutils.for_range_slice(
            builder, constant(0), constant(TILE), constant(_VECTORS * LANES), integer
        ) as (lane, _):
            slots = [cgutils.alloca_once(builder, sums_type) for _ in range(count * _VECTORS)]
            for slot in slots:
                builder.store(ir.Constant(sums_type, [0] * LANES), slot)
            with cgutils.for_range(builder, n_pairs) as loop:
                at = builder.add(builder.mul(loop.index, constant(TILE)), lane)
                at = builder.mul(at, constant(2))
                values = [
                    builder.sext(
                        load_at(builder, x, builder.add(at, constant(2 * v * LANES)), bytes_, 1),
                        shorts,
                    )
                    for v in range(_VECTORS)
                ]
                remaining = iter(slots)
                for start in starts:
                    pair = splat(builder, builder.load(builder.gep(start, [loop.index])), LANES)
                    pair = builder.bitcast(pair, shorts)
                    for value in values:
                        slot = next(remaining)
                        product = _pair_products(builder, value, pair)
                        builder.store(builder.add(builder.load(slot), product), slot)
            for s, slot in enumerate(slots):
                i, v = divmod(s, _VECTORS)
                position = builder.mul(builder.add(point, constant(i)), constant(TILE))
                position = builder.add(builder.add(position, lane), constant(v * LANES))
                store_at(builder, builder.load(slot), output, position, 4)
        return context.get_dummy_value()

    return sig, codegen


@inline
def code_products(codes, tile, points, products):
    """``products[i * TILE + lane]``: the codes of a tile's rows times those of all points."""
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
        numbers, old, output = (
            data_pointer(context, builder, signature.args[i], args[i]) for i in (0, 1, 5)
        )
        single, double = ir.FloatType(), ir.DoubleType()
        vector = ir.VectorType(single, LANES)
        square = builder.fptrunc(builder.fmul(args[3], args[3]), single)
        square = splat(builder, square, LANES)
        error = splat(builder, builder.fptrunc(args[4], single), LANES)
        margin, tiny = (ir.Constant(vector, [value] * LANES) for value in (_MARGIN, _TINY))
        for lane in range(0, TILE, LANES):
            at = builder.add(args[2], constant(lane))
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
        return context.get_dummy_value()

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
        numbers, values, weights = (
            data_pointer(context, builder, signature.args[i], args[i]) for i in (0, 2, 3)
        )
        single = ir.FloatType()
        vector = ir.VectorType(single, LANES)
        zero = ir.Constant(vector, [0.0] * LANES)
        factor = builder.fneg(splat(builder, builder.fptrunc(args[4], single), LANES))
        norm = splat(builder, builder.fptrunc(args[5], single), LANES)
        slack = builder.fmul(norm, ir.Constant(vector, [_MARGIN] * LANES))
        bits = ir.Constant(ir.IntType(64), 0)
        least = most = zero
        for lane in range(0, TILE, LANES):
            at = builder.add(args[1], constant(lane))
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
            mask = builder.zext(builder.bitcast(possible, ir.IntType(LANES)), ir.IntType(64))
            bits = builder.or_(bits, builder.shl(mask, constant(lane)))
        sums = [builder.fpext(sum_lanes(builder, v), ir.DoubleType()) for v in (least, most)]
        return context.make_tuple(builder, signature.return_type, [bits, *sums])

    return sig, codegen
