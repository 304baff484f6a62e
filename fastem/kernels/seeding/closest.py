"""Each row's distance to the closest seed, tile by tile: compared, weighted, brought up to date.

``closest`` and ``labels`` have values up to the end of the last tile; the distances of a tile's
lanes to a point lie one behind the other.
"""

from typing import NamedTuple

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastem.kernels.runtime.compiling import inline
from fastem.kernels.vectors.emit import (
    INDEX,
    Emitter,
    constant,
    fma,
    llvm_type,
    load_at,
    minimum,
    splat,
    store_at,
    sum_lanes,
    zeros_of,
)
from fastem.kernels.vectors.machine import TILE, vector_lanes


class Known(NamedTuple):
    """What is known of the rows, up to the end of the last tile.

    Parameters
    ----------
    closest : ndarray of shape (n_tiles * TILE,), in the rows' dtype
        Squared distances to the closest seed but the last, in scaled units.
    labels : ndarray of shape (n_tiles * TILE,), int32
        These seeds' numbers, -1 for none.
    last_improved : ndarray of shape (n_tiles,), uint64
        The lanes that the last seed is nearer to, as bits: they are still to be brought up to date.
    """

    closest: np.ndarray
    labels: np.ndarray
    last_improved: np.ndarray


class Trial(NamedTuple):
    """Candidates for the next seed, and what each would make of the tiles.

    Parameters
    ----------
    points : ndarray of shape (n_candidates + n_candidates % 2, n_features)
        From ``direct_rows.pad_points``.
    potentials : ndarray of shape (n_candidates, n_tiles), float64
        Get the weighted sums of the rows' distances to the closest seed.
    improved : ndarray of shape (n_candidates, n_tiles), uint64
        Get the lanes that a candidate is nearer to, as bits.
    """

    points: np.ndarray
    potentials: np.ndarray
    improved: np.ndarray


@inline
def weigh(weight, row, n_rows, tile_weight):
    """A tile's weights: ones if there are none, zero behind the last row.

    Parameters
    ----------
    weight : float64 array of n_rows values, or of none
    row, n_rows : int
        The tile's first, and how many there are.
    tile_weight : array of TILE values
    """
    n_lanes = min(TILE, n_rows - row)
    if len(weight) == 0:
        for lane in range(TILE):
            tile_weight[lane] = 1.0 if lane < n_lanes else 0.0
    else:
        for lane in range(n_lanes):
            tile_weight[lane] = weight[row + lane]
        for lane in range(n_lanes, TILE):
            tile_weight[lane] = 0.0


@intrinsic
def take_lesser(typingctx, distances, closest, labels, row, label):
    """Where a tile's distances are less than those known, put them and ``label`` in their place."""
    sig = types.void(distances, closest, labels, types.intp, types.int32)

    def codegen(context, builder, signature, args):
        e = Emitter(context, builder, signature, args)
        new, old, numbers = e.pointers(0, 1, 2)
        lanes = vector_lanes(distances.dtype)
        size = distances.dtype.bitwidth // 8
        vector = ir.VectorType(llvm_type(distances.dtype), lanes)
        label_vector = ir.VectorType(ir.IntType(32), lanes)
        label = splat(builder, args[4], lanes)
        for lane in range(0, TILE, lanes):
            at = e.plus(args[3], lane)
            a = load_at(builder, new, constant(lane), vector, size)
            b = load_at(builder, old, at, vector, size)
            lesser = builder.fcmp_ordered("<", a, b)
            store_at(builder, builder.select(lesser, a, b), old, at, size)
            known = load_at(builder, numbers, at, label_vector, 4)
            store_at(builder, builder.select(lesser, label, known), numbers, at, 4)
        return e.nothing()

    return sig, codegen


@intrinsic
def sum_of_lesser(typingctx, distances, first, closest, row, weights):
    """Compare a tile's distances with those known.

    Returns the sum of ``weights[lane] * min(distances[first + lane], closest[row + lane])`` in
    float64, and the lanes where the first is the lesser, as the bits of a uint64.
    """
    result = types.Tuple((types.float64, types.uint64))
    sig = result(distances, types.intp, closest, types.intp, weights)

    def codegen(context, builder, signature, args):
        e = Emitter(context, builder, signature, args)
        new, old, weight = e.pointers(0, 2, 4)
        lanes = vector_lanes(distances.dtype)
        size = distances.dtype.bitwidth // 8
        vector = ir.VectorType(llvm_type(distances.dtype), lanes)
        wide = ir.VectorType(ir.DoubleType(), lanes)
        total = zeros_of(wide)
        bits = constant(0)
        for lane in range(0, TILE, lanes):
            a = load_at(builder, new, e.plus(args[1], lane), vector, size)
            b = load_at(builder, old, e.plus(args[3], lane), vector, size)
            w = load_at(builder, weight, constant(lane), wide, 8)
            mask = builder.bitcast(builder.fcmp_ordered("<", a, b), ir.IntType(lanes))
            mask = builder.shl(builder.zext(mask, INDEX), constant(lane))
            bits = builder.or_(bits, mask)
            least = minimum(builder, a, b)
            if least.type != wide:
                least = builder.fpext(least, wide)
            total = fma(builder, least, w, total)
        total = sum_lanes(builder, total)
        return context.make_tuple(builder, signature.return_type, [total, bits])

    return sig, codegen


@inline
def judge_tile(distances, tile, closest, tile_weight, trial):
    """Fill in what each candidate would make of a tile.

    Parameters
    ----------
    distances : array of at least n_candidates * TILE values
        Of the tile's lanes to the candidates.
    tile : int
        The tile's number.
    closest : array of n_tiles * TILE values
    tile_weight : float64 array of TILE values
    trial : Trial
    """
    for i in range(len(trial.potentials)):
        trial.potentials[i, tile], trial.improved[i, tile] = sum_of_lesser(
            distances, i * TILE, closest, tile * TILE, tile_weight
        )
