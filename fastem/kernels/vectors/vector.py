"""Vectors of the machine's own width, for kernels written in Python."""

import operator

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import (
    intrinsic,
    lower_builtin,
    models,
    register_model,
    type_callable,
)

from fastem.kernels.vectors.emit import (
    INDEX,
    call_llvm,
    data_pointer,
    fma,
    fold_lanes,
    llvm_type,
    load_at,
    maximum,
    minimum,
    prefetch,
    splat,
    store_at,
)
from fastem.kernels.vectors.machine import VECTOR_BYTES, vector_lanes


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


def lanes_of(array):
    """How many of the array's values a vector holds: a constant in kernels."""
    return VECTOR_BYTES // array.itemsize


@type_callable(lanes_of)
def _type_lanes(context):
    return lambda array: types.literal(vector_lanes(array.dtype))


@lower_builtin(lanes_of, types.Array)
def _lower_lanes(context, builder, signature, args):
    return context.get_constant(types.intp, signature.return_type.literal_value)


def lowest_of(array):
    """The least finite number that the array can hold: a constant in kernels."""
    return np.finfo(array.dtype).min


@type_callable(lowest_of)
def _type_lowest(context):
    return lambda array: array.dtype


@lower_builtin(lowest_of, types.Array)
def _lower_lowest(context, builder, signature, args):
    dtype = signature.return_type
    return context.get_constant(dtype, np.finfo(str(dtype)).min)


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


def _folded(emit):
    """The intrinsic that makes one value of a vector's lanes, in pairs."""

    @intrinsic
    def function(typingctx, a):
        def codegen(context, builder, signature, args):
            return fold_lanes(builder, args[0], emit)

        return a.dtype(a), codegen

    return function


sum_of_lanes = _folded(lambda builder, a, b: builder.fadd(a, b))
least_of_lanes = _folded(minimum)
greatest_of_lanes = _folded(maximum)


@intrinsic
def magnitude(typingctx, a):
    """The absolute values."""

    def codegen(context, builder, signature, args):
        return call_llvm(builder, "fabs", args)

    return a(a), codegen


def _converted(dtype, name):
    """The intrinsic that makes a vector of another floating-point type."""

    @intrinsic
    def function(typingctx, a):
        result = Vector(dtype, a.lanes)

        def codegen(context, builder, signature, args):
            if a == result:
                return args[0]
            return getattr(builder, name)(args[0], context.get_value_type(result))

        return result(a), codegen

    return function


#: The values rounded to float32, or widened to float64.
single = _converted(types.float32, "fptrunc")
double = _converted(types.float64, "fpext")


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
        return builder.zext(packed, INDEX)

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
