"""One row's share in sums of clusters, in float64: added, or moved from one sum to another."""

import numpy as np
from numba import types
from numba.extending import intrinsic

from fastem.kernels.distances.one_row import load_doubles
from fastem.kernels.distances.sparse import SparseRows
from fastem.kernels.runtime.compiling import inline, variant
from fastem.kernels.vectors.emit import Emitter, constant, fma, prefetch, splat, store_at
from fastem.kernels.vectors.machine import DOUBLES, LINE_BYTES

_FEW_FEATURES = 16  # LLVM's loops are as good for these


def _shares(signs):
    """The intrinsic that adds ``sign * weight * (x - origin)`` of a row to a sum for each sign.

    A row is read once for all of them, and the row ``later`` is fetched meanwhile: all rows of
    50,000 x 784 took 15 ms in float32 and 27 in float64 as loops that LLVM compiles, one for each
    sum, and 4.8 and 9.5 so, which is memory's rate; a tenth of them 1.6 and 0.9.
    """

    def emit(context, builder, signature, args):
        e = Emitter(context, builder, signature, args)
        x, origin, sums = e.pointers(0, 1, 5)
        row, later, weight, clusters = (args[i] for i in (2, 3, 4, 6))
        width = e.extent(0, 1)
        size = signature.args[0].dtype.bitwidth // 8
        x, ahead = e.row(x, row, width), e.row(x, later, width)
        targets = [
            e.row(sums, builder.extract_value(clusters, i), width) for i in range(len(signs))
        ]
        weights = [weight if sign > 0 else builder.fneg(weight) for sign in signs]
        start = constant(0)
        for lanes in (DOUBLES, 1):
            rest = builder.srem(builder.sub(width, start), constant(lanes))
            stop = builder.sub(width, rest)
            factors = weights if lanes == 1 else [splat(builder, w, lanes) for w in weights]
            with e.loop(start, stop, lanes) as f:
                if lanes > 1:
                    for line in range(0, lanes * size, LINE_BYTES):
                        prefetch(builder, ahead, e.plus(f, line // size), nearest=False)
                values = builder.fsub(*(load_doubles(builder, a, f, lanes) for a in (x, origin)))
                for target, factor in zip(targets, factors, strict=True):
                    old = load_doubles(builder, target, f, lanes)
                    if lanes == 1:
                        new = builder.fadd(old, builder.fmul(factor, values))
                        builder.store(new, e.at(target, f))
                    else:
                        store_at(builder, fma(builder, factor, values, old), target, f, 8)
            start = stop
        return e.nothing()

    @intrinsic
    def function(typingctx, rows, origin, row, later, weight, sums, clusters):
        sig = types.void(
            rows,
            origin,
            types.intp,
            types.intp,
            types.float64,
            sums,
            types.UniTuple(types.intp, len(signs)),
        )
        return sig, emit

    return function


_add_values, _shift_values = _shares([1]), _shares([-1, 1])


def add_row(rows, origin, row, weight, sums, cluster):
    """Add ``weight * (x - origin)`` of one row to ``sums[cluster]``."""
    raise NotImplementedError("for kernels only")


@variant(add_row, of=types.Array)
def _add_dense(rows, origin, row, weight, sums, cluster):
    for f in range(rows.shape[1]):
        sums[cluster, f] += weight * (rows[row, f] - origin[f])


@variant(add_row, of=SparseRows)
def _add_sparse(rows, origin, row, weight, sums, cluster):
    data, indices, indptr = rows
    own = sums[cluster]
    # Unsigned numbers can't count from an array's end, which takes a third of the time.
    for i in range(np.uint64(indptr[row]), np.uint64(indptr[row + 1])):
        own[np.uint64(indices[i])] += weight * data[i]


@inline
def move_row(rows, origin, row, later, weight, sums, before, after):
    """Add ``weight * (x - origin)`` of a dense row to one sum, take it from the one ``before``.

    Where ``before`` is negative, from none. The row ``later`` is fetched meanwhile.
    """
    if rows.shape[1] < _FEW_FEATURES:
        if before >= 0:
            add_row(rows, origin, row, -weight, sums, before)
        add_row(rows, origin, row, weight, sums, after)
    elif before >= 0:
        _shift_values(rows, origin, row, later, weight, sums, (before, after))
    else:
        _add_values(rows, origin, row, later, weight, sums, (after,))
