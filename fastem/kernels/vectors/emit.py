"""LLVM's vectors, as the code generators of intrinsics emit them.

They are LLVM's generic ones: the code generator lowers them to AVX-512, AVX2 or NEON, whichever
the machine has.
"""

from llvmlite import ir
from numba import types
from numba.core import cgutils


def llvm_type(dtype):
    """LLVM's type of a scalar Numba type; a boolean is one bit."""
    if isinstance(dtype, types.Boolean):
        return ir.IntType(1)
    if isinstance(dtype, types.Float):
        return ir.FloatType() if dtype.bitwidth == 32 else ir.DoubleType()
    return ir.IntType(dtype.bitwidth)


def constant(value):
    """An index or number of values, as LLVM takes it."""
    return ir.Constant(ir.IntType(64), value)


def splat(builder, scalar, lanes):
    """A vector with ``scalar`` in every lane."""
    vector = ir.VectorType(scalar.type, lanes)
    first = builder.insert_element(
        ir.Constant(vector, ir.Undefined), scalar, ir.Constant(ir.IntType(32), 0)
    )
    mask = ir.Constant(ir.VectorType(ir.IntType(32), lanes), [0] * lanes)
    return builder.shuffle_vector(first, ir.Constant(vector, ir.Undefined), mask)


def _name_suffix(vector):
    scalar = vector.element
    if isinstance(scalar, ir.FloatType):
        return f"v{vector.count}f32"
    if isinstance(scalar, ir.DoubleType):
        return f"v{vector.count}f64"
    return f"v{vector.count}i{scalar.width}"


def call_llvm(builder, name, args):
    """Call the LLVM intrinsic ``name`` on vectors, declared by hand.

    llvmlite's ``declare_intrinsic`` refuses vector types.
    """
    vector = args[0].type
    function_type = ir.FunctionType(vector, [a.type for a in args])
    function = cgutils.get_or_insert_function(
        builder.module, function_type, f"llvm.{name}.{_name_suffix(vector)}"
    )
    return builder.call(function, args)


def fma(builder, a, b, c):
    """``a * b + c``, rounded once."""
    return call_llvm(builder, "fma", [a, b, c])


def minimum(builder, a, b):
    """The lesser of each lane (``b`` where unordered), one instruction on x86."""
    return builder.select(builder.fcmp_ordered("<", a, b), a, b)


def maximum(builder, a, b):
    return builder.select(builder.fcmp_ordered(">", a, b), a, b)


def shuffle(builder, a, b, mask):
    constant = ir.Constant(ir.VectorType(ir.IntType(32), len(mask)), list(mask))
    return builder.shuffle_vector(a, b, constant)


def transpose_square(builder, rows):
    """Transpose a square of vectors in registers: log2(n) rounds of n shuffles."""
    n = len(rows)
    half = n // 2
    rows = list(rows)
    while half:
        low = [i if not i & half else n + (i ^ half) for i in range(n)]
        high = [i ^ half if not i & half else n + i for i in range(n)]
        for i in range(n):
            if not i & half:
                a, b = rows[i], rows[i + half]
                rows[i] = shuffle(builder, a, b, low)
                rows[i + half] = shuffle(builder, a, b, high)
        half //= 2
    return rows


def sum_lanes(builder, vector):
    """The sum of a vector's lanes, added in pairs."""
    lanes = vector.type.count
    while lanes > 1:
        lanes //= 2
        vector = builder.fadd(
            shuffle(builder, vector, vector, range(lanes)),
            shuffle(builder, vector, vector, range(lanes, 2 * lanes)),
        )
    return builder.extract_element(vector, ir.Constant(ir.IntType(32), 0))


def sum_vectors(builder, vectors):
    """One vector of the sums of as many vectors as it has lanes, added in pairs."""
    lanes = len(vectors)
    vectors = list(vectors)
    width = lanes // 2
    while width:
        # Each vector consists of runs of 2 * width lanes that are to be folded to half.
        low, high = [], []
        for run in range(0, 2 * lanes, 2 * width):
            low += range(run, run + width)
            high += range(run + width, run + 2 * width)
        vectors = [
            builder.fadd(shuffle(builder, a, b, low), shuffle(builder, a, b, high))
            for a, b in zip(vectors[::2], vectors[1::2], strict=True)
        ]
        width //= 2
    return vectors[0]


def data_pointer(context, builder, array_type, array):
    """The address of an array's first value."""
    return context.make_array(array_type)(context, builder, array).data


def load_at(builder, pointer, index, vector, align):
    """Load a vector that starts ``index`` values behind ``pointer``."""
    address = builder.bitcast(builder.gep(pointer, [index]), vector.as_pointer())
    return builder.load(address, align=align)


def load_some(builder, pointer, index, vector, align, count):
    """As :func:`load_at`, the first ``count`` values only; zeros behind, where nothing is read."""
    number = ir.IntType(32)
    numbers = ir.Constant(ir.VectorType(number, vector.count), list(range(vector.count)))
    mask = builder.icmp_signed(
        "<", numbers, splat(builder, builder.trunc(count, number), vector.count)
    )
    address = builder.gep(pointer, [index])
    function = cgutils.get_or_insert_function(
        builder.module,
        ir.FunctionType(vector, [address.type, number, mask.type, vector]),
        f"llvm.masked.load.{_name_suffix(vector)}.p0",
    )
    zeros = ir.Constant(vector, [0.0] * vector.count)
    return builder.call(function, [address, number(align), mask, zeros])


def store_at(builder, value, pointer, index, align):
    address = builder.bitcast(builder.gep(pointer, [index]), value.type.as_pointer())
    builder.store(value, address, align=align)


def prefetch(builder, pointer, index):
    """Ask for the cache line of a value, which need not exist."""
    byte, flag = ir.IntType(8).as_pointer(), ir.IntType(32)
    function = cgutils.get_or_insert_function(
        builder.module,
        ir.FunctionType(ir.VoidType(), [byte, flag, flag, flag]),
        "llvm.prefetch.p0",
    )
    address = builder.bitcast(builder.gep(pointer, [index]), byte)
    # For reading, to all levels of the data cache.
    builder.call(function, [address, flag(0), flag(3), flag(1)])
