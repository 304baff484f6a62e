"""What the exact K-medians algorithms share: the L1 distance and medians instead of sums."""

from typing import NamedTuple

import numpy as np

from fastem.kernels.clusters.moves import LISTED_SHARE
from fastem.kernels.distances.manhattan import pack_centers
from fastem.kernels.distances.one_row import manhattan_distance
from fastem.kernels.kmeans.base import DenseAlgorithm
from fastem.kernels.kmeans.halves import sum_gains
from fastem.kernels.medians.following import FollowedShares
from fastem.kernels.medians.moving import MovingMedians
from fastem.kernels.runtime.arrays import write_row
from fastem.kernels.runtime.compiling import kernel
from fastem.kernels.runtime.parallel import next_chunk, run


class PartStatistics(NamedTuple):
    """What a pass tells of a part's rows; it adds up over parts.

    Parameters
    ----------
    inertia : float
        Weighted sum of the L1 distances of the rows to their centres.
    weights : ndarray of shape (n_clusters,), float64
        Sum of the weights of each cluster's rows.
    n_changed : int
        Rows whose cluster differs from that of the previous pass.
    n_members : ndarray of shape (n_clusters,), int64
        Rows of positive weight.
    shares : ndarray of shape (n_clusters, n_features, 4), float64
        Of intervals that are followed, (n_clusters, n_features, 0) if none are.
    """

    inertia: float
    weights: np.ndarray
    n_changed: int
    n_members: np.ndarray
    shares: np.ndarray


class KMediansStatistics(NamedTuple):
    """The same of all rows, with the medians, which don't follow from those of parts.

    Parameters
    ----------
    inertia, weights, n_changed
        As in :class:`PartStatistics`.
    medians : ndarray of shape (n_clusters, n_features)
        In the rows' dtype; NaN for clusters without rows.
    """

    inertia: float
    weights: np.ndarray
    n_changed: int
    medians: np.ndarray


@kernel
def chunk_statistics(
    tickets, n_chunks, chunk_rows, X, sample_weight, labels, centers, inertia, weights, counts
):
    """Each chunk's sum of L1 distances, weights, and rows of positive weight by cluster.

    Parameters
    ----------
    X : array of shape (n_rows, n_features)
    sample_weight : float64 array of n_rows values, or of none
    labels : int32 array of shape (n_rows,)
    centers : float64 array of shape (n_clusters, n_features)
        In the rows' coordinates.
    inertia : float64 array of shape (n_chunks,)
        Gets the weighted sums of the rows' L1 distances to their own centres.
    weights : float64 array of shape (n_chunks, n_clusters)
        Gets the sums of weights.
    counts : int64 array of shape (n_chunks, n_clusters)
        Gets the numbers of rows of positive weight.
    """
    n_rows = len(X)
    while True:
        chunk = next_chunk(tickets)
        if chunk >= n_chunks:
            return
        total = 0.0
        # Own arrays: neighbours' counts share cache lines, for which two threads would contend.
        own_weights, own_counts = np.zeros(len(centers)), np.zeros(len(centers), np.int64)
        for row in range(chunk * chunk_rows, min((chunk + 1) * chunk_rows, n_rows)):
            label = labels[row]
            distance = manhattan_distance(X, row, centers, label)
            weight = sample_weight[row] if len(sample_weight) else 1.0
            total += weight * distance
            own_weights[label] += weight
            own_counts[label] += weight > 0.0
        inertia[chunk] = total
        write_row(own_weights, weights, chunk)
        write_row(own_counts, counts, chunk)


class MedianAlgorithm(DenseAlgorithm):
    """Assigns a part's rows to the nearest centres, pass after pass, and keeps their medians.

    The centres aren't relative to the frame's origin, which only serves the comparison in float32.
    Parameters and attributes are those of ``kmeans.base.Algorithm``.
    """

    def _listed_share(self, n_features):
        return LISTED_SHARE  # what follows the moves is not sums

    def _set_up_statistics(self, X, n_clusters):
        self._n_clusters = n_clusters
        # Made once they are asked for: of all rows, or of one of several parts.
        self._medians = None
        self.followed = None

    def assign(self, centers):
        """Assign every row to its nearest centre, and follow the rows that move by the medians."""
        self._pass(np.ascontiguousarray(centers, np.float64))
        inertia, weights, counts = self._sum_up(centers)
        if self._medians is None:
            self._medians = MovingMedians(self._rows, self._weight, self.labels, self._n_clusters)
        self._medians.update(self._chunk_rows, self._moves, counts)
        n_changed = int(self._moves.counts.sum())
        return KMediansStatistics(inertia, weights, n_changed, self._medians.medians.copy())

    def assign_apart(self, centers, capacity):
        """As :meth:`assign`, for one of several parts: the medians are found by other means.

        Intervals around these are ``followed``, each with up to ``capacity`` values, unless that
        is 0.
        """
        self._pass(np.ascontiguousarray(centers, np.float64))
        inertia, weights, counts = self._sum_up(centers)
        n_features = self._rows.shape[1]
        shares = np.empty((self._n_clusters, n_features, 0))
        if capacity > 0:
            if self.followed is None:
                shape = self._n_clusters, n_features
                self.followed = FollowedShares(*shape, capacity, self._rows.dtype)
            self.followed.follow(self._rows, self.labels, self._moves)
            shares = self.followed.shares()
        n_changed = int(self._moves.counts.sum())
        return PartStatistics(inertia, weights, n_changed, counts.sum(axis=0), shares)

    def label_rows(self, centers):
        for moving in (self._medians, self.followed):
            if moving is not None:
                moving.forget()  # the moves of this pass
        super().label_rows(centers)

    def _sum_up(self, centers):
        inertia = np.empty(self._n_chunks)
        weights = np.empty((self._n_chunks, self._n_clusters))
        counts = np.empty((self._n_chunks, self._n_clusters), np.int64)
        run(
            chunk_statistics,
            self._n_chunks,
            self._chunk_rows,
            self._rows,
            self._weight,
            self.labels,
            np.ascontiguousarray(centers, np.float64),
            inertia,
            weights,
            counts,
        )
        return float(inertia.sum()), weights.sum(axis=0), counts

    def inertia(self, centers):
        """Weighted sum of L1 distances of the rows to their own centres, in float64."""
        return self._sum_up(centers)[0]

    def gains(self, centers, children, directions, offsets):
        """How much less far rows are from their cluster's children: :func:`halves.sum_gains`."""
        centers = np.ascontiguousarray(centers, np.float64)
        return sum_gains(
            self._rows,
            self._origin,
            self._weight,
            self.labels,
            self._pack(centers),
            centers,
            children,
            directions,
            offsets,
        )

    def _pack(self, centers):
        return pack_centers(centers, self._origin, self._frame.scale)
