"""Vectors of the machine's own width, and tiles of rows laid out for them.

A *tile* is ``TILE`` rows transposed to (features, lanes), so that one vector holds one feature of
several rows and every operation works on that many rows at once. The vectors are LLVM's generic
ones: the code generator lowers them to AVX-512, AVX2 or NEON, whichever the machine has.
"""

import operator
import platform

import llvmlite.binding
from llvmlite import ir
from numba import types
from numba.core import cgutils, config
from numba.extending import (
    intrinsic,
    lower_builtin,
    models,
    overload,
    register_model,
    type_callable,
)

# Rows of a tile: 256 bytes a feature in float32, 512 in float64. A stride of a multiple of 2 KiB
# would make the features of a tile fight for the same cache sets.
TILE = 64


def _cpu_features():
    """The feature string that Numba compiles for."""
    if config.CPU_FEATURES is not None:
        return config.CPU_FEATURES
    return llvmlite.binding.get_host_cpu_features().flatten()


CPU_FEATURES = frozenset(_cpu_features().split(","))


def _vector_bytes():
    if "+avx512f" in CPU_FEATURES:
        return 64
    return 32 if "+avx" in CPU_FEATURES else 16


VECTOR_BYTES = _vector_bytes()
LANES = VECTOR_BYTES // 4  # float32 values in a vector


def vector_lanes(dtype):
    """How many values of a Numba type a vector holds."""
    return VECTOR_BYTES * 8 // dtype.bitwidth


# AVX-512 and NEON have 32 vector registers, older x86 has 16.
WIDE_REGISTER_FILE = VECTOR_BYTES == 64 or platform.machine() not in ("x86_64", "AMD64")


class Vector(types.Type):
    """Numba type of an LLVM vector: ``lanes`` values of ``dtype`` (booleans are masks)."""

    def __init__(self, dtype, lanes):
        self.dtype = dtype
        self.lanes = lanes
        super().__init__(name=f"Vector({dtype}, {lanes})")


@register_model(Vector)
class VectorModel(models.PrimitiveModel):
    def __init__(self, dmm, fe_type):
        super().__init__(dmm, fe_type, ir.VectorType(llvm_type(fe_type.dtype), fe_type.lanes))


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


# Operations for kernels written in Python


def lanes_of(array):
    """How many of the array's values a vector holds: a constant in kernels."""
    return VECTOR_BYTES // array.itemsize


@overload(lanes_of)
def _lanes_of(array):
    lanes = vector_lanes(array.dtype)
    return lambda array: lanes


@intrinsic
def load(typingctx, array, index, lanes):
    """The vector of ``lanes`` values from ``array[index]`` on."""
    if not isinstance(lanes, types.IntegerLiteral):
        return None
    result = Vector(array.dtype, lanes.literal_value)
    sig = result(array, types.intp, lanes)

    def codegen(context, builder, signature, args):
        pointer = data_pointer(context, builder, signature.args[0], args[0])
        size = array.dtype.bitwidth // 8
        return load_at(builder, pointer, args[1], context.get_value_type(result), size)

    return sig, codegen


@intrinsic
def store(typingctx, vector, array, index):
    """Write a vector to ``array[index:]``."""
    sig = types.void(vector, array, types.intp)

    def codegen(context, builder, signature, args):
        pointer = data_pointer(context, builder, signature.args[1], args[1])
        store_at(builder, args[0], pointer, args[2], array.dtype.bitwidth // 8)
        return context.get_dummy_value()

    return sig, codegen


@intrinsic
def broadcast(typingctx, scalar, lanes):
    """A vector with ``scalar`` in every lane."""
    if not isinstance(lanes, types.IntegerLiteral):
        return None
    sig = Vector(scalar, lanes.literal_value)(scalar, lanes)

    def codegen(context, builder, signature, args):
        return splat(builder, args[0], lanes.literal_value)

    return sig, codegen


@intrinsic
def square_root(typingctx, a):
    def codegen(context, builder, signature, args):
        return call_llvm(builder, "sqrt", args)

    return a(a), codegen


@intrinsic
def multiply_add(typingctx, a, b, c):
    """``a * b + c``, rounded once."""

    def codegen(context, builder, signature, args):
        return fma(builder, *args)

    return a(a, b, c), codegen


@intrinsic
def lesser(typingctx, a, b):
    def codegen(context, builder, signature, args):
        return minimum(builder, *args)

    return a(a, b), codegen


@intrinsic
def greater(typingctx, a, b):
    def codegen(context, builder, signature, args):
        return maximum(builder, *args)

    return a(a, b), codegen


@intrinsic
def where(typingctx, mask, a, b):
    """``a`` in the lanes where the mask is set, ``b`` in the others."""

    def codegen(context, builder, signature, args):
        return builder.select(*args)

    return a(mask, a, b), codegen


@intrinsic
def bits(typingctx, mask):
    """A mask's lanes as the low bits of an unsigned 64-bit integer."""

    def codegen(context, builder, signature, args):
        packed = builder.bitcast(args[0], ir.IntType(mask.lanes))
        if mask.lanes == 64:
            return packed
        return builder.zext(packed, ir.IntType(64))

    return types.uint64(mask), codegen


def _operator(function, emit, result=None):
    """Let kernels write an operator between vectors; ``result`` is its scalar type if another.

    By a rule and its code: as an overload, each use would be compiled like a function first,
    in 15 ms.
    """

    @type_callable(function)
    def type_operation(context):
        def typer(a, b):
            if isinstance(a, Vector) and a == b:
                return a if result is None else Vector(result, a.lanes)
            return None

        return typer

    @lower_builtin(function, Vector, Vector)
    def lower_operation(context, builder, signature, args):
        return emit(builder, *args)


_operator(operator.add, lambda builder, a, b: builder.fadd(a, b))
_operator(operator.sub, lambda builder, a, b: builder.fsub(a, b))
_operator(operator.mul, lambda builder, a, b: builder.fmul(a, b))
# With ``arcp``, quotients of the same divisor would become products with its reciprocal, which is
# less exact. An instruction that has a flag gets none of Numba's.
_operator(operator.truediv, lambda builder, a, b: builder.fdiv(a, b, flags=["contract"]))
_operator(operator.lt, lambda builder, a, b: builder.fcmp_ordered("<", a, b), types.boolean)
_operator(operator.le, lambda builder, a, b: builder.fcmp_ordered("<=", a, b), types.boolean)
_operator(operator.and_, lambda builder, a, b: builder.and_(a, b), types.boolean)
_operator(operator.or_, lambda builder, a, b: builder.or_(a, b), types.boolean)
_operator(operator.ne, lambda builder, a, b: builder.icmp_signed("!=", a, b), types.boolean)


@intrinsic
def fetch(typingctx, array, index):
    """Ask for the cache line of ``array.flat[index]``, which need not exist."""
    sig = types.void(array, types.intp)

    def codegen(context, builder, signature, args):
        prefetch(builder, data_pointer(context, builder, signature.args[0], args[0]), args[1])
        return context.get_dummy_value()

    return sig, codegen


@intrinsic
def first_bit(typingctx, mask):
    """The position of the lowest bit that is set (``mask`` is not zero)."""

    def codegen(context, builder, signature, args):
        return builder.cttz(args[0], ir.Constant(ir.IntType(1), 1))

    return types.uint64(types.uint64), codegen


@intrinsic
def count_bits(typingctx, mask):
    """How many bits are set."""

    def codegen(context, builder, signature, args):
        return builder.ctpop(args[0])

    return types.uint64(types.uint64), codegen
