"""A CSR row's products with all columns of a table, summed in registers.

A table of columns is cut into *pieces*. In each, a feature's values lie side by side, so that a
value that a row stores is multiplied with a piece's columns by a few vector instructions, and the
sums of the whole piece stay in registers until the row ends.
"""

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastem.kernels.vectors.emit import (
    INDEX,
    Emitter,
    constant,
    fma,
    llvm_type,
    load_at,
    prefetch,
    splat,
    store_at,
    transpose_square,
)
from fastem.kernels.vectors.machine import LANES, LINE_BYTES, VECTOR_BYTES, WIDE_REGISTER_FILE

# Vectors of a piece: as many as leave registers for the rest, and few widths, as each is compiled.
WIDTHS = (20, 10, 4, 2, 1) if WIDE_REGISTER_FILE else (10, 4, 2, 1)
# What a value costs a piece beside its columns, in vectors.
_OVERHEAD = 2
# So many values of a point ahead, those of the next squares are fetched.
_AHEAD = 32
# Lines of a table of so many vectors are fetched so many values, and vectors, ahead: tables beyond
# the second cache take a tenth to a quarter less time. Smaller ones are in there.
_FETCHED_WIDTH, _LEAST_AHEAD, _VECTORS_AHEAD = 4, 8, 96


def piece_widths(n_columns: int, itemsize: int) -> np.ndarray:
    """The pieces, in vectors, by which a row is compared with so many columns the fastest."""
    n_vectors = -(-n_columns // (VECTOR_BYTES // itemsize))
    widths = [WIDTHS[0]] * max(0, n_vectors // WIDTHS[0] - 1)
    rest = n_vectors - sum(widths)
    best: list[tuple[int, list[int]]] = [(0, [])]  # cost and widths for each number of vectors
    for n in range(1, rest + 1):
        before = [(*best[max(n - width, 0)], width) for width in WIDTHS]
        best.append(
            min((cost + width + _OVERHEAD, [*chosen, width]) for cost, chosen, width in before)
        )
    return np.array(widths + best[rest][1], np.int64)


def _n_sets(width):
    """How many sums of a column are under way at once: more than one hide the latency."""
    return 4 if width <= 2 else 2 if width <= 8 else 1


@intrinsic(prefer_literal=True)
def row_products(
    typingctx, data, indices, places, start, stop, factor, table, at, width, starts, totals, to
):
    """``totals[to:] = starts[to:] + factor * x @ piece`` for one row and one piece of a table.

    Parameters
    ----------
    data, indices : arrays
        The stored values, float32 or float64, and their features.
    places : int16 or int32 array of n_features values, or None
        The features' lines in the table, if not their numbers.
    start, stop : int
        Where the row's values lie.
    factor : float
        What the sums are multiplied by: a power of two, or its negative, so that this rounds
        nothing. To multiply each value instead takes a quarter of the time more.
    table : array of float32 or float64, or of uint16: the bits of 16-bit floats
    at : int
        Where the piece begins in the table.
    width : int
        Its vectors, one of ``WIDTHS``. If it is a constant: its columns, a power of two, and there
        is code for these only.
    starts, totals : arrays of the table's dtype; of float32 for 16-bit floats
    to : int
        Where the piece's columns begin in these.
    """
    index, constant = types.intp, isinstance(width, types.IntegerLiteral)
    signature = types.void(
        data, indices, places, index, index, types.float64, table, index,
        width if constant else index, starts, totals, index,
    )  # fmt: skip

    def codegen(context, builder, signature, args):
        e = Emitter(context, builder, signature, args)
        if constant:
            full = e.vector(10)
            lanes = min(full.count, width.literal_value)
            vector = ir.VectorType(full.element, lanes)
            _emit_piece(e, vector, width.literal_value // lanes)
        else:
            for each in WIDTHS:
                with e.if_equal(args[8], each):
                    _emit_piece(e, e.vector(10), each)
        return e.nothing()

    return signature, codegen


@intrinsic
def put(typingctx, values, table, at):
    """Store a vector from ``table[at]`` on, rounded to the table's type."""

    def codegen(context, builder, signature, args):
        e = Emitter(context, builder, signature, args)
        vector, dtype = args[0], signature.args[1].dtype
        if dtype != values.dtype:
            scalar = ir.HalfType() if dtype == types.uint16 else ir.FloatType()
            vector = builder.fptrunc(vector, ir.VectorType(scalar, values.lanes))
        store_at(builder, vector, *e.pointers(1), args[2], dtype.bitwidth // 8)
        return e.nothing()

    return types.void(values, table, types.intp), codegen


@intrinsic
def put_square(typingctx, points, numbers, first, feature, scale, table, at, width):
    """Put as many features of as many points as a vector has lanes into a table, side by side.

    Parameters
    ----------
    points : float32 or float64 array of shape (n_points, n_features)
    numbers : int64 array
        The points are those of the numbers from ``numbers[first]`` on.
    feature : int
        The first of them, of ``n_features`` at least a vector's lanes before the last.
    scale : float
        What the values are multiplied by, before they are rounded to float32.
    table : array of float32, or of uint16: the bits of 16-bit floats
    at : int
        Where the first feature's values begin.
    width : int
        How far the next feature's are behind these.
    """
    index = types.intp
    signature = types.void(points, numbers, index, index, types.float64, table, index, index)

    def codegen(context, builder, signature, args):
        e = Emitter(context, builder, signature, args)
        values, rows, to = e.pointers(0, 1, 5)
        first, feature, scale, at, width = (args[i] for i in (2, 3, 4, 6, 7))
        n_features, dtype = e.extent(0, 1), signature.args[0].dtype
        single = ir.VectorType(ir.FloatType(), LANES)
        factor = splat(builder, scale, LANES)
        later = e.plus(feature, _AHEAD)
        later = builder.select(builder.icmp_signed("<", later, n_features), later, feature)
        square = []
        for lane in range(LANES):
            row = e.row(values, e.value(rows, e.plus(first, lane)), n_features)
            stored = ir.VectorType(llvm_type(dtype), LANES)
            vector = load_at(builder, row, feature, stored, dtype.bitwidth // 8)
            if dtype != types.float64:
                vector = builder.fpext(vector, ir.VectorType(ir.DoubleType(), LANES))
            prefetch(builder, row, later)
            square.append(builder.fptrunc(builder.fmul(vector, factor), single))
        itemsize = signature.args[5].dtype.bitwidth // 8
        for i, column in enumerate(transpose_square(builder, square)):
            if itemsize == 2:
                column = builder.fptrunc(column, ir.VectorType(ir.HalfType(), LANES))
            store_at(builder, column, to, e.plus(at, e.times(i, width)), itemsize)
        return e.nothing()

    return signature, codegen


@intrinsic
def transpose(typingctx, rows, columns):
    """Put the columns of a square of float32 values side by side, as many as a vector has lanes."""

    def codegen(context, builder, signature, args):
        e = Emitter(context, builder, signature, args)
        values, to = e.pointers(0, 1)
        vector = e.vector(0)
        places = [constant(i * vector.count) for i in range(vector.count)]
        square = [load_at(builder, values, place, vector, 4) for place in places]
        for place, column in zip(places, transpose_square(builder, square), strict=True):
            store_at(builder, column, to, place, 4)
        return e.nothing()

    return types.void(rows, columns), codegen


def _emit_piece(e, vector, width):
    builder = e.builder
    data, indices, table, starts, totals = e.pointers(0, 1, 6, 9, 10)
    start, stop, factor, at, to = (e.args[i] for i in (3, 4, 5, 7, 11))
    size = e.signature.args[10].dtype.bitwidth // 8
    lanes, n_sets = vector.count, _n_sets(width)
    stored, itemsize = vector, size
    if e.signature.args[6].dtype == types.uint16:
        stored, itemsize = ir.VectorType(ir.HalfType(), lanes), 2
    places = None if e.signature.args[2] == types.none else e.pointers(2)[0]
    sets = [e.zeros(vector, width) for _ in range(n_sets)]
    last = e.plus(e.extent(1, 0), -1)

    def fetch(i):
        """Ask for the line of a value further on, of one of the next rows maybe."""
        later = e.plus(i, max(_LEAST_AHEAD, _VECTORS_AHEAD // width))
        later = builder.select(builder.icmp_signed("<", later, last), later, last)
        base = e.plus(at, e.times(builder.sext(e.value(indices, later), INDEX), width * lanes))
        for v in range(0, width * lanes, LINE_BYTES // itemsize):
            prefetch(builder, table, e.plus(base, v))

    def add(i, sums, present=None):
        if places is None and width >= _FETCHED_WIDTH:
            fetch(i)
        value = e.value(data, i)
        narrows = value.type == ir.DoubleType() != vector.element
        if present is not None:
            value = builder.select(present, value, ir.Constant(value.type, 0.0))
        if narrows:
            value = builder.fptrunc(value, vector.element)
        values = splat(builder, value, lanes)
        if value.type != vector.element:  # in every lane, which one instruction does
            values = builder.fpext(values, vector)
        line = builder.sext(e.value(indices, i), INDEX)
        if places is not None:
            line = builder.sext(e.value(places, line), INDEX)
        base = e.plus(at, e.times(line, width * lanes))
        for v, place in enumerate(sums):
            other = load_at(builder, table, e.plus(base, v * lanes), stored, itemsize)
            if stored is not vector:
                other = builder.fpext(other, vector)
            e.add_product(place, values, other)

    whole = e.plus(start, builder.and_(builder.sub(stop, start), ir.Constant(stop.type, -n_sets)))
    with e.loop(start, whole, n_sets) as i:
        for number, sums in enumerate(sets):
            add(e.plus(i, number), sums)
    if places is None:
        with e.loop(whole, stop, 1) as i:
            add(i, sets[0])
    else:
        # Up to three values, without a loop whose end nothing foretells: zeros in place of others.
        with builder.if_then(builder.icmp_signed("<", whole, stop)):
            for number in range(n_sets - 1):
                i = e.plus(whole, number)
                inside = builder.icmp_signed("<", i, stop)
                add(builder.select(inside, i, whole), sets[0], inside)
    if vector.element != factor.type:
        factor = builder.fptrunc(factor, vector.element)
    factor = splat(builder, factor, lanes)
    for v in range(width):
        values = [builder.load(sums[v]) for sums in sets]
        while len(values) > 1:
            values = [builder.fadd(a, b) for a, b in zip(values[::2], values[1::2], strict=True)]
        first = load_at(builder, starts, e.plus(to, v * lanes), vector, size)
        total = fma(builder, factor, values[0], first)
        store_at(builder, total, totals, e.plus(to, v * lanes), size)
