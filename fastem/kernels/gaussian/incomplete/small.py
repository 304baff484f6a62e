"""As ``solving.py`` does it, for so few features that a matrix stays in registers."""

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastem.kernels.runtime.compiling import inline
from fastem.kernels.vectors.emit import Emitter, constant, fma, load_at, splat, store_at
from fastem.kernels.vectors.machine import DOUBLES, TILE
from fastem.kernels.vectors.vector import Vector

#: Features whose bordered triangle AVX-512's or NEON's 32 registers hold, with some to work in: of
#: five, 50,000 rows and 8 components take 3.8 ms, and 6.4 in memory.
MOST_FEATURES = 5


@intrinsic
def _solve(typingctx, tile, seen, errors, pairs, n_features, mean, covariance, lane, matrix):
    """Of ``n_features`` (literal), for the rows of one vector; the determinants."""
    if not isinstance(n_features, types.IntegerLiteral):
        return None
    n = n_features.literal_value
    sig = Vector(types.float64, DOUBLES)(
        tile, seen, errors, pairs, n_features, mean, covariance, types.intp, matrix
    )
    vector = ir.VectorType(ir.DoubleType(), DOUBLES)

    def codegen(context, builder, signature, args):
        e = Emitter(context, builder, signature, args)
        x, s, noise, both, m, c, out = e.pointers(0, 1, 2, 3, 5, 6, 8)
        lane = args[7]
        one = ir.Constant(vector, [1.0] * DOUBLES)

        def at(row):
            return e.plus(lane, row * TILE)

        def value_of(pointer, row):
            return load_at(builder, pointer, at(row), vector, 8)

        def number(pointer, index):
            return splat(builder, builder.load(builder.gep(pointer, [constant(index)])), DOUBLES)

        A = {(n, n): ir.Constant(vector, [0.0] * DOUBLES)}
        for i in range(n):
            for j in range(i + 1):
                at_pair = i * (i + 1) // 2 + j
                pair, error = value_of(both, at_pair), value_of(noise, at_pair)
                A[i, j] = fma(builder, number(c, i * n + j), pair, error)
            delta = builder.fsub(value_of(x, i), number(m, i))
            A[n, i] = builder.fmul(delta, value_of(s, i))
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
        return product

    return sig, codegen


@inline
def solve_small(tile, seen, errors, pairs, n_features, mean, covariance, lane, matrix):
    """Fill a component's bordered matrices for ``DOUBLES`` rows and sweep the features out.

    Parameters are those of ``solving.fill_matrices``; there must be errors, be they zeros, and
    ``pairs`` has ones where both features were observed. Returns the determinants.
    """
    if n_features == 1:
        return _solve(tile, seen, errors, pairs, 1, mean, covariance, lane, matrix)
    if n_features == 2:
        return _solve(tile, seen, errors, pairs, 2, mean, covariance, lane, matrix)
    if n_features == 3:
        return _solve(tile, seen, errors, pairs, 3, mean, covariance, lane, matrix)
    if n_features == 4:
        return _solve(tile, seen, errors, pairs, 4, mean, covariance, lane, matrix)
    return _solve(tile, seen, errors, pairs, 5, mean, covariance, lane, matrix)
