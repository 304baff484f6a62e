"""From float32 scores to decisions that float64 would make too.

A tile's scores are computed in float32 with an error of at most ``E``; where the least and the
second least are closer than their errors, the row is compared again in float64. Everywhere else
the margin proves that float64 would choose the same centre.

A score errs by at most ``e |c| (|x| + |c|)`` with ``e = 1.06 m u``, ``u = 2^-24``, where ``m`` is
the longest chain of roundings (Higham, Accuracy and Stability of Numerical Algorithms, 2002,
section 3.1): a partial sum's, the sum's of the partial sums, and 8 for the conversion of rows and
centres. ``|x| <= (1 + |x|^2) / 2`` spares a square root, and is sharp since the frame's scale
brings ``|x|`` near one. Centres with ``|c| > 4 |x|`` have scores of at least ``|c|^2 / 4``, which
err by at most ``5 e`` of themselves, so that a far centre does not blur the near ones.
"""

import numpy as np

from fastem.kernels.distances.one_row import direct_distance
from fastem.kernels.distances.tile_nearest import PARTIAL
from fastem.kernels.runtime.chunks import ceil_div
from fastem.kernels.runtime.compiling import inline, kernel
from fastem.kernels.vectors.machine import LANES, TILE
from fastem.kernels.vectors.vector import (
    bits,
    broadcast,
    greater,
    lesser,
    load,
    multiply_add,
    square_root,
    store,
    where,
)

_FAR = np.float32(1e30)

# Covers what products of rows and centres close to the origin lose where they are subnormal; then
# the radius may be zero, too.
_TINY = np.float32(2.0**-126)

# Brings products of values that overflow back into range.
_LESS = 2.0**-600

# From so many features on, one row is compared with centre after centre; below, feature by feature
# with all centres.
WIDE = 64


def exact_layout(centers):
    """Centres (n_clusters, n_features) in float64, transposed unless they have many features."""
    return centers if centers.shape[1] >= WIDE else np.ascontiguousarray(centers.T)


@inline
def rounding_error(n_features):
    """``e`` of tiles; infinite, so that all is compared in float64, where the bound breaks down."""
    return chain_error(min(n_features, PARTIAL) + ceil_div(n_features, PARTIAL))


@inline
def chain_error(longest):
    """``e`` where a product goes through at most so many roundings in the sums."""
    chain = longest + 8
    return np.float32(1.06 * chain * 2.0**-24 if chain * 2.0**-24 < 0.05 else np.inf)


# Cover a few roundings to float32: of drifts, of their sums with bounds, of square roots.
ROUNDED_DOWN = np.float32(1 - 2.0**-21)
ROUNDED_UP = np.float32(1 + 2.0**-21)


@inline
def _margin(squares, second, rounding, radius):
    """How far apart two scores must be for float32 to tell them apart, and ``second`` finite."""
    e = broadcast(rounding, LANES)
    second = lesser(second, broadcast(_FAR, LANES))  # infinite where there is one centre only
    one = broadcast(np.float32(1), LANES)
    tiny = broadcast(_TINY, LANES)
    near = multiply_add(
        broadcast(radius, LANES), squares + one, broadcast(np.float32(2) * radius * radius, LANES)
    )
    near = multiply_add(e, near, tiny)
    size = greater(second, broadcast(np.float32(0), LANES) - second)
    far = multiply_add(
        broadcast(np.float32(40), LANES), squares, size * broadcast(np.float32(12), LANES)
    )
    far = multiply_add(e, far, tiny)
    limit = squares * broadcast(np.float32(16), LANES)
    return where(limit < broadcast(radius * radius, LANES), far, near), second


@inline
def undecided_lanes(norms, best, second, rounding, radius):
    """The lanes of a tile whose nearest centre float32 can't tell, as the bits of a uint64.

    Parameters
    ----------
    norms, best, second : float32 arrays of TILE values
        Squared norms of the rows, least and second least scores.
    rounding, radius : float32
        ``e`` and the greatest norm of a centre.
    """
    undecided = np.uint64(0)
    for lane in range(0, TILE, LANES):
        squares = load(norms, lane, LANES)
        margin, s2 = _margin(squares, load(second, lane, LANES), rounding, radius)
        decided = margin < s2 - load(best, lane, LANES)
        undecided |= (~bits(decided) & np.uint64((1 << LANES) - 1)) << np.uint64(lane)
    return undecided


def distance_gaps(packed, norms, best, second, gaps):
    """``metric.distance_gaps`` of packed centres that have ``rounding`` and ``radius``."""
    undecided = np.uint64(0)
    zero = broadcast(np.float32(0), LANES)
    two = broadcast(np.float32(2), LANES)
    for lane in range(0, TILE, LANES):
        squares = load(norms, lane, LANES)
        s1 = load(best, lane, LANES)
        s2 = load(second, lane, LANES)
        margin, s2 = _margin(squares, s2, packed.rounding, packed.radius)
        decided = margin < s2 - s1
        undecided |= (~bits(decided) & np.uint64((1 << LANES) - 1)) << np.uint64(lane)
        # Too great a norm makes the gap smaller.
        squares = squares * broadcast(np.float32(1) + np.float32(2) * packed.rounding, LANES)
        d1 = square_root(greater(multiply_add(s1, two, squares) + margin, zero))
        d2 = square_root(greater(multiply_add(s2, two, squares) - margin, zero))
        gap = d2 * broadcast(ROUNDED_DOWN, LANES) - d1
        store(where(decided, greater(gap, zero), zero), gaps, lane)
    return undecided


@inline
def distances_below(norms, scores, rounding, radius, distances):
    """Lower bounds of a tile's distances, in scaled units, from its scores."""
    zero = broadcast(np.float32(0), LANES)
    shrink = broadcast(np.float32(1) - np.float32(2) * rounding, LANES)
    for lane in range(0, TILE, LANES):
        squares = load(norms, lane, LANES)
        margin, score = _margin(squares, load(scores, lane, LANES), rounding, radius)
        squares = multiply_add(score, broadcast(np.float32(2), LANES), squares * shrink) - margin
        distance = square_root(greater(squares, zero))
        store(distance * broadcast(ROUNDED_DOWN, LANES), distances, lane)


@inline
def least_two(distances, n_clusters):
    """The number of the first of the least distances, this distance, and the second least."""
    label = 0
    least = second = np.inf
    for j in range(n_clusters):
        if distances[j] < least:
            second = least
            least = distances[j]
            label = j
        elif distances[j] < second:
            second = distances[j]
    return np.int32(label), least, second


@kernel
def nearest_to_far(X, row, exact):
    """The nearest centre of a row from which all squared distances overflow; 0 if it isn't finite.

    With ``d = c - c0``, ``|x - c|^2`` is ``|d|^2 - 2 (x - c0).d`` more than the first centre's.

    Parameters
    ----------
    X : array of shape (n_rows, n_features)
    row : int
    exact : float64 array
        The centres, as :func:`exact_layout` returns them.
    """
    n_features = X.shape[1]
    narrow = n_features < WIDE
    label, least = 0, 0.0
    for j in range(1, exact.shape[1] if narrow else exact.shape[0]):
        more = 0.0
        for f in range(n_features):
            first = exact[f, 0] if narrow else exact[0, f]
            apart = (exact[f, j] if narrow else exact[j, f]) - first
            away = _LESS * np.float64(X[row, f]) - _LESS * first
            if not abs(away) < np.inf:
                return np.int32(0)
            more += apart * (0.5 * _LESS * apart - away)
        if more < least:
            label, least = j, more
    return np.int32(label)


@inline
def nearest_exactly(packed, X, row, distances):
    """``metric.nearest_exactly`` by direct differences from ``packed.exact``.

    Those are float64 centres as :func:`exact_layout` returns them.
    """
    n_features = X.shape[1]
    if n_features < WIDE:
        n_clusters = packed.exact.shape[1]
        for j in range(n_clusters):
            distances[j] = 0.0
        for f in range(n_features):
            x = np.float64(X[row, f])
            for j in range(n_clusters):
                difference = x - packed.exact[f, j]
                distances[j] += difference * difference
    else:
        n_clusters = packed.exact.shape[0]
        for j in range(n_clusters):
            distances[j] = direct_distance(X, row, packed.exact, j)
    label, least, second = least_two(distances, n_clusters)
    if least == np.inf:
        label = nearest_to_far(X, row, packed.exact)
    # Less what the sums of n_features squares may be off by.
    error = (n_features + 8) * 2.0**-52 * np.sqrt(second)
    return label, max(np.sqrt(second) - np.sqrt(least) - error, 0.0)
