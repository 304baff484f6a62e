"""The distance of one row to one point, in float64 by direct differences."""

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from fastem.kernels.vectors.emit import call_llvm, constant, data_pointer, fma, load_at, sum_lanes
from fastem.kernels.vectors.machine import VECTOR_BYTES

_LANES = VECTOR_BYTES // 8
_LINE = 64  # bytes of a cache line
# Fewer do not fill vectors.
FEW_FEATURES = 8
_CHAINS = 4  # sums side by side: an addition need not wait for the one before


def _add_square(builder, difference, total):
    if isinstance(difference.type, ir.VectorType):
        return fma(builder, difference, difference, total)
    return builder.fadd(total, builder.fmul(difference, difference))


def _add_magnitude(builder, difference, total):
    if isinstance(difference.type, ir.VectorType):
        return builder.fadd(total, call_llvm(builder, "fabs", [difference]))
    negative = builder.fcmp_ordered("<", difference, ir.Constant(difference.type, 0.0))
    magnitude = builder.select(negative, builder.fneg(difference), difference)
    return builder.fadd(total, magnitude)


def _sum_up(builder, width, differences, add):
    """Add the shares of ``differences(feature, lanes)``, scalars or vectors of float64."""
    double = ir.DoubleType()
    wide = ir.VectorType(double, _LANES)
    total = cgutils.alloca_once(builder, double)
    builder.store(ir.Constant(double, 0.0), total)
    sums = [cgutils.alloca_once(builder, wide) for _ in range(_CHAINS)]
    for slot in sums:
        builder.store(ir.Constant(wide, [0.0] * _LANES), slot)
    start = constant(0)
    for chains, lanes in ((_CHAINS, _LANES), (1, _LANES), (1, 1)):
        step = chains * lanes
        rest = builder.srem(builder.sub(width, start), constant(step))
        stop = builder.sub(width, rest)
        with cgutils.for_range_slice(builder, start, stop, constant(step), ir.IntType(64)) as (
            f,
            _,
        ):
            for chain in range(chains):
                difference = differences(builder.add(f, constant(chain * lanes)), lanes)
                slot = sums[chain] if lanes > 1 else total
                builder.store(add(builder, difference, builder.load(slot)), slot)
        start = stop
    vector = builder.load(sums[0])
    for slot in sums[1:]:
        vector = builder.fadd(vector, builder.load(slot))
    return builder.fadd(sum_lanes(builder, vector), builder.load(total))


def _load_doubles(builder, pointer, index, lanes):
    """Some values, widened to float64."""
    if lanes == 1:
        values, target = builder.load(builder.gep(pointer, [index])), ir.DoubleType()
    else:
        scalar = pointer.type.pointee
        size = 4 if isinstance(scalar, ir.FloatType) else 8
        values = load_at(builder, pointer, index, ir.VectorType(scalar, lanes), size)
        target = ir.VectorType(ir.DoubleType(), lanes)
    return values if values.type == target else builder.fpext(values, target)


@intrinsic
def row_distance(typingctx, X, row, origin, points, point):
    """``sum((X[row] - origin - points[point]) ** 2)``.

    Parameters
    ----------
    X : array of shape (n_rows, n_features), float32 or float64
    row, point : int
    origin : array of shape (n_features,), float64
    points : array of shape (n_points, n_features), float64
    """
    sig = types.float64(X, types.intp, origin, points, types.intp)

    def codegen(context, builder, signature, args):
        x, o, p = (data_pointer(context, builder, signature.args[i], args[i]) for i in (0, 2, 3))
        shape = context.make_array(signature.args[0])(context, builder, args[0]).shape
        width = builder.extract_value(shape, 1)
        x = builder.gep(x, [builder.mul(args[1], width)])
        p = builder.gep(p, [builder.mul(args[4], width)])

        def differences(f, lanes):
            value, origin, point = (_load_doubles(builder, a, f, lanes) for a in (x, o, p))
            return builder.fsub(builder.fsub(value, origin), point)

        return _sum_up(builder, width, differences, _add_square)

    return sig, codegen


def _direct(add, X, points):
    """An intrinsic's signature and code; ``add`` emits the sum with one feature's share."""
    sig = types.float64(X, types.intp, points, types.intp)

    def codegen(context, builder, signature, args):
        x, p = (data_pointer(context, builder, signature.args[i], args[i]) for i in (0, 2))
        shape = context.make_array(signature.args[0])(context, builder, args[0]).shape
        width = builder.extract_value(shape, 1)
        x = builder.gep(x, [builder.mul(args[1], width)])
        p = builder.gep(p, [builder.mul(args[3], width)])

        def differences(f, lanes):
            return builder.fsub(*(_load_doubles(builder, a, f, lanes) for a in (x, p)))

        return _sum_up(builder, width, differences, add)

    return sig, codegen


@intrinsic
def direct_distance(typingctx, X, row, points, point):
    """``sum((X[row] - points[point]) ** 2)``: as :func:`row_distance`, without an origin."""
    return _direct(_add_square, X, points)


@intrinsic
def direct_manhattan(typingctx, X, row, points, point):
    """``sum(abs(X[row] - points[point]))``, with the arguments of :func:`direct_distance`."""
    return _direct(_add_magnitude, X, points)


@intrinsic
def fetch_row(typingctx, X, row):
    """Ask for a row's cache lines."""
    sig = types.void(X, types.intp)

    def codegen(context, builder, signature, args):
        byte, flag = ir.IntType(8).as_pointer(), ir.IntType(32)
        prefetch = cgutils.get_or_insert_function(
            builder.module,
            ir.FunctionType(ir.VoidType(), [byte, flag, flag, flag]),
            "llvm.prefetch.p0",
        )
        x = data_pointer(context, builder, signature.args[0], args[0])
        shape = context.make_array(signature.args[0])(context, builder, args[0]).shape
        size = X.dtype.bitwidth // 8
        width = builder.extract_value(shape, 1)
        integer = ir.IntType(64)
        start = builder.ptrtoint(builder.gep(x, [builder.mul(args[1], width)]), integer)
        end = builder.add(start, builder.mul(width, constant(size)))
        start = builder.and_(start, constant(-_LINE))  # the rows need not start with a line
        with cgutils.for_range_slice(builder, start, end, constant(_LINE), integer) as (line, _):
            # For reading, to all levels of the data cache.
            builder.call(prefetch, [builder.inttoptr(line, byte), flag(0), flag(3), flag(1)])
        return context.get_dummy_value()

    return sig, codegen
