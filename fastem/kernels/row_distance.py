"""The squared distance of one row to one point, in float64 by direct differences."""

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from fastem.kernels.simd import VECTOR_BYTES, constant, data_pointer, fma, load_at, sum_lanes

_LANES = VECTOR_BYTES // 8
_CHAINS = 4  # sums side by side: an addition need not wait for the one before


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
        double = ir.DoubleType()
        wide = ir.VectorType(double, _LANES)
        total = cgutils.alloca_once(builder, double)
        builder.store(ir.Constant(double, 0.0), total)
        sums = [cgutils.alloca_once(builder, wide) for _ in range(_CHAINS)]
        for slot in sums:
            builder.store(ir.Constant(wide, [0.0] * _LANES), slot)

        def add(f, lanes, slot):
            """Add the squares of ``lanes`` differences from feature ``f`` on."""
            if lanes == 1:
                values = [builder.load(builder.gep(pointer, [f])) for pointer in (x, o, p)]
                target = double
            else:
                size = X.dtype.bitwidth // 8
                narrow = ir.VectorType(x.type.pointee, lanes)
                values = [load_at(builder, x, f, narrow, size)]
                values += [load_at(builder, pointer, f, wide, 8) for pointer in (o, p)]
                target = wide
            if values[0].type != target:
                values[0] = builder.fpext(values[0], target)
            difference = builder.fsub(builder.fsub(values[0], values[1]), values[2])
            if lanes == 1:
                square = builder.fmul(difference, difference)
                builder.store(builder.fadd(builder.load(slot), square), slot)
            else:
                builder.store(fma(builder, difference, difference, builder.load(slot)), slot)

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
                    slot = sums[chain] if lanes > 1 else total
                    add(builder.add(f, constant(chain * lanes)), lanes, slot)
            start = stop
        vector = builder.load(sums[0])
        for slot in sums[1:]:
            vector = builder.fadd(vector, builder.load(slot))
        return builder.fadd(sum_lanes(builder, vector), builder.load(total))

    return sig, codegen
