"""The distance of one row to one point, in float64 by direct differences."""

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from fastem.kernels.runtime.compiling import inline
from fastem.kernels.vectors.emit import (
    INDEX,
    Emitter,
    add_magnitude,
    add_product,
    add_square,
    constant,
    load_at,
    sum_lanes,
)
from fastem.kernels.vectors.machine import DOUBLES, LINE_BYTES

# Fewer do not fill vectors.
FEW_FEATURES = 8
_CHAINS = 4  # sums side by side: an addition need not wait for the one before


def _sum_up(e, width, values, add):
    """Add the shares of ``values(feature, lanes)``, scalars or vectors of float64."""
    builder, double = e.builder, ir.DoubleType()
    wide = ir.VectorType(double, DOUBLES)
    (total,) = e.zeros(double, 1)
    sums = e.zeros(wide, _CHAINS)
    start = constant(0)
    for chains, lanes in ((_CHAINS, DOUBLES), (1, DOUBLES), (1, 1)):
        step = chains * lanes
        rest = builder.srem(builder.sub(width, start), constant(step))
        stop = builder.sub(width, rest)
        with e.loop(start, stop, step) as f:
            for chain in range(chains):
                value = values(e.plus(f, chain * lanes), lanes)
                slot = sums[chain] if lanes > 1 else total
                builder.store(add(builder, value, builder.load(slot)), slot)
        start = stop
    vector = builder.load(sums[0])
    for slot in sums[1:]:
        vector = builder.fadd(vector, builder.load(slot))
    return builder.fadd(sum_lanes(builder, vector), builder.load(total))


def load_doubles(builder, pointer, index, lanes):
    """Some values, widened to float64."""
    if lanes == 1:
        values, target = builder.load(builder.gep(pointer, [index])), ir.DoubleType()
    else:
        scalar = pointer.type.pointee
        size = 4 if isinstance(scalar, ir.FloatType) else 8
        values = load_at(builder, pointer, index, ir.VectorType(scalar, lanes), size)
        target = ir.VectorType(ir.DoubleType(), lanes)
    return values if values.type == target else builder.fpext(values, target)


def _direct(add, X, points):
    """An intrinsic's signature and code; ``add`` emits the sum with one feature's share."""
    sig = types.float64(X, types.intp, points, types.intp)

    def codegen(context, builder, signature, args):
        e = Emitter(context, builder, signature, args)
        x, p = e.pointers(0, 2)
        width = e.extent(0, 1)
        x = e.row(x, args[1], width)
        p = e.row(p, args[3], width)

        def differences(f, lanes):
            return builder.fsub(*(load_doubles(builder, a, f, lanes) for a in (x, p)))

        return _sum_up(e, width, differences, add)

    return sig, codegen


@intrinsic
def direct_distance(typingctx, X, row, points, point):
    """``sum((X[row] - points[point]) ** 2)``.

    Parameters
    ----------
    X : array of shape (n_rows, n_features), float32 or float64
    row, point : int
    points : array of shape (n_points, n_features), float64
    """
    return _direct(add_square, X, points)


@intrinsic
def direct_manhattan(typingctx, X, row, points, point):
    """``sum(abs(X[row] - points[point]))``, with the arguments of :func:`direct_distance`."""
    return _direct(add_magnitude, X, points)


@inline
def squared_distance(X, row, points, point):
    """As :func:`direct_distance`, faster for few features."""
    if X.shape[1] >= FEW_FEATURES:
        return direct_distance(X, row, points, point)
    distance = 0.0
    for f in range(X.shape[1]):
        difference = X[row, f] - points[point, f]
        distance += difference * difference
    return distance


@inline
def manhattan_distance(X, row, points, point):
    """As :func:`direct_manhattan`, faster for few features."""
    if X.shape[1] >= FEW_FEATURES:
        return direct_manhattan(X, row, points, point)
    distance = 0.0
    for f in range(X.shape[1]):
        distance += abs(X[row, f] - points[point, f])
    return distance


@intrinsic
def direct_product(typingctx, X, row, origin, directions, direction):
    """``sum((X[row] - origin) * directions[direction])``.

    Parameters
    ----------
    X : array of shape (n_rows, n_features), float32 or float64
    row, direction : int
    origin : array of shape (n_features,), float64
    directions : array of shape (n_directions, n_features), float64
    """
    sig = types.float64(X, types.intp, origin, directions, types.intp)

    def codegen(context, builder, signature, args):
        e = Emitter(context, builder, signature, args)
        x, o, d = e.pointers(0, 2, 3)
        width = e.extent(0, 1)
        x = e.row(x, args[1], width)
        d = e.row(d, args[4], width)

        def values(f, lanes):
            value, start, share = (load_doubles(builder, a, f, lanes) for a in (x, o, d))
            return builder.fsub(value, start), share

        return _sum_up(e, width, values, add_product)

    return sig, codegen


@intrinsic
def fetch_row(typingctx, X, row):
    """Ask for a row's cache lines."""
    sig = types.void(X, types.intp)

    def codegen(context, builder, signature, args):
        e = Emitter(context, builder, signature, args)
        byte, flag = ir.IntType(8).as_pointer(), ir.IntType(32)
        prefetch = cgutils.get_or_insert_function(
            builder.module,
            ir.FunctionType(ir.VoidType(), [byte, flag, flag, flag]),
            "llvm.prefetch.p0",
        )
        (x,) = e.pointers(0)
        size = X.dtype.bitwidth // 8
        width = e.extent(0, 1)
        start = builder.ptrtoint(e.row(x, args[1], width), INDEX)
        end = e.plus(start, e.times(width, size))
        start = builder.and_(start, constant(-LINE_BYTES))  # the rows need not start with a line
        with e.loop(start, end, LINE_BYTES) as line:
            # For reading, to all levels of the data cache.
            builder.call(prefetch, [builder.inttoptr(line, byte), flag(0), flag(3), flag(1)])
        return e.nothing()

    return sig, codegen
