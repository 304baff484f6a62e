"""Numbers of many rows at once, which a user's function takes for plain floats.

An array of :data:`VALUES` is a row of the data whose every value is a vector: that of 32 rows, say.
``total += x[f] * rate`` then compiles to vector instructions for all of them. What a function may
do with such a value is here: arithmetic, also with plain numbers, comparisons for ``numpy.where``,
and the functions of ``math`` and their namesakes in NumPy. It can't decide an ``if``.
"""

import math
import operator

import numpy as np
from llvmlite import ir
from numba import types
from numba.core.typeconv import Conversion
from numba.extending import (
    intrinsic,
    lower_builtin,
    lower_cast,
    overload,
    register_model,
    type_callable,
)
from numba.np.arrayobj import populate_array

from fastem.kernels.runtime.compiling import variant
from fastem.kernels.vectors.elementary import emit_exp, emit_log
from fastem.kernels.vectors.emit import Emitter, call_llvm, constant, splat, store_at
from fastem.kernels.vectors.machine import DOUBLES, TILE
from fastem.kernels.vectors.vector import Vector, VectorModel, bits

# Vectors side by side: a sum in four of them need not wait for each addition, and a parameter is
# loaded once for all.
_VECTORS = 4
#: Rows of a value.
WIDTH = min(TILE, _VECTORS * DOUBLES)


class Lanes(Vector):
    """Numba type of ``WIDTH`` float64 values, or of as many booleans."""

    def __init__(self, dtype):
        super().__init__(dtype, WIDTH)
        self.name = f"Lanes({dtype})"

    def can_convert_from(self, typingctx, other):
        if isinstance(other, types.Number) and self.dtype == types.float64:
            return Conversion.safe
        return None

    def unify(self, typingctx, other):
        # ``total = 0.0`` and, later, ``total += x[f]`` are one variable.
        return self if self.can_convert_from(typingctx, other) is not None else None


register_model(Lanes)(VectorModel)
VALUES, MASK = Lanes(types.float64), Lanes(types.boolean)


def _as_vector(context, builder, value, source):
    if isinstance(source, Lanes):
        return value
    return splat(builder, context.cast(builder, value, source, types.float64), WIDTH)


@lower_cast(types.Number, Lanes)
def _from_number(context, builder, fromty, toty, value):
    return _as_vector(context, builder, value, fromty)


# What may be done with the values: ``emit(context, builder, *vectors)`` makes vectors of vectors.


def _define(function, n_args, emit, result=VALUES):
    """Let a function take values, or some values and some plain numbers."""

    @type_callable(function)
    def typer_of(context):
        def typer(*args):
            if VALUES in args and all(a == VALUES or isinstance(a, types.Number) for a in args):
                return result

        if n_args == 1:
            return lambda a: typer(a)
        return lambda a, b: typer(a, b)

    def lower(context, builder, signature, args):
        vectors = [
            _as_vector(context, builder, value, source)
            for value, source in zip(args, signature.args, strict=True)
        ]
        return emit(context, builder, *vectors)

    if n_args == 1:
        lower_builtin(function, Lanes)(lower)
    else:
        for kinds in ((Lanes, Lanes), (Lanes, types.Number), (types.Number, Lanes)):
            lower_builtin(function, *kinds)(lower)


def _instruction(name, *args, **options):
    return lambda context, builder, *vectors: getattr(builder, name)(*args, *vectors, **options)


def _llvm(name):
    return lambda context, builder, *vectors: call_llvm(builder, name, list(vectors))


def _helper(emit):
    return lambda context, builder, *vectors: emit(builder, *vectors)


def _each(function):
    """Call the function row by row."""

    def emit(context, builder, *vectors):
        resolve = context.typing_context.resolve_value_type(function)
        signature = resolve.get_call_type(
            context.typing_context, (types.float64,) * len(vectors), {}
        )
        implementation = context.get_function(resolve, signature)
        e = Emitter(context, builder, signature, vectors)
        (out,) = e.zeros(vectors[0].type, 1)
        places = [*(e.places(1, vector)[0] for vector in vectors), out]
        *arguments, result = (
            builder.bitcast(place, ir.DoubleType().as_pointer()) for place in places
        )
        with e.loop(0, WIDTH) as i:
            numbers = [e.value(argument, i) for argument in arguments]
            builder.store(implementation(builder, numbers), e.at(result, i))
        return builder.load(out)

    return emit


def _extreme(symbol, keeps_nan=False):
    """Python's ``min`` or ``max``, or NumPy's, which is NaN if either number is."""

    def emit(context, builder, a, b):
        value = builder.select(builder.fcmp_ordered(symbol, b, a), b, a)
        if keeps_nan:
            value = builder.select(builder.fcmp_unordered("uno", b, b), b, value)
        return value

    return emit


for _name, _emit in {
    "add": _instruction("fadd"),
    "sub": _instruction("fsub"),
    "mul": _instruction("fmul"),
    # As in simd.py: a quotient stays one.
    "truediv": _instruction("fdiv", flags=["contract"]),
}.items():
    _define(getattr(operator, _name), 2, _emit)
    _define(getattr(operator, f"i{_name}"), 2, _emit)
for _name, _symbol in {"lt": "<", "le": "<=", "gt": ">", "ge": ">=", "eq": "=="}.items():
    _define(getattr(operator, _name), 2, _instruction("fcmp_ordered", _symbol), MASK)
_define(operator.ne, 2, _instruction("fcmp_unordered", "!="), MASK)
_define(operator.neg, 1, _instruction("fneg"))

_UNARY = {
    "exp": _helper(emit_exp),
    "log": _helper(emit_log),
    "sqrt": _llvm("sqrt"),
    "fabs": _llvm("fabs"),
    **{
        name: _each(getattr(math, name))
        for name in (
            "acos acosh asin asinh atan atanh cos cosh erf erfc exp2 expm1 gamma log10 log2 "
            "sin sinh tan tanh"
        ).split()
    },
}
for _name, _emit in _UNARY.items():
    for _module in (math, np):
        if hasattr(_module, _name):
            _define(getattr(_module, _name), 1, _emit)
_define(abs, 1, _UNARY["fabs"])
_define(math.atan2, 2, _each(math.atan2))
for _symbol, _plain, _with_nan in (("<", min, np.minimum), (">", max, np.maximum)):
    _define(_plain, 2, _extreme(_symbol))
    _define(_with_nan, 2, _extreme(_symbol, keeps_nan=True))


@intrinsic
def _power(typingctx, a, b):
    def codegen(context, builder, signature, args):
        vectors = [
            _as_vector(context, builder, value, source)
            for value, source in zip(args, signature.args, strict=True)
        ]
        return _each(operator.pow)(context, builder, *vectors)

    return VALUES(a, b), codegen


@overload(operator.pow, prefer_literal=True)
def _pow(a, b):
    if a == VALUES and isinstance(b, types.IntegerLiteral) and 1 <= b.literal_value <= 4:
        return {
            1: lambda a, b: a,
            2: lambda a, b: a * a,
            3: lambda a, b: a * a * a,
            4: lambda a, b: (a * a) * (a * a),
        }[b.literal_value]
    if VALUES in (a, b) and all(x == VALUES or isinstance(x, types.Number) for x in (a, b)):
        return lambda a, b: _power(a, b)


@intrinsic
def _select(typingctx, mask, a, b):
    def codegen(context, builder, signature, args):
        vectors = [
            _as_vector(context, builder, value, source)
            for value, source in zip(args[1:], signature.args[1:], strict=True)
        ]
        return builder.select(args[0], *vectors)

    return VALUES(mask, a, b), codegen


@overload(np.where)
def _where(condition, x, y):
    if condition == MASK:
        return lambda condition, x, y: _select(condition, x, y)


# Stirling's series (Abramowitz and Stegun, Handbook of Mathematical Functions, 6.1.41): from 8 on,
# what follows these terms is below 1e-16.
_SERIES = tuple(
    numerator / denominator
    for numerator, denominator in (
        *((1, 12), (-1, 360), (1, 1260), (-1, 1680)),
        *((1, 1188), (-691, 360360), (1, 156), (-3617, 122400)),
    )
)
_HALF_LOG_2_PI = 0.5 * math.log(2.0 * math.pi)


@intrinsic
def _lgamma_each(typingctx, x):
    def codegen(context, builder, signature, args):
        return _each(math.lgamma)(context, builder, *args)

    return x(x), codegen


@variant(math.lgamma, of=Lanes)
def _lgamma(x):
    """Counts' factorials: in vectors a row's take a tenth of the time."""
    if bits(x <= 0.0) != 0:
        return _lgamma_each(x)
    c1, c3, c5, c7, c9, c11, c13, c15 = _SERIES
    small = x < 8.0
    # Gamma(x + 8) = x (x + 1) ... (x + 7) Gamma(x)
    product = x * (x + 1.0) * (x + 2.0) * (x + 3.0)
    product = product * (x + 4.0) * (x + 5.0) * (x + 6.0) * (x + 7.0)
    y = np.where(small, x + 8.0, x)
    inverse = 1.0 / y
    z = inverse * inverse
    series = c1 + z * (c3 + z * (c5 + z * (c7 + z * (c9 + z * (c11 + z * (c13 + z * c15))))))
    value = (y - 0.5) * (math.log(y) - 1.0) + (_HALF_LOG_2_PI - 0.5) + inverse * series
    return value - np.where(small, math.log(product), 0.0)


@variant(math.log1p, of=Lanes)
@variant(np.log1p, of=Lanes)
def _log1p(x):
    total = 1.0 + x
    value = math.log(total)
    # What rounding the sum lost, to first order.
    exact = value + (x - (total - 1.0)) / total
    return np.where(total > 0.0, np.where(total < 1e300, exact, value), value)


# How the values get into and out of a tile.


@intrinsic
def lanes_at(typingctx, tile, lane, n_values):
    """The rows of a tile from ``lane`` on, as an array of ``n_values`` values of many rows."""
    row = types.Array(VALUES, 1, "A", aligned=False)

    def codegen(context, builder, signature, args):
        array = context.make_array(row)(context, builder)
        e = Emitter(context, builder, signature, args)
        start = e.at(*e.pointers(0), args[1])
        size = tile.dtype.bitwidth // 8
        populate_array(
            array,
            data=builder.bitcast(start, array.data.type),
            shape=[args[2]],
            strides=[constant(TILE * size)],
            itemsize=constant(WIDTH * size),
            meminfo=None,
        )
        return array._getvalue()

    return row(tile, types.intp, types.intp), codegen


@intrinsic
def store_lanes(typingctx, values, tile, index):
    """Write values, or a plain number for all, to ``tile[index:]``."""

    def codegen(context, builder, signature, args):
        vector = _as_vector(context, builder, args[0], values)
        e = Emitter(context, builder, signature, args)
        store_at(builder, vector, *e.pointers(1), args[2], 8)
        return e.nothing()

    if values != VALUES and not isinstance(values, types.Number):
        return None
    return types.void(values, tile, types.intp), codegen
