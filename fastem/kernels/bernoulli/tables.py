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
from numba.extending import intrinsic

from fastem.kernels.runtime.compiling import inline
from fastem.kernels.vectors.emit import (
    INDEX,
    Emitter,
    constant,
    load_at,
    store_at,
    transpose_square,
)
from fastem.kernels.vectors.vector import broadcast, load, store

GROUP = 8  # float64 values in an entry: a cache line
NIBBLE = 4  # features of a table
TABLE = 2**NIBBLE * GROUP
_VECTOR = ir.VectorType(ir.DoubleType(), GROUP)

# Bytes of a row that are read at once, as long as there are so many.
_SIZES = (8, 4, 1)


def _over_nibbles(e, packed, at, count, visit):
    """Emit ``visit(entry)`` for the nibbles of ``count`` bytes of a row.

    ``entry`` is where the entry begins, counted from the first nibble's table.
    """
    builder = e.builder
    row = e.at(packed, at)

    def emit(first, word, n_nibbles):
        # From the lowest bits on, which are those of the first byte (all machines that Numba knows
        # are little-endian).
        start = e.times(first, 2 * TABLE)
        for i in range(n_nibbles):
            value = builder.and_(builder.lshr(word, constant(i * NIBBLE)), constant(15))
            entry = e.plus(start, e.times(value, GROUP))
            visit(e.plus(entry, i * TABLE))

    done = 0
    for size in _SIZES:
        word = ir.IntType(8 * size)
        stop = builder.and_(count, constant(-size))
        with e.loop(done, stop, size) as first:
            address = builder.bitcast(e.at(row, first), word.as_pointer())
            value = builder.load(address, align=1)
            emit(first, value if word == INDEX else builder.zext(value, INDEX), 2 * size)
        done = stop


def _load(e, pointer, at):
    """An entry, or another vector over a group."""
    return load_at(e.builder, pointer, at, _VECTOR, 64)


def _store(e, value, pointer, at):
    store_at(e.builder, value, pointer, at, 64)


# LLVM's own code, as Python can't read several bytes as one integer, nor transpose in registers.


@intrinsic
def look_up(typingctx, packed, at, count, tables, sums, to):
    """Add the entries of the bytes ``packed.flat[at : at + count]`` to ``sums[to:]``."""
    integer = types.intp
    sig = types.void(packed, integer, integer, tables, sums, integer)

    def codegen(context, builder, signature, args):
        e = Emitter(context, builder, signature, args)
        _, at, count, _, _, to = args
        packed, tables, sums = e.pointers(0, 3, 4)
        # Two sums, of even and of odd nibbles: an addition then has time to finish.
        slots = e.zeros(_VECTOR, 2)
        builder.store(_load(e, sums, to), slots[0])

        def visit(entry):
            e.add(slots[0], _load(e, tables, entry))
            slots.reverse()

        _over_nibbles(e, packed, at, count, visit)
        total = builder.fadd(*(builder.load(slot) for slot in slots))
        _store(e, total, sums, to)
        return e.nothing()

    return sig, codegen


@intrinsic
def scatter(typingctx, packed, at, count, tables, origin, shares, source):
    """Add ``shares[source:]`` to the entries of the bytes ``packed.flat[at : at + count]``.

    The first nibble's table starts at ``tables[origin]``.
    """
    integer = types.intp
    sig = types.void(packed, integer, integer, tables, integer, shares, integer)

    def codegen(context, builder, signature, args):
        e = Emitter(context, builder, signature, args)
        _, at, count, _, origin, _, source = args
        packed, tables, shares = e.pointers(0, 3, 5)
        tables = e.at(tables, origin)
        share = _load(e, shares, source)

        def visit(entry):
            _store(e, builder.fadd(_load(e, tables, entry), share), tables, entry)

        _over_nibbles(e, packed, at, count, visit)
        return e.nothing()

    return sig, codegen


@intrinsic
def transpose_group(typingctx, source, at, stride, target, to, target_stride):
    """Write GROUP vectors of GROUP values of ``source`` as columns of ``target``."""
    integer = types.intp
    sig = types.void(source, integer, integer, target, integer, integer)

    def codegen(context, builder, signature, args):
        e = Emitter(context, builder, signature, args)
        _, at, stride, _, to, target_stride = args
        source, target = e.pointers(0, 3)
        rows = [_load(e, source, e.plus(at, e.times(stride, i))) for i in range(GROUP)]
        for i, column in enumerate(transpose_square(builder, rows)):
            _store(e, column, target, e.plus(to, e.times(target_stride, i)))
        return e.nothing()

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
