"""Sums of products in twofold precision: an unevaluated sum of two float64 values.

T. Ogita, S. M. Rump and S. Oishi, "Accurate sum and dot product", SIAM Journal on Scientific
Computing 26, 2005. None of the operations may be fused or reordered: they carry a flag of their own
that changes nothing here, so that Numba adds none.
"""

from llvmlite.ir import IRBuilder
from numba import types
from numba.extending import intrinsic

from fastem.kernels.vectors.emit import fma
from fastem.kernels.vectors.vector import Vector

_FLAGS = ("nsz",)


def _two_sum(builder, a, b):
    """The rounded sum and its error (D. E. Knuth)."""
    total = builder.fadd(a, b, flags=_FLAGS)
    part = builder.fsub(total, a, flags=_FLAGS)
    rest = builder.fsub(total, part, flags=_FLAGS)
    lost = builder.fsub(a, rest, flags=_FLAGS)
    lost_too = builder.fsub(b, part, flags=_FLAGS)
    return total, builder.fadd(lost, lost_too, flags=_FLAGS)


@intrinsic
def add_value(typingctx, high, low, value):
    """``high + low + value`` in twofold precision, all float64."""
    pair = types.UniTuple(types.float64, 2)

    def codegen(context, builder, signature, args):
        high, low, value = args
        total, error = _two_sum(builder, high, value)
        low = builder.fadd(low, error, flags=_FLAGS)
        return context.make_tuple(builder, signature.return_type, [total, low])

    return pair(types.float64, types.float64, types.float64), codegen


@intrinsic
def add_product(typingctx, high, low, a, b):
    """``high + low + a * b`` in twofold precision, all float64 or vectors of it."""
    number = high if isinstance(high, Vector) else types.float64
    pair = types.UniTuple(number, 2)

    def codegen(context, builder, signature, args):
        high, low, a, b = args
        product = builder.fmul(a, b, flags=_FLAGS)
        multiply_add = fma if isinstance(number, Vector) else IRBuilder.fma
        rounding = multiply_add(builder, a, b, builder.fneg(product))
        total, error = _two_sum(builder, high, product)
        error = builder.fadd(error, rounding, flags=_FLAGS)
        low = builder.fadd(low, error, flags=_FLAGS)
        return context.make_tuple(builder, signature.return_type, [total, low])

    return pair(*(number,) * 4), codegen
