"""Exponential and natural logarithm of vectors, in float32 and float64.

The methods are those of Cody and Waite, Software Manual for the Elementary Functions, 1980:
reduce the argument with a two-part ln 2, evaluate a polynomial, put the exponent in by integer
arithmetic. J.-M. Muller, Elementary Functions, 3rd ed. 2016, explains them; the arrangement of the
logarithm's sum is that of P. T. P. Tang, "Table-driven implementation of the logarithm function
in IEEE floating-point arithmetic", ACM TOMS 16, 1990, section 4. The polynomials interpolate at
Chebyshev's nodes, which is within a small factor of the best there are.

Errors stay below 1.1 ulp, and NaN stays NaN. Results of ``exp`` lose digits gradually below the
normal numbers, down to 0, and ``exp(inf) == inf``; the faster ``exp_nonpositive`` is 0 there. Its
errors stay below 1.2 ulp and that of an argument that is off by a third of its last rounding, as it
takes ln 2 in one part. With AVX-512 it looks powers of 2^(1/16) up in registers, also as Tang
explains, which leaves so small a remainder that the polynomial is half as long. ``log`` takes
subnormal numbers; ``log(0) == -inf``, that of a negative number is NaN.
"""

import math
import struct
from typing import NamedTuple

from llvmlite import ir
from numba.extending import intrinsic

from fastem.kernels.vectors.emit import call_named, fma, maximum, minimum
from fastem.kernels.vectors.machine import CPU_FEATURES
from fastem.kernels.vectors.vector import Vector

_TABLE = 16  # powers of 2^(1 / 16)


class _Format(NamedTuple):
    """What depends on the floating-point type.

    ``ln2_high`` has trailing zeros, so that a product with an exponent is exact. ``exp`` holds
    (e^r - 1 - r) / r^2 for |r| <= ln(2) / 2, ``log`` (2 artanh(s) - 2 s) / s^3 as a polynomial in
    s^2 for |s| <= (sqrt(2) - 1) / (sqrt(2) + 1), lowest power first. Outside of
    (``lowest``, ``highest``) the exponential is 0 or infinite. ``table_exp`` is ``exp`` for
    |r| <= ln(2) / (2 ``_TABLE``), and the exponential of ``least`` is a normal number. ``look_up``
    ends the name of AVX-512's instruction that takes values out of one register or of two.
    """

    width: int
    mantissa: int
    bias: int
    ln2_high: float
    ln2_low: float
    lowest: float
    highest: float
    exp: tuple
    log: tuple
    table_exp: tuple
    least: float
    look_up: str


_SINGLE = _Format(
    width=32,
    mantissa=23,
    bias=127,
    ln2_high=float.fromhex("0x1.62e3p-1"),
    ln2_low=float.fromhex("0x1.2fefa2p-17"),
    lowest=-104.0,
    highest=89.0,
    exp=(0.5, 0.166665778, 0.0416665561, 0.00836317334, 0.00139261759),
    log=(0.666666865, 0.3998878, 0.295799494),
    table_exp=(0.5000098, 0.16666862),
    least=-87.336,
    look_up="permvar.sf",
)

_DOUBLE = _Format(
    width=64,
    mantissa=52,
    bias=1023,
    ln2_high=float.fromhex("0x1.62e42feep-1"),
    ln2_low=float.fromhex("0x1.a39ef35793c76p-33"),
    lowest=-746.0,
    highest=710.0,
    exp=(
        0.50000000000000011,
        0.16666666666666669,
        0.041666666666624164,
        0.008333333333330065,
        0.0013888888917196719,
        0.00019841269863040545,
        2.4801521322368692e-05,
        2.7557268480310024e-06,
        2.7620075879983367e-07,
        2.5100375832561234e-08,
    ),
    log=(
        0.66666666666666696,
        0.39999999999899505,
        0.28571428625975487,
        0.22222211134795081,
        0.18182889125261723,
        0.15331721600556042,
        0.14616449685043406,
    ),
    table_exp=(
        0.5,
        0.1666666666530169,
        0.04166666666496045,
        0.008333449701253456,
        0.0013889034348599464,
    ),
    least=-708.396,
    look_up="vpermi2var.pd",
)


def _format(x):
    return _SINGLE if isinstance(x.type.element, ir.FloatType) else _DOUBLE


def _constants(x):
    """A function that makes vectors like ``x`` of one value."""
    return lambda value: ir.Constant(x.type, [value] * x.type.count)


def _integers(x):
    """The type of the bits of ``x``, and a function that makes its vectors of one value."""
    vector = ir.VectorType(ir.IntType(_format(x).width), x.type.count)
    return vector, lambda value: ir.Constant(vector, [value] * vector.count)


def _polynomial(builder, x, coefficients):
    constant = _constants(x)
    value = constant(coefficients[-1])
    for coefficient in coefficients[-2::-1]:
        value = fma(builder, value, x, constant(coefficient))
    return value


def _bits_of(form, value):
    kind, integer = ("<f", "<i") if form is _SINGLE else ("<d", "<q")
    return struct.unpack(integer, struct.pack(kind, value))[0]


def _magic(form, steps=1):
    """Adding so large a number rounds to multiples of 1 / steps, counted in the lowest bits."""
    return 1.5 * 2.0**form.mantissa / steps


def _nearest_multiple(builder, x, steps=1):
    """``x / ln 2`` rounded to a multiple of 1 / steps, and that plus the magic number."""
    constant = _constants(x)
    magic = constant(_magic(_format(x), steps))
    shifted = fma(builder, x, constant(1 / math.log(2)), magic)
    return builder.fsub(shifted, magic), shifted


def _rough_remainder(builder, x, k):
    """``x - k ln 2`` as if x was off by a third of its last rounding: one operation less of ten."""
    return fma(builder, k, _constants(x)(-math.log(2)), x)


def _exp_less_one(builder, r, coefficients):
    """``exp(r) - 1`` of a small r; the coefficients are those of (e^r - 1 - r) / r^2."""
    constant = _constants(r)
    square = builder.fmul(r, r)
    # By pairs of coefficients: half as long a chain of operations that wait for each other.
    even, odd = coefficients[::2], coefficients[1::2]
    pairs = [fma(builder, constant(b), r, constant(a)) for a, b in zip(even, odd, strict=False)]
    pairs += [constant(a) for a in even[len(odd) :]]
    value = pairs.pop()
    while pairs:
        value = fma(builder, value, square, pairs.pop())
    return fma(builder, square, value, r)


def emit_exp(builder, x):
    """Emit ``exp(x)`` of a vector."""
    form = _format(x)
    constant = _constants(x)
    bits, integer = _integers(x)
    # Both keep NaN, as their second argument.
    x = maximum(builder, constant(form.lowest), minimum(builder, constant(form.highest), x))
    k, _ = _nearest_multiple(builder, x)
    r = fma(builder, k, constant(-form.ln2_high), x)
    r = fma(builder, k, constant(-form.ln2_low), r)
    value = builder.fadd(_exp_less_one(builder, r, form.exp), constant(1.0))

    def power_of_two(shifted):
        exponent = builder.add(builder.bitcast(shifted, bits), integer(form.bias))
        return builder.bitcast(builder.shl(exponent, integer(form.mantissa)), x.type)

    # Two factors, as 2^k itself may be subnormal or too large.
    magic = constant(_magic(form))
    half = fma(builder, k, constant(0.5), magic)
    rest = builder.fadd(builder.fsub(k, builder.fsub(half, magic)), magic)
    value = builder.fmul(value, power_of_two(half))
    return builder.fmul(value, power_of_two(rest))


def emit_exp_nonpositive(builder, x):
    """Emit ``exp(x)`` of a vector without positive values; what would be subnormal is zero."""
    form = _format(x)
    if "+avx512f" in CPU_FEATURES and form.width * x.type.count == 512:
        return _exp_by_table(builder, x)
    bits, integer = _integers(x)
    constant = _constants(x)
    x = maximum(builder, constant(form.lowest), x)
    k, shifted = _nearest_multiple(builder, x)
    less_one = _exp_less_one(builder, _rough_remainder(builder, x, k), form.exp)
    value = builder.fadd(less_one, constant(1.0))
    magic_bits = ((form.bias + form.mantissa) << form.mantissa) + (1 << (form.mantissa - 1))
    exponent = builder.sub(builder.bitcast(shifted, bits), integer(magic_bits - form.bias))
    vanishes = builder.icmp_signed("<", exponent, integer(0))
    exponent = builder.select(vanishes, integer(0), exponent)
    power = builder.bitcast(builder.shl(exponent, integer(form.mantissa)), x.type)
    return builder.fmul(value, power)


def _exp_by_table(builder, x):
    """:func:`emit_exp_nonpositive` with AVX-512: 0.6 of the time, as the operations count."""
    form = _format(x)
    constant = _constants(x)
    bits, integer = _integers(x)
    k, shifted = _nearest_multiple(builder, x, _TABLE)
    places = builder.bitcast(shifted, bits)
    # The lowest bits of ``places`` are k's fraction, those above go where a float has its exponent.
    # The fraction's own come along: they are taken off the table.
    up = form.mantissa - (_TABLE.bit_length() - 1)
    values = [_bits_of(form, 2.0 ** (j / _TABLE)) - (j << up) for j in range(_TABLE)]
    table = [
        builder.bitcast(ir.Constant(bits, values[i : i + bits.count]), x.type)
        for i in range(0, _TABLE, bits.count)
    ]
    name = f"llvm.x86.avx512.{form.look_up}.512"
    power = call_named(builder, name, x.type, [table[0], places, *table[1:]])
    power = builder.add(builder.bitcast(power, bits), builder.shl(places, integer(up)))
    power = builder.bitcast(power, x.type)
    less_one = _exp_less_one(builder, _rough_remainder(builder, x, k), form.table_exp)
    value = fma(builder, power, less_one, power)
    # NaN stays, which no comparison finds less.
    normal = builder.fcmp_unordered(">=", x, constant(form.least))
    return builder.select(normal, value, constant(0.0))


def emit_log(builder, x):
    """Emit ``log(x)`` of a vector."""
    form = _format(x)
    constant = _constants(x)
    bits, integer = _integers(x)
    zero, one = constant(0.0), constant(1.0)

    up = form.mantissa + 2
    subnormal = builder.fcmp_ordered("<", x, constant(2.0 ** (1 - form.bias)))
    scaled = builder.select(subnormal, builder.fmul(x, constant(2.0**up)), x)

    # x = 2^k m with m in [sqrt(1/2), sqrt(2)): the exponent's field steps at m = sqrt(1/2).
    mantissa_bits = (1 << form.mantissa) - 1
    one_bits = form.bias << form.mantissa
    root_bits = one_bits - (1 << form.mantissa) + int((math.sqrt(2.0) - 1) * 2**form.mantissa)
    shifted = builder.add(builder.bitcast(scaled, bits), integer(one_bits - root_bits))
    biased = builder.lshr(shifted, integer(form.mantissa))
    m = builder.add(builder.and_(shifted, integer(mantissa_bits)), integer(root_bits))
    m = builder.bitcast(m, x.type)
    # A small integer in the lowest bits of a large number, less that number.
    large = 2.0**form.mantissa
    large_bits = (form.bias + form.mantissa) << form.mantissa
    k = builder.bitcast(builder.or_(biased, integer(large_bits)), x.type)
    offsets = builder.select(
        subnormal, constant(large + form.bias + up), constant(large + form.bias)
    )
    k = builder.fsub(k, offsets)

    f = builder.fsub(m, one)
    s = builder.fdiv(f, builder.fadd(f, constant(2.0)), flags=["contract"])  # as in simd.py
    z = builder.fmul(s, s)
    tail = builder.fmul(z, _polynomial(builder, z, form.log))
    half_square = builder.fmul(builder.fmul(f, f), constant(0.5))
    tail = builder.fmul(s, builder.fadd(half_square, tail))
    tail = fma(builder, k, constant(form.ln2_low), tail)
    value = builder.fsub(f, builder.fsub(half_square, tail))
    value = fma(builder, k, constant(form.ln2_high), value)

    value = builder.select(builder.fcmp_ordered("<", x, constant(math.inf)), value, x)
    at_zero = builder.select(
        builder.fcmp_ordered("<", x, zero), constant(math.nan), constant(-math.inf)
    )
    return builder.select(builder.fcmp_ordered("<=", x, zero), at_zero, value)


def _intrinsic(emit):
    @intrinsic
    def function(typingctx, x):
        if not isinstance(x, Vector):
            return None

        def codegen(context, builder, signature, args):
            return emit(builder, *args)

        return x(x), codegen

    return function


exp = _intrinsic(emit_exp)
exp_nonpositive = _intrinsic(emit_exp_nonpositive)
log = _intrinsic(emit_log)
