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
from numba.extending import intrinsic

from fastem.kernels.distances.direct_tiles import load_columns
from fastem.kernels.runtime.arrays import read_only
from fastem.kernels.runtime.chunks import ceil_div
from fastem.kernels.runtime.compiling import inline, kernel
from fastem.kernels.runtime.parallel import next_chunk, run
from fastem.kernels.vectors.emit import (
    Emitter,
    call_llvm,
    constant,
    fma,
    load_at,
    maximum,
    shuffle,
    splat,
    store_at,
)
from fastem.kernels.vectors.machine import DOUBLES, LANES, TILE, WIDE_REGISTER_FILE
from fastem.kernels.vectors.tiles import aligned_empty_like

_VECTORS = min(4 if WIDE_REGISTER_FILE else 2, TILE // LANES)  # of rows, taken together
_CODES = 127
MOST_FEATURES = 1 << 16  # sums of products of codes stay below 2**31
_CHUNK_TILES = 16
# No step is smaller: its square is a normal number of float32.
_LEAST_STEP = 2.0**-60
# A multiple of what rounding in float32 makes of a comparison, relative to the terms in it.
MARGIN = 2.0**-19
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
        e = Emitter(context, builder, signature, args)
        x, o = e.pointers(0, 2)
        vector = ir.VectorType(ir.DoubleType(), DOUBLES)
        slots = e.zeros(vector, 4)
        with e.loop(0, args[1]) as f:
            shift = splat(builder, builder.load(builder.gep(o, [f])), DOUBLES)
            start = e.times(f, TILE)
            for number, lane in enumerate(range(0, TILE, DOUBLES)):
                slot = slots[number % 4]
                value = load_at(builder, x, e.plus(start, lane), vector, 8)
                value = call_llvm(builder, "fabs", [builder.fsub(value, shift)])
                builder.store(maximum(builder, value, builder.load(slot)), slot)
        result = builder.load(slots[0])
        for slot in slots[1:]:
            result = maximum(builder, result, builder.load(slot))
        lanes = DOUBLES
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
        e = Emitter(context, builder, signature, args)
        x, o, output, squares, rests = e.pointers(0, 2, 4, 6, 7)
        n_features, tile = args[1], args[5]
        vector = ir.VectorType(ir.DoubleType(), DOUBLES)
        integers = ir.VectorType(ir.IntType(32), DOUBLES)
        step = splat(builder, args[3], DOUBLES)
        inverse = builder.fdiv(ir.Constant(vector, [1.0] * DOUBLES), step)
        last = builder.sub(n_features, constant(1))
        n_pairs = builder.lshr(e.plus(n_features, 1), constant(1))
        output = e.row(output, e.times(tile, n_pairs), 2 * TILE)
        with e.loop(0, TILE, DOUBLES) as lane:
            square, rest = (e.zeros(t, 1)[0] for t in (integers, vector))
            with e.loop(0, n_pairs) as f:
                pair = []
                for i in (0, 1):
                    feature = e.plus(e.times(f, 2), i)
                    missing = builder.icmp_signed(">", feature, last)
                    feature = builder.select(missing, last, feature)
                    shift = splat(builder, builder.load(builder.gep(o, [feature])), DOUBLES)
                    at = e.plus(e.times(feature, TILE), lane)
                    value = builder.fsub(load_at(builder, x, at, vector, 8), shift)
                    value = builder.select(missing, ir.Constant(vector, [0.0] * DOUBLES), value)
                    code = call_llvm(builder, "rint", [builder.fmul(value, inverse)])
                    left = builder.fsub(value, builder.fmul(code, step))
                    builder.store(fma(builder, left, left, builder.load(rest)), rest)
                    code = builder.fptosi(code, integers)
                    added = builder.add(builder.load(square), builder.mul(code, code))
                    builder.store(added, square)
                    pair.append(builder.trunc(code, ir.VectorType(ir.IntType(8), DOUBLES)))
                order = [j for i in range(DOUBLES) for j in (i, DOUBLES + i)]
                at = e.plus(e.times(f, TILE), lane)
                both = shuffle(builder, *pair, order)
                store_at(builder, both, output, e.times(at, 2), 1)
            at = e.plus(e.times(tile, TILE), lane)
            store_at(builder, builder.load(square), squares, at, 4)
            store_at(builder, builder.load(rest), rests, lane, 8)
        return e.nothing()

    return sig, codegen


@kernel
def _code_rows(tickets, n_chunks, X, scale, origin, codes, norms, steps, errors):
    """Write a coarse copy of rows: as for :func:`code_rows`, and what :class:`Coarse` has."""
    n_features = X.shape[1]
    columns = aligned_empty_like(TILE * n_features, X)
    rests = np.empty(TILE)
    while True:
        chunk = next_chunk(tickets)
        if chunk >= n_chunks:
            return
        for tile in range(chunk * _CHUNK_TILES, min((chunk + 1) * _CHUNK_TILES, len(steps))):
            load_columns(X, tile * TILE, DOUBLES, scale, columns)
            greatest = _greatest(columns, n_features, origin)
            steps[tile] = max(greatest / _CODES * (1 + MARGIN), _LEAST_STEP)
            _code_pairs(columns, n_features, origin, steps[tile], codes, tile, norms, rests)
            worst = 0.0
            for lane in range(TILE):
                worst = max(worst, rests[lane])
            errors[tile] = np.sqrt(worst) * (1 + MARGIN)


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
    return np.sqrt(worst) * (1 + MARGIN)
