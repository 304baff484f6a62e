"""Whole runs of iterations in one call, for searches among rows of which a pass takes no longer.

Between the passes of an ordinary fit lies some 40 microseconds of Python, more than a pass over a
few hundred rows takes.
"""

import numpy as np

from fastem.kernels.clusters.moves import move_tile
from fastem.kernels.distances.euclidean import EuclideanPacked
from fastem.kernels.distances.metric import compare_tile, nearest_exactly, undecided_lanes
from fastem.kernels.distances.rounding import WIDE
from fastem.kernels.distances.tile_nearest import BLOCK, pack_centers
from fastem.kernels.kmeans.base import KMeansStatistics
from fastem.kernels.kmeans.boxes.near import NARROW, lay_out, list_near
from fastem.kernels.kmeans.centers import ALL, average_pass, inertia_change_pass
from fastem.kernels.kmeans.lloyd import PlainAlgorithm
from fastem.kernels.kmeans.sums import update_sums
from fastem.kernels.runtime.chunks import round_up
from fastem.kernels.runtime.compiling import kernel
from fastem.kernels.runtime.memory import aligned_array, aligned_empty
from fastem.kernels.vectors.machine import LANES, TILE
from fastem.kernels.vectors.vector import first_bit


@kernel
def label_near(X, order, packed, regions, columns, scores, near, labels, moves):
    """As ``lloyd.lloyd_pass`` in one chunk, less the centres out of the question for a tile.

    Parameters
    ----------
    X, order, packed, labels, moves
        As for ``lloyd.lloyd_pass``.
    regions : Regions
        Of the rows; of many features all centres are compared.
    columns, scores, near
        As for ``boxes.near.list_near``.
    """
    n_rows, n_features = X.shape
    n_clusters = len(packed.half_norms) - 1
    norms, best, second = aligned_empty(TILE), aligned_empty(TILE), aligned_empty(TILE)
    nearest = aligned_array(TILE, np.int32)
    distances = aligned_array(len(order), np.float64)
    narrow = n_features <= NARROW
    n_moved = 0
    boxes = regions.boxes
    if narrow:
        lay_out(packed, order, n_clusters, columns)
    for first in range(0, n_rows, TILE):
        t, n_near = first // TILE, 0
        if narrow:
            n_near = list_near(
                boxes.middles[t],
                boxes.halves[t],
                boxes.norms[t],
                packed,
                order,
                n_clusters,
                columns,
                scores,
                near,
            )
        if n_near == 1:
            for lane in range(TILE):
                nearest[lane] = near[0]
        else:
            while n_near % BLOCK > 0:
                near[n_near] = n_clusters  # no centre
                n_near += 1
            compared = near[:n_near] if narrow else order
            tile = regions.tiles[t]
            compare_tile(packed, tile, n_features, compared, norms, best, second, nearest)
            undecided = undecided_lanes(packed, norms, best, second)
            while undecided != np.uint64(0):
                lane = np.intp(first_bit(undecided))
                undecided &= undecided - np.uint64(1)
                row = min(first + lane, n_rows - 1)
                nearest[lane], _ = nearest_exactly(packed, X, row, distances)
        n_moved = move_tile(first, nearest, labels, moves, 0, n_moved)
    moves.counts[0] = n_moved


@kernel
def settle(
    X, scale, sample_weight, origin, order, rounding, regions, labels, moves, sums, weights,
    counts, negated, half_norms, exact, squares, cancelled, single, factor, ahead, tol, most, best,
    hopeless, centers, means, objective,
):  # fmt: skip
    """Iterate until there is nothing to expect of it.

    Parameters
    ----------
    X, scale, order, labels, moves
        As for ``lloyd.lloyd_pass``, in one chunk.
    sample_weight, origin, sums, weights, counts
        As for ``sums.update_sums``, of one group.
    rounding, negated, half_norms, exact
        What becomes an ``EuclideanPacked``.
    regions : Regions
        Of the rows.
    squares : float
        The inertia about the origin.
    cancelled : float
        How many times as large it may be as the inertia.
    single, factor
        As for ``centers.average``: whether to round to float32, and a power of two.
    ahead : float
        How much farther than to the means centres go, as a share of the way.
    tol : float
        Iterations have settled when they gain less, as a share of the inertia.
    most : int
        There are no more.
    best : float
        The inertia to become better than; infinite for none.
    hopeless : float
        They end when it is better by more than so many times what the last one has gained.
    centers : float64 array of shape (n_clusters, n_features)
        The centres to begin with; gets those of the last iteration.
    means : float64 array of shape (n_clusters, n_features)
        Gets the means of their rows, rounded.
    objective : float64 array of shape (1,)
        Gets the inertia of ``centers``.

    Returns
    -------
    int
        How many iterations there were; 0 if one came to clusters without rows, or to an inertia
        that is too small a difference.
    """
    n_clusters, n_features = centers.shape
    tickets, partial = np.zeros(1, np.int64), aligned_array(1, np.float64)
    everything, nothing, shares = np.empty(0, np.bool_), np.empty(0), np.empty(n_clusters)
    width = round_up(n_clusters, max(LANES, BLOCK))
    columns = aligned_array((n_features + 1 if n_features <= NARROW else 0, width), np.float32)
    scores = aligned_empty(width)
    near = aligned_array(width, np.int32)
    before = np.inf
    for iteration in range(most):
        greatest = pack_centers(centers, origin, scale, negated, half_norms)
        for j in range(n_clusters):
            for f in range(n_features):
                if n_features < WIDE:
                    exact[f, j] = centers[j, f]
                else:
                    exact[j, f] = centers[j, f]
        packed = EuclideanPacked(negated, half_norms, exact, rounding, np.float32(greatest * 1.001))
        label_near(X, order, packed, regions, columns, scores, near, labels, moves)
        tickets[0] = 0
        update_sums(
            tickets, 1, 1, X, origin, sample_weight, labels, len(X), moves, sums, weights, counts
        )
        for j in range(n_clusters):
            if weights[0, j] <= 0.0:
                return 0
        tickets[0] = 0
        inertia_change_pass(tickets, 1, sums[0], weights[0], centers, origin, everything, shares)
        inertia = squares + shares.sum()
        if not inertia * cancelled > squares:
            return 0
        objective[0] = inertia
        tickets[0] = 0
        average_pass(
            tickets, 1, sums[0], weights[0], 0, origin, single, factor, centers, everything, means,
            nothing, partial,
        )  # fmt: skip
        gain = (before - inertia) / before if iteration > 0 else np.inf
        before = inertia
        behind = (inertia - best) / inertia
        if gain < tol or behind > hopeless * gain or iteration + 1 == most:
            return iteration + 1
        for j in range(n_clusters):
            for f in range(n_features):
                center = means[j, f] + ahead * (means[j, f] - centers[j, f])
                if single:
                    center = np.float64(np.float32(center / factor)) * factor
                centers[j, f] = center
    return 0


class Settling(PlainAlgorithm):
    """Lloyd's algorithm in one chunk, and iterations of it in one call.

    Parameters
    ----------
    X, sample_weight, n_clusters, frame
        As for ``base.Algorithm``.
    regions : Regions
        Of the rows.
    """

    def __init__(self, X, sample_weight, n_clusters, frame, regions):
        super().__init__(X, sample_weight, n_clusters, frame)
        self._regions = regions
        shape = (n_clusters, X.shape[1])
        self._exact = np.empty(shape if X.shape[1] >= WIDE else shape[::-1])

    def _split(self, n_rows, work):
        return n_rows, 1

    def settle(self, centers, squares, cancelled, single, factor, ahead, tol, most, best, hopeless):
        """Iterate as :func:`settle` says, from centres in the rows' coordinates.

        Returns
        -------
        n_iter : int
            0 if that's not possible.
        assigned, means : ndarray of shape (n_clusters, n_features)
            The centres of the last iteration, and the means of their rows.
        statistics : KMeansStatistics
            The number of rows that moved is the last iteration's.
        inertia : float
            Of ``assigned``.
        """
        centers, means = np.array(centers, np.float64), np.empty(centers.shape)
        objective = np.empty(1)
        n_iter = settle(
            self._rows,
            self._scale,
            self._weight,
            self._origin,
            self._order,
            self._rounding,
            self._regions,
            self.labels,
            self._moves,
            self._sums,
            self._weights,
            self._counts,
            self._negated,
            self._half_norms,
            self._exact,
            float(squares),
            float(cancelled),
            single,
            float(factor),
            float(ahead),
            float(tol),
            most,
            float(best),
            float(hopeless),
            centers,
            means,
            objective,
        )
        statistics = KMeansStatistics(
            self._sums[0].copy(),
            self._weights[0].copy(),
            int(self._moves.counts[0]),
            ALL,
        )
        return n_iter, centers, means, statistics, float(objective[0])
