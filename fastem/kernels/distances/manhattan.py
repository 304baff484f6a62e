"""The L1 distance, as passes over dense rows ask for it.

A tile's distances are computed in float32; where the least and the second least are closer than
their errors, the row is compared again in float64, its features' differences added one after the
other. Everywhere else the margin proves that float64 would choose the same centre. Rows and centres
are shifted by the frame's origin in float32 only: float64 compares them as they are, so that ties
are ties.

With ``u = 2^-24``, a distance ``D`` errs by at most ``e D`` through its differences and sums, where
``e = 1.06 m u`` and ``m`` is the longest chain of roundings (Higham, Accuracy and Stability of
Numerical Algorithms, 2002, section 3.1), and by ``u (|x| + |c|) <= u (2 |x| + D)`` through the
conversion of row and centre. So a far centre does not blur the near ones.
"""

from typing import NamedTuple

import numpy as np

from fastem.kernels.distances import metric
from fastem.kernels.distances.one_row import manhattan_distance
from fastem.kernels.distances.rounding import ROUNDED_DOWN, least_two, rounding_error
from fastem.kernels.distances.tile_nearest import absolute_norms, nearest_two_manhattan
from fastem.kernels.runtime.compiling import inline, variant
from fastem.kernels.vectors.machine import LANES, TILE
from fastem.kernels.vectors.vector import bits, broadcast, greater, lesser, load, store, where

# Above all scaled distances but those of rows that float32 can't hold.
_FAR = np.float32(1e30)

# Four times u: for a row's conversion, its norm's rounding included.
_CONVERSION = np.float32(2.0**-22)

# Covers what the conversion of values close to the origin loses where they are subnormal.
_TINY = np.float32(2.0**-125)


class ManhattanPacked(NamedTuple):
    """The centres of one pass.

    Parameters
    ----------
    centers : ndarray of shape (n_clusters + 1, n_features), float32
        Shifted and scaled, and a row of zeros.
    offsets : ndarray of shape (n_clusters + 1,), float32
        Zeros, and infinity for the row of zeros, which is never the nearest.
    exact : ndarray of shape (n_features, n_clusters), float64
        Transposed, neither shifted nor scaled.
    rounding : float32
        ``e``.
    """

    centers: np.ndarray
    offsets: np.ndarray
    exact: np.ndarray
    rounding: np.float32


def pack_centers(centers, origin, scale):
    """Centres (n_clusters, n_features) in float64 as :class:`ManhattanPacked`."""
    n_clusters, n_features = centers.shape
    shifted = np.zeros((n_clusters + 1, n_features), np.float32)
    with np.errstate(over="ignore"):  # a centre far beyond the rows: infinity is never the least
        shifted[:-1] = (centers - origin) * scale
    offsets = np.zeros(n_clusters + 1, np.float32)
    offsets[-1] = np.inf
    exact = np.ascontiguousarray(centers.T)
    return ManhattanPacked(shifted, offsets, exact, rounding_error(n_features))


@inline
def _differences(norms, best, second, rounding, lane):
    """Second least less least distance of a vector of lanes, and what this may be off by."""
    least = load(best, lane, LANES)
    runner_up = lesser(load(second, lane, LANES), broadcast(_FAR, LANES))  # infinite if alone
    conversion = load(norms, lane, LANES) * broadcast(np.float32(2) * _CONVERSION, LANES)
    margin = (least + runner_up) * broadcast(rounding, LANES) + conversion
    return runner_up - least, margin + broadcast(_TINY, LANES)


@variant(metric.compare_tile, of=ManhattanPacked)
def _compare_tile(packed, tile, n_features, order, norms, best, second, nearest):
    absolute_norms(tile, n_features, norms)
    nearest_two_manhattan(
        tile,
        n_features,
        packed.centers,
        packed.offsets,
        order,
        0,
        len(order),
        best,
        second,
        nearest,
    )


@variant(metric.undecided_lanes, of=ManhattanPacked)
def _undecided_lanes(packed, norms, best, second):
    undecided = np.uint64(0)
    for lane in range(0, TILE, LANES):
        difference, margin = _differences(norms, best, second, packed.rounding, lane)
        decided = bits(margin < difference)
        undecided |= (~decided & np.uint64((1 << LANES) - 1)) << np.uint64(lane)
    return undecided


@variant(metric.distance_gaps, of=ManhattanPacked)
def _distance_gaps(packed, norms, best, second, gaps):
    undecided = np.uint64(0)
    zero = broadcast(np.float32(0), LANES)
    for lane in range(0, TILE, LANES):
        difference, margin = _differences(norms, best, second, packed.rounding, lane)
        decided = margin < difference
        undecided |= (~bits(decided) & np.uint64((1 << LANES) - 1)) << np.uint64(lane)
        gap = (difference - margin) * broadcast(ROUNDED_DOWN, LANES)
        store(where(decided, greater(gap, zero), zero), gaps, lane)
    return undecided


@variant(metric.nearest_exactly, of=ManhattanPacked)
def _nearest_exactly(packed, X, row, distances):
    n_features, n_clusters = packed.exact.shape
    for j in range(n_clusters):
        distances[j] = 0.0
    for f in range(n_features):
        x = np.float64(X[row, f])
        for j in range(n_clusters):
            distances[j] += abs(x - packed.exact[f, j])
    label, least, second = least_two(distances, n_clusters)
    # Less what sums of n_features differences may be off by, now and while the bound holds.
    error = (n_features + 8) * 2.0**-51 * second
    gap = second - least - error if second < np.inf else np.inf
    return label, max(gap, 0.0)


@variant(metric.row_distance, of=ManhattanPacked)
def _row_distance(packed, X, row, points, point):
    return manhattan_distance(X, row, points, point)


@variant(metric.length_between, of=ManhattanPacked)
def _length_between(packed, X, row, points, point):
    return manhattan_distance(X, row, points, point)
