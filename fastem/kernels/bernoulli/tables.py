"""Tables that turn eight binary features at once into one vector addition.

Rows are packed into bits, eight features to a *byte*, and components are taken in *groups* of
``GROUP``. For a byte's place and a group, a table has one entry, a vector over the group, for each
of the byte's 256 values: in the E-step the log-density of those eight features, in the M-step the
sum of the responsibilities of the rows that have this value there. A row costs one vector addition
for eight features and ``GROUP`` components, and no bit is ever looked at by itself.

This is the "method of the four Russians" for products with Boolean matrices: Arlazarov, Dinic,
Kronrod and Faradzev, "On economical construction of the transitive closure of a directed graph",
Soviet Mathematics Doklady 11, 1970.
"""

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from fastem.kernels.compiling import inline
from fastem.kernels.simd import broadcast, constant, data_pointer, load, load_at, store, store_at
from fastem.kernels.simd import transpose_square as transposed

# Float64 values in an entry: a cache line.
GROUP = 8
ENTRIES = 256
TABLE = ENTRIES * GROUP

# Room in front of the tables for the sums over the lower and over the higher four bits.
HALVES = 32 * GROUP

_UNROLLED = 8


def _over_bytes(builder, packed, at, count, visit):
    """Emit ``visit(place, entry)`` for ``count`` bytes of a row, some at a time."""
    integer = ir.IntType(64)
    row = builder.gep(packed, [at])

    def emit(first, n):
        for i in range(n):
            place = builder.add(first, constant(i))
            value = builder.zext(builder.load(builder.gep(row, [place])), integer)
            entry = builder.add(
                builder.mul(place, constant(TABLE)), builder.mul(value, constant(GROUP))
            )
            visit(entry)

    whole = builder.and_(count, constant(-_UNROLLED))
    with cgutils.for_range_slice(builder, constant(0), whole, constant(_UNROLLED), integer) as (
        first,
        _,
    ):
        emit(first, _UNROLLED)
    with cgutils.for_range_slice(builder, whole, count, constant(1), integer) as (first, _):
        emit(first, 1)


@intrinsic
def look_up(typingctx, packed, at, count, tables, origin, sums, to):
    """Add the entries of the bytes ``packed.flat[at : at + count]`` to ``sums[to:]``.

    The first byte's table starts at ``tables[origin]``, the others' follow it.
    """
    integer = types.intp
    sig = types.void(packed, integer, integer, tables, integer, sums, integer)

    def codegen(context, builder, signature, args):
        bits, table, output = (
            data_pointer(context, builder, signature.args[i], args[i]) for i in (0, 3, 5)
        )
        table = builder.gep(table, [args[4]])
        vector = ir.VectorType(ir.DoubleType(), GROUP)
        total = cgutils.alloca_once(builder, vector)
        builder.store(load_at(builder, output, args[6], vector, 64), total)

        def visit(entry):
            value = load_at(builder, table, entry, vector, 64)
            builder.store(builder.fadd(builder.load(total), value), total)

        _over_bytes(builder, bits, args[1], args[2], visit)
        store_at(builder, builder.load(total), output, args[6], 64)
        return context.get_dummy_value()

    return sig, codegen


@intrinsic
def scatter(typingctx, packed, at, count, tables, origin, shares, source):
    """Add ``shares[source:]`` to the entries of the bytes ``packed.flat[at : at + count]``.

    The tables as in :func:`look_up`.
    """
    integer = types.intp
    sig = types.void(packed, integer, integer, tables, integer, shares, integer)

    def codegen(context, builder, signature, args):
        bits, table, values = (
            data_pointer(context, builder, signature.args[i], args[i]) for i in (0, 3, 5)
        )
        table = builder.gep(table, [args[4]])
        vector = ir.VectorType(ir.DoubleType(), GROUP)
        share = load_at(builder, values, args[6], vector, 64)

        def visit(entry):
            value = builder.fadd(load_at(builder, table, entry, vector, 64), share)
            store_at(builder, value, table, entry, 64)

        _over_bytes(builder, bits, args[1], args[2], visit)
        return context.get_dummy_value()

    return sig, codegen


@intrinsic
def transpose_group(typingctx, source, at, stride, target, to, target_stride):
    """Write GROUP vectors of GROUP values of ``source`` as columns of ``target``."""
    integer = types.intp
    sig = types.void(source, integer, integer, target, integer, integer)

    def codegen(context, builder, signature, args):
        x = data_pointer(context, builder, signature.args[0], args[0])
        y = data_pointer(context, builder, signature.args[3], args[3])
        vector = ir.VectorType(ir.DoubleType(), GROUP)

        def place(start, stride, i):
            return builder.add(start, builder.mul(stride, constant(i)))

        rows = [load_at(builder, x, place(args[1], args[2], i), vector, 64) for i in range(GROUP)]
        for i, column in enumerate(transposed(builder, rows)):
            store_at(builder, column, y, place(args[4], args[5], i), 64)
        return context.get_dummy_value()

    return sig, codegen


@inline
def fill_table(absent, present, start, tables, at):
    """Make the table of eight features from ``absent[start:]`` and ``present[start:]`` on.

    These hold, feature by feature, a vector over the group: what the feature adds if its bit is
    not set, and if it is. ``tables`` begins with HALVES values of scratch.
    """
    halves = tables
    zero = broadcast(0.0, GROUP)
    for half in range(2):
        base = half * 16 * GROUP
        store(zero, halves, base)
        size = 1
        for i in range(4):
            feature = start + (half * 4 + i) * GROUP
            without, within = load(absent, feature, GROUP), load(present, feature, GROUP)
            for value in range(size):
                entry = base + value * GROUP
                total = load(halves, entry, GROUP)
                store(total + within, halves, entry + size * GROUP)
                store(total + without, halves, entry)
            size *= 2
    for high in range(16):
        total = load(halves, (16 + high) * GROUP, GROUP)
        for low in range(16):
            entry = at + (high * 16 + low) * GROUP
            store(total + load(halves, low * GROUP, GROUP), tables, entry)


@inline
def clear_table(tables, at):
    zero = broadcast(0.0, GROUP)
    for entry in range(ENTRIES):
        store(zero, tables, at + entry * GROUP)


@inline
def fold_table(tables, at, sums, start):
    """Add up the entries whose i-th bit is set, for all eight: added to ``sums[start:]``.

    ``tables`` begins with HALVES values of scratch.
    """
    halves = tables
    zero = broadcast(0.0, GROUP)
    for low in range(16):
        store(zero, halves, low * GROUP)
    for high in range(16):
        total = zero
        for low in range(16):
            value = load(tables, at + (high * 16 + low) * GROUP, GROUP)
            total = total + value
            store(load(halves, low * GROUP, GROUP) + value, halves, low * GROUP)
        store(total, halves, (16 + high) * GROUP)
    for half in range(2):
        for i in range(4):
            feature = start + (half * 4 + i) * GROUP
            total = load(sums, feature, GROUP)
            for value in range(16):
                if (value >> i) & 1:
                    total = total + load(halves, (half * 16 + value) * GROUP, GROUP)
            store(total, sums, feature)
