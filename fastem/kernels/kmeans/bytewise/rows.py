"""Rows in bytes: read and coded one by one, then transposed into a tile's words.

In this order, a row is in the fastest cache while it is coded, and a quarter as much is transposed
as if the tile were coded. A *word* is the codes of four features of a row.
"""

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastem.kernels.kmeans.bytewise.tiles import CODES, LEAST_STEP, code_values
from fastem.kernels.runtime.chunks import round_up
from fastem.kernels.runtime.compiling import inline
from fastem.kernels.vectors.emit import (
    Emitter,
    load_at,
    shuffle,
    splat,
    store_at,
    sum_lanes,
    transpose_square,
)
from fastem.kernels.vectors.machine import LANES, TILE, VECTOR_BYTES
from fastem.kernels.vectors.vector import (
    broadcast,
    greater,
    greatest_of_lanes,
    load,
    magnitude,
    multiply_add,
    sum_of_lanes,
)

_WORDS = 4 * LANES  # the values of a vector of words


@inline
def coded_values(n_features):
    """How much scratch a row takes: zeros follow it, up to whole vectors of words."""
    return round_up(n_features, _WORDS)


@inline
def read_row(X, row, scale, shift, x):
    """Read a row as the centres are packed; zeros behind it."""
    n_features = X.shape[1]
    for f in range(n_features):
        x[f] = X[row, f] * scale + shift[f]
    for f in range(n_features, len(x)):
        x[f] = 0


@inline
def measure_row(x, centers, number):
    """A row's greatest magnitude, its squared norm, and its product with a centre.

    In one loop: with the product in one of its own, passes took 3 % longer.

    Parameters
    ----------
    x : float32 array
        From :func:`read_row`.
    centers : float32 array of shape (n, n_features)
    number : int
    """
    n_features, center = centers.shape[1], centers[number]
    zero = broadcast(np.float32(0), LANES)
    most, squares, products = (zero, zero), (zero, zero), (zero, zero)
    paired = n_features // (2 * LANES) * (2 * LANES)
    # Two sums each: an addition need not wait for the one before.
    for f in range(0, paired, 2 * LANES):
        low, high = load(x, f, LANES), load(x, f + LANES, LANES)
        most = greater(magnitude(low), most[0]), greater(magnitude(high), most[1])
        squares = multiply_add(low, low, squares[0]), multiply_add(high, high, squares[1])
        products = (
            multiply_add(low, load(center, f, LANES), products[0]),
            multiply_add(high, load(center, f + LANES, LANES), products[1]),
        )
    greatest = greatest_of_lanes(greater(most[0], most[1]))
    square = sum_of_lanes(squares[0] + squares[1])
    product = sum_of_lanes(products[0] + products[1])
    for f in range(paired, n_features):
        greatest = max(greatest, abs(x[f]))
        square += x[f] * x[f]
        product += x[f] * center[f]
    return greatest, square, product


@inline
def row_product(x, centers, number):
    """A row's product with a centre, as :func:`measure_row` has it."""
    n_features, center = centers.shape[1], centers[number]
    zero = broadcast(np.float32(0), LANES)
    products = zero, zero
    paired = n_features // (2 * LANES) * (2 * LANES)
    for f in range(0, paired, 2 * LANES):
        products = (
            multiply_add(load(x, f, LANES), load(center, f, LANES), products[0]),
            multiply_add(load(x, f + LANES, LANES), load(center, f + LANES, LANES), products[1]),
        )
    product = sum_of_lanes(products[0] + products[1])
    for f in range(paired, n_features):
        product += x[f] * center[f]
    return product


@inline
def product_error(packed, norm):
    """What a score of such a product may be off by, for a row of at most this norm.

    ``packed`` has the rounding of ``in_group.py``, which counts the additions made here, too.
    """
    reach = np.float64(packed.radius)
    return np.float64(packed.rounding) * reach * (norm + reach) + 2.0**-100


@intrinsic
def _code_row(typingctx, x, step, words, at):
    """Write a row's words to ``words[at:]``; the squared norm of what the codes leave."""
    sig = types.float32(x, types.float32, words, types.intp)

    def codegen(context, builder, signature, args):
        e = Emitter(context, builder, signature, args)
        source, target = e.pointers(0, 2)
        vector = ir.VectorType(ir.FloatType(), LANES)
        step = splat(builder, args[1], LANES)
        inverse = builder.fdiv(ir.Constant(vector, [1.0] * LANES), step, flags=["contract"])
        rests = e.zeros(vector, 4)
        with e.loop(0, e.extent(0, 0), _WORDS) as f:
            parts = []
            for i, rest in enumerate(rests):
                values = load_at(builder, source, e.plus(f, i * LANES), vector, VECTOR_BYTES)
                codes = code_values(builder, values, inverse, step, rest)
                parts.append(builder.trunc(codes, ir.VectorType(ir.IntType(8), LANES)))
            while len(parts) > 1:
                both = range(2 * parts[0].type.count)
                parts = [
                    shuffle(builder, a, b, both)
                    for a, b in zip(parts[::2], parts[1::2], strict=True)
                ]
            codes = builder.xor(parts[0], ir.Constant(parts[0].type, [-128] * _WORDS))
            codes = builder.bitcast(codes, ir.VectorType(ir.IntType(32), LANES))
            store_at(builder, codes, target, e.plus(args[3], e.quotient(f, 4)), VECTOR_BYTES)
        total = builder.load(rests[0])
        for rest in rests[1:]:
            total = builder.fadd(total, builder.load(rest))
        return sum_lanes(builder, total)

    return sig, codegen


@inline
def code_row(x, greatest, words, at):
    """Code a row with numbers from -127 to 127.

    Parameters
    ----------
    x : float32 array
        From :func:`read_row`, ``greatest`` its greatest magnitude.
    words : int32 array
        Gets the codes plus 128, as bytes, from ``at`` on.

    Returns
    -------
    step, rest : float32
        The codes' unit; the squared norm of what they leave, not finite where the row isn't, whose
        codes mean nothing.
    """
    step = max(greatest / np.float32(CODES), np.float32(LEAST_STEP))
    return step, _code_row(x, step, words, at)


@intrinsic
def transpose_words(typingctx, words, n_words, lane, codes):
    """Write the words of as many rows as a vector has lanes to a tile, from ``lane`` on.

    ``words`` are ``n_words`` a row, in whole vectors; ``codes`` has ``n_words * TILE``.
    """

    def codegen(context, builder, signature, args):
        e = Emitter(context, builder, signature, args)
        source, target = e.pointers(0, 3)
        n_words, lane = args[1], args[2]
        vector = ir.VectorType(ir.IntType(32), LANES)
        with e.loop(0, n_words, LANES) as word:
            square = [
                load_at(builder, source, e.plus(e.times(n_words, i), word), vector, VECTOR_BYTES)
                for i in range(LANES)
            ]
            for i, column in enumerate(transpose_square(builder, square)):
                at = e.plus(e.times(e.plus(word, i), TILE), lane)
                store_at(builder, column, target, at, VECTOR_BYTES)
        return e.nothing()

    return types.void(words, types.intp, types.intp, codes), codegen
