"""How much of each cluster lies below an interval and inside it: what adds up over parts.

The medians of all rows are found from these sums, wherever the rows are.
"""

from typing import NamedTuple

import numpy as np

from fastem.kernels.medians.brackets import BLOCK, load_columns, scan_column
from fastem.kernels.medians.members import count_members, members_of
from fastem.kernels.runtime.arrays import as_weights, read_only
from fastem.kernels.runtime.chunks import ceil_div, row_chunks, worthwhile_threads
from fastem.kernels.runtime.compiling import inline, kernel
from fastem.kernels.runtime.parallel import next_chunk, run
from fastem.kernels.vectors.machine import TILE
from fastem.kernels.vectors.tiles import aligned_empty_like
from fastem.kernels.vectors.vector import first_bit


class Inside(NamedTuple):
    """Values strictly inside intervals: all, or if they are many, every second, fourth ... of them.

    Parameters
    ----------
    values : ndarray of shape (n_clusters, n_features, width), in the rows' dtype
    weights : ndarray of shape (n_clusters, n_features, width) or (n_clusters, n_features, 0)
        Without weights all are one.
    n_kept : ndarray of shape (n_clusters, n_features), int64
        How many there are.
    """

    values: np.ndarray
    weights: np.ndarray
    n_kept: np.ndarray


@inline
def _keep(inside, cluster, feature, number, stride, value, weight):
    """Keep value ``number`` of those inside if it is one in ``stride``; returns the stride."""
    if number % stride != 0:
        return stride
    width = inside.values.shape[2]
    n_kept = inside.n_kept[cluster, feature]
    if n_kept == width:
        # Full: every second stays, so that what is kept lies evenly among all.
        n_kept = (width + 1) // 2
        for i in range(n_kept):
            inside.values[cluster, feature, i] = inside.values[cluster, feature, 2 * i]
            if inside.weights.shape[2] > 0:
                inside.weights[cluster, feature, i] = inside.weights[cluster, feature, 2 * i]
        stride *= 2
        if number % stride != 0:
            inside.n_kept[cluster, feature] = n_kept
            return stride
    inside.values[cluster, feature, n_kept] = value
    if inside.weights.shape[2] > 0:
        inside.weights[cluster, feature, n_kept] = weight
    inside.n_kept[cluster, feature] = n_kept + 1
    return stride


@kernel
def sum_shares(
    tickets, n_tasks, X, sample_weight, members, starts, wanted, lower, upper, shares, inside
):
    """Sum the weights of members below intervals, at their ends and inside, and keep some inside.

    A task is a cluster and ``BLOCK`` features.

    Parameters
    ----------
    X : array of shape (n_rows, n_features)
    sample_weight : float64 array of n_rows values, or of none
    members, starts
        From ``members.members_of``.
    wanted : bool array of shape (n_clusters, n_features)
    lower, upper : arrays of shape (n_clusters, n_features), in the rows' dtype
    shares : float64 array of shape (n_clusters, n_features, 5)
        Gets the weights below, at the lower end, inside and at the upper end, and the number
        inside. Of equal ends the upper has nothing.
    inside : Inside
    """
    n_features = X.shape[1]
    weighted = len(sample_weight) > 0
    n_blocks = (n_features + BLOCK - 1) // BLOCK
    columns = aligned_empty_like(BLOCK * TILE, X)
    columns[:] = 0
    features = np.empty(BLOCK, np.intp)
    strides = np.empty(BLOCK, np.intp)
    numbers = np.empty(BLOCK, np.intp)
    sums = np.empty((BLOCK, 4))
    while True:
        task = next_chunk(tickets)
        if task >= n_tasks:
            return
        cluster = task // n_blocks
        start, stop = starts[cluster], starts[cluster + 1]
        first_feature = task % n_blocks * BLOCK
        n_own = 0
        for f in range(first_feature, min(first_feature + BLOCK, n_features)):
            if wanted[cluster, f]:
                features[n_own] = f
                inside.n_kept[cluster, f] = 0
                n_own += 1
        if n_own == 0:
            continue
        strides[:] = 1
        numbers[:] = 0
        sums[:] = 0.0
        for first in range(start, stop, TILE):
            n_lanes = min(TILE, stop - first)
            load_columns(X, members, first, stop, features, n_own, columns)
            for b in range(n_own):
                f = features[b]
                low, high = lower[cluster, f], upper[cluster, f]
                n_below, n_low, n_high, lanes = scan_column(columns, b * TILE, n_lanes, low, high)
                if weighted:
                    for lane in range(n_lanes):
                        value = columns[b * TILE + lane]
                        weight = sample_weight[members[first + lane]]
                        sums[b, 0] += weight if value < low else 0.0
                        sums[b, 1] += weight if value == low else 0.0
                        sums[b, 2] += weight if (value > low) & (value < high) else 0.0
                        sums[b, 3] += weight if value == high else 0.0
                else:
                    sums[b, 0] += n_below
                    sums[b, 1] += n_low
                    sums[b, 3] += n_high
                while lanes != np.uint64(0):
                    lane = np.intp(first_bit(lanes))
                    lanes &= lanes - np.uint64(1)
                    value = columns[b * TILE + lane]
                    weight = sample_weight[members[first + lane]] if weighted else 1.0
                    strides[b] = _keep(inside, cluster, f, numbers[b], strides[b], value, weight)
                    numbers[b] += 1
        for b in range(n_own):
            f = features[b]
            if lower[cluster, f] == upper[cluster, f]:
                sums[b, 3] = 0.0
            for i in range(4):
                shares[cluster, f, i] = sums[b, i]
            if not weighted:
                shares[cluster, f, 2] = numbers[b]
            shares[cluster, f, 4] = numbers[b]


class ClusterShares:
    """The rows of a part by clusters, to be held against intervals.

    Parameters
    ----------
    X : ndarray of shape (n_rows, n_features), float32 or float64, C-contiguous
    sample_weight : None or ndarray of shape (n_rows,), float64
    labels : ndarray of shape (n_rows,), int32
    n_clusters : int
    width : int
        How many values inside an interval are kept.

    Attributes
    ----------
    n_members : ndarray of shape (n_clusters,), int64
        Rows of positive weight.
    inside : Inside
        Of the last intervals.
    """

    def __init__(self, X, sample_weight, labels, n_clusters, width):
        n_rows, n_features = X.shape
        self._rows, self._weight = read_only(X), as_weights(sample_weight)
        chunk_rows, n_chunks = row_chunks(n_rows, n_features)
        counts = np.zeros((n_chunks, n_clusters), np.int64)
        run(count_members, n_chunks, chunk_rows, labels, self._weight, counts)
        everything = np.ones(n_clusters, bool)
        self._members, self._starts = members_of(
            everything, labels, self._weight, chunk_rows, counts
        )
        self.n_members = counts.sum(axis=0)
        shape = n_clusters, n_features
        kept_weights = width if len(self._weight) else 0
        self._shares = np.zeros((*shape, 5))
        self.inside = Inside(
            np.empty((*shape, width), X.dtype),
            np.empty((*shape, kept_weights)),
            np.zeros(shape, np.int64),
        )

    def sum_up(self, wanted, lower, upper):
        """The shares of the wanted clusters and features, (n_wanted, 5), as the kernel has them."""
        n_clusters, n_features = wanted.shape
        run(
            sum_shares,
            n_clusters * ceil_div(n_features, BLOCK),
            self._rows,
            self._weight,
            self._members,
            self._starts,
            wanted,
            lower,
            upper,
            self._shares,
            self.inside,
            most_threads=worthwhile_threads(int(self._starts[-1]) * n_features),
        )
        return self._shares[wanted]

    def kept_inside(self, places):
        """What is kept from inside the last intervals.

        Parameters
        ----------
        places : ndarray of shape (n_places, 2), int
            Clusters and features that were wanted.

        Returns
        -------
        values, weights : ndarray of shape (n_places, n_values)
            The values of each place, and then infinities without weight. The weights sum to about
            the weight of all inside; to just that if all are kept.
        """
        clusters, features = places.T
        n_kept = self.inside.n_kept[clusters, features]
        width = int(n_kept.max(initial=0))
        values = self.inside.values[clusters, features, :width]
        beyond = np.arange(width) >= n_kept[:, np.newaxis]
        values[beyond] = np.inf
        scale = self._shares[clusters, features, 4] / np.maximum(n_kept, 1)
        weights = np.repeat(scale[:, np.newaxis], width, axis=1)
        if len(self._weight):
            weights *= self.inside.weights[clusters, features, :width]
        weights[beyond] = 0.0
        return values, weights

    def next_above(self, cluster, feature, value):
        """The least of a cluster's values above one; infinity if there is none."""
        members = self._members[self._starts[cluster] : self._starts[cluster + 1]]
        column = self._rows[members, feature]
        return column.min(where=column > value, initial=np.inf)
