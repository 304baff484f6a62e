"""As ``solving.py`` does it, for so few features that a matrix stays in registers."""

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastem.kernels.runtime.compiling import inline
from fastem.kernels.vectors.elementary import emit_log
from fastem.kernels.vectors.emit import Emitter, constant, fma, load_at, splat, store_at
from fastem.kernels.vectors.machine import TILE, VECTOR_BYTES
from fastem.kernels.vectors.vector import Vector

#: Features whose bordered triangle AVX-512's or NEON's 32 registers hold, with some to work in: of
#: five, 50,000 rows and 8 components take 3.8 ms, and 6.4 in memory.
MOST_FEATURES = 5
#: Rows of a vector.
LANES = VECTOR_BYTES // 8


@intrinsic
def _solve(typingctx, tile, seen, errors, n_features, mean, covariance, lane, matrix):
    """Of ``n_features`` (literal), for the rows of one vector; the logarithm of the determinant."""
    if not isinstance(n_features, types.IntegerLiteral):
        return None
    n = n_features.literal_value
    sig = Vector(types.float64, LANES)(
        tile, seen, errors, n_features, mean, covariance, types.intp, matrix
    )
    vector = ir.VectorType(ir.DoubleType(), LANES)

    def codegen(context, builder, signature, args):
        e = Emitter(context, builder, signature, args)
        x, s, noise, m, c, out = e.pointers(0, 1, 2, 4, 5, 7)
        lane = args[6]
        one = ir.Constant(vector, [1.0] * LANES)

        def at(row):
            return e.plus(lane, row * TILE)

        def value_of(pointer, row):
            return load_at(builder, pointer, at(row), vector, 8)

        def number(pointer, index):
            return splat(builder, builder.load(builder.gep(pointer, [constant(index)])), LANES)

        there = [value_of(s, i) for i in range(n)]
        A = {(n, n): ir.Constant(vector, [0.0] * LANES)}
        for i in range(n):
            for j in range(i + 1):
                value = builder.fadd(number(c, i * n + j), value_of(noise, i * (i + 1) // 2 + j))
                value = builder.fmul(value, there[i])
                if j < i:
                    A[i, j] = builder.fmul(value, there[j])
                else:
                    A[i, i] = builder.fadd(value, builder.fsub(one, there[i]))
            delta = builder.fsub(value_of(x, i), number(m, i))
            A[n, i] = builder.fmul(delta, there[i])
        product = one
        for p in range(n):
            # Divisions take long: one serves two pivots, the other's being det / A[p, p].
            if p % 2 == 0:
                pivot = A[p, p]
                if p + 1 < n:
                    square = builder.fmul(A[p + 1, p], A[p + 1, p])
                    det = builder.fsub(builder.fmul(pivot, A[p + 1, p + 1]), square)
                    both = builder.fdiv(one, builder.fmul(pivot, det))
                    reciprocals = [
                        builder.fmul(det, both),
                        builder.fmul(builder.fmul(pivot, pivot), both),
                    ]
                    product = builder.fmul(product, det)
                else:
                    reciprocals = [builder.fdiv(one, pivot)]
                    product = builder.fmul(product, pivot)
            reciprocal = reciprocals[p % 2]
            column = [A[max(p, i), min(p, i)] for i in range(n + 1)]
            swept = [builder.fmul(value, reciprocal) for value in column]
            for i in range(n + 1):
                for j in range(i + 1):
                    if p not in (i, j):
                        A[i, j] = fma(builder, builder.fneg(swept[i]), column[j], A[i, j])
                if i != p:
                    A[max(p, i), min(p, i)] = swept[i]
            A[p, p] = builder.fneg(reciprocal)
        for (i, j), value in A.items():
            store_at(builder, value, out, at(i * (i + 1) // 2 + j), 8)
        return emit_log(builder, product)

    return sig, codegen


@inline
def solve_small(tile, seen, errors, n_features, mean, covariance, lane, matrix):
    """Fill a component's bordered matrices for ``LANES`` rows and sweep the features out.

    Parameters are those of ``solving.fill_matrices``; there must be errors, be they zeros. Returns
    the logarithms of the determinants.
    """
    if n_features == 1:
        return _solve(tile, seen, errors, 1, mean, covariance, lane, matrix)
    if n_features == 2:
        return _solve(tile, seen, errors, 2, mean, covariance, lane, matrix)
    if n_features == 3:
        return _solve(tile, seen, errors, 3, mean, covariance, lane, matrix)
    if n_features == 4:
        return _solve(tile, seen, errors, 4, mean, covariance, lane, matrix)
    return _solve(tile, seen, errors, 5, mean, covariance, lane, matrix)
