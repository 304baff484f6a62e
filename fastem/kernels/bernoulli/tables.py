"""Tables that turn four binary features at once into one vector addition.

Rows are packed into bits, eight features to a byte, and components are taken in *groups* of
``GROUP``. For each *nibble*, half a byte, and each group a table has an entry, a vector over the
group, for each of the nibble's 16 values: in the E-step the log-density of its four features, in
the M-step the sum of the responsibilities of the rows that have this value there. A row costs one
vector addition for four features and ``GROUP`` components, and no bit is ever looked at by itself.

This is the "method of the four Russians" for products with Boolean matrices: Arlazarov, Dinic,
Kronrod and Faradzev, "On economical construction of the transitive closure of a directed graph",
Soviet Mathematics Doklady 11, 1970. Tables for whole bytes would halve the additions, but not fit
into the first-level cache: they took the same time for 784 features and more for fewer rows.
"""

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from fastem.kernels.runtime.compiling import inline
from fastem.kernels.vectors.emit import constant, data_pointer, load_at, store_at
from fastem.kernels.vectors.emit import transpose_square as transposed
from fastem.kernels.vectors.vector import broadcast, load, store

GROUP = 8  # float64 values in an entry: a cache line
NIBBLE = 4  # features of a table
TABLE = 2**NIBBLE * GROUP

# Bytes of a row that are read at once, as long as there are so many.
_SIZES = (8, 4, 1)


def _over_nibbles(builder, packed, at, count, visit):
    """Emit ``visit(entry)`` for the nibbles of ``count`` bytes of a row.

    ``entry`` is where the entry begins, counted from the first nibble's table.
    """
    integer = ir.IntType(64)
    row = builder.gep(packed, [at])

    def emit(first, word, n_nibbles):
        # From the lowest bits on, which are those of the first byte (all machines that Numba knows
        # are little-endian).
        start = builder.mul(first, constant(2 * TABLE))
        for i in range(n_nibbles):
            value = builder.and_(builder.lshr(word, constant(i * NIBBLE)), constant(15))
            entry = builder.add(start, builder.mul(value, constant(GROUP)))
            visit(builder.add(entry, constant(i * TABLE)))

    done = constant(0)
    for size in _SIZES:
        word = ir.IntType(8 * size)
        stop = builder.and_(count, constant(-size))
        with cgutils.for_range_slice(builder, done, stop, constant(size), integer) as (first, _):
            address = builder.bitcast(builder.gep(row, [first]), word.as_pointer())
            value = builder.load(address, align=1)
            emit(first, value if size == 8 else builder.zext(value, integer), 2 * size)
        done = stop


@intrinsic
def look_up(typingctx, packed, at, count, tables, sums, to):
    """Add the entries of the bytes ``packed.flat[at : at + count]`` to ``sums[to:]``."""
    integer = types.intp
    sig = types.void(packed, integer, integer, tables, sums, integer)

    def codegen(context, builder, signature, args):
        bits, table, output = (
            data_pointer(context, builder, signature.args[i], args[i]) for i in (0, 3, 4)
        )
        vector = ir.VectorType(ir.DoubleType(), GROUP)
        # Two sums, of even and of odd nibbles: an addition then has time to finish.
        slots = [cgutils.alloca_once(builder, vector) for _ in range(2)]
        builder.store(load_at(builder, output, args[5], vector, 64), slots[0])
        builder.store(ir.Constant(vector, [0.0] * GROUP), slots[1])

        def visit(entry):
            value = load_at(builder, table, entry, vector, 64)
            builder.store(builder.fadd(builder.load(slots[0]), value), slots[0])
            slots.reverse()

        _over_nibbles(builder, bits, args[1], args[2], visit)
        total = builder.fadd(builder.load(slots[0]), builder.load(slots[1]))
        store_at(builder, total, output, args[5], 64)
        return context.get_dummy_value()

    return sig, codegen


@intrinsic
def scatter(typingctx, packed, at, count, tables, origin, shares, source):
    """Add ``shares[source:]`` to the entries of the bytes ``packed.flat[at : at + count]``.

    The first nibble's table starts at ``tables[origin]``.
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

        _over_nibbles(builder, bits, args[1], args[2], visit)
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
    """Make the table of four features from ``absent[start:]`` and ``present[start:]`` on.

    These hold, feature by feature, a vector over the group: what the feature adds if its bit is
    not set, and if it is.
    """
    store(broadcast(0.0, GROUP), tables, at)
    size = 1
    for i in range(NIBBLE):
        without = load(absent, start + i * GROUP, GROUP)
        within = load(present, start + i * GROUP, GROUP)
        for value in range(size):
            entry = at + value * GROUP
            total = load(tables, entry, GROUP)
            store(total + within, tables, entry + size * GROUP)
            store(total + without, tables, entry)
        size *= 2


@inline
def fold_table(tables, at, sums, start):
    """Add up the entries whose i-th bit is set, for all four bits: added to ``sums[start:]``."""
    for i in range(NIBBLE):
        total = load(sums, start + i * GROUP, GROUP)
        for value in range(2**NIBBLE):
            if (value >> i) & 1:
                total = total + load(tables, at + value * GROUP, GROUP)
        store(total, sums, start + i * GROUP)
