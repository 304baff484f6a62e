"""The clusters' sums of CSR rows, by the rows that moved only."""

import numpy as np

from fastem.kernels.clusters.row_sums import add_row
from fastem.kernels.runtime.arrays import read_only
from fastem.kernels.runtime.compiling import inline, kernel
from fastem.kernels.runtime.parallel import next_chunk, run
from fastem.kernels.vectors.vector import fetch

# Runs of clusters, of which each thread takes one at a time.
_MOST_GROUPS = 8
# So many moves ahead, rows are fetched; values of 4 bytes in a cache line.
_AHEAD, _LINE = 2, 16


@kernel
def _list_moves(moved, before, labels, anew, n_clusters, starts, moves):
    """List for each group of clusters the rows that join one, and as ``-1 - row`` those that leave.

    In the order of the rows, from ``starts[group]`` on. If sums are to be made anew, none leave.
    """
    n_groups, n_kinds = len(starts) - 1, 1 if anew else 2
    for group in range(n_groups + 1):
        starts[group] = 0
    for row in moved:
        for kind in range(n_kinds):
            j = labels[row] if kind == 0 else before[row]
            starts[_group_of(j, n_groups, n_clusters) + 1] += 1
    for group in range(n_groups):
        starts[group + 1] += starts[group]
    for i in range(len(moved) - 1, -1, -1):
        row = moved[i]
        for kind in range(n_kinds):
            j = labels[row] if kind == 0 else before[row]
            group = _group_of(j, n_groups, n_clusters)
            starts[group + 1] -= 1
            moves[starts[group + 1]] = row if kind == 0 else -1 - row
    for group in range(n_groups):
        starts[group] = starts[group + 1]
    starts[n_groups] = len(moves)


@inline
def _first_of(group, n_groups, n_clusters):
    """The first cluster of a group."""
    return group * n_clusters // n_groups


@inline
def _group_of(cluster, n_groups, n_clusters):
    return ((np.intp(cluster) + 1) * n_groups - 1) // n_clusters


@kernel
def _follow(
    tickets, n_groups, rows, sample_weight, labels, before, anew, starts, moves, sums, weights,
    counts,
):  # fmt: skip
    """Bring the sums up to date; each thread does some clusters, in the order of the rows.

    Parameters
    ----------
    rows : SparseRows
    sample_weight : float64 array of n_rows values, or of none
    labels, before : int32 arrays of shape (n_rows,)
        The labels, and those that the sums are of.
    anew : bool
        Whether to begin with sums of nothing.
    starts : int64 array of shape (n_groups + 1,)
        Where each group's moves begin.
    moves : int64 array
        As ``_list_moves`` lists them.
    sums : float64 array of shape (n_clusters, n_features)
    weights : float64 array of shape (n_clusters,)
    counts : int64 array of shape (n_clusters,)
        Rows of a weight other than 0.
    """
    n_clusters, n_features = sums.shape
    none = np.empty(0)  # sparse rows have their origin at zero
    while True:
        group = next_chunk(tickets)
        if group >= n_groups:
            return
        first = _first_of(group, n_groups, n_clusters)
        last = _first_of(group + 1, n_groups, n_clusters)
        start, stop = starts[group], starts[group + 1]
        if anew:
            for j in range(first, last):
                weights[j], counts[j] = 0.0, 0
                for f in range(n_features):
                    sums[j, f] = 0.0
        for i in range(start, stop):
            if i + _AHEAD < stop:
                ahead = moves[i + _AHEAD]
                ahead = ahead if ahead >= 0 else -1 - ahead
                for at in range(rows.indptr[ahead], rows.indptr[ahead + 1], _LINE):
                    fetch(rows.indices, at)
                    fetch(rows.data, at)
            move = moves[i]
            row = move if move >= 0 else -1 - move
            j = labels[row] if move >= 0 else before[row]
            weight = sample_weight[row] if len(sample_weight) else 1.0
            counts[j] += np.int64(weight != 0.0) * (1 if move >= 0 else -1)
            weight = weight if move >= 0 else -weight
            weights[j] += weight
            add_row(rows, none, row, weight, sums, j)
        for j in range(first, last):
            if counts[j] == 0:  # subtraction leaves rounding errors where nothing is left
                weights[j] = 0.0
                for f in range(n_features):
                    sums[j, f] = 0.0


class SparseSums:
    """Each cluster's sum of its rows, weights and number of rows.

    Parameters
    ----------
    rows : SparseRows
    sample_weight : float64 array of n_rows values, or of none
    n_clusters, n_features : int

    Attributes
    ----------
    sums : ndarray of shape (n_clusters, n_features)
    weights : ndarray of shape (n_clusters,)
    """

    def __init__(self, rows, sample_weight, n_clusters, n_features):
        self._rows, self._weight = rows, sample_weight
        # At first all rows have moved, and are summed anew.
        self.sums, self.weights = np.empty((n_clusters, n_features)), np.empty(n_clusters)
        self._counts = np.empty(n_clusters, np.int64)
        self._before = np.full(len(rows.indptr) - 1, -1, np.int32)

    def follow(self, labels):
        """Bring the sums up to date with the labels; returns how many of these are new."""
        moved = np.flatnonzero(labels != self._before)
        n_clusters = len(self.weights)
        n_groups = min(_MOST_GROUPS, n_clusters)
        anew = 2 * len(moved) > len(labels)  # a row that has moved is subtracted and added
        rows = np.arange(len(labels)) if anew else moved
        starts = np.empty(n_groups + 1, np.int64)
        moves = np.empty(len(rows) if anew else 2 * len(rows), np.int64)
        _list_moves(rows, self._before, labels, anew, n_clusters, starts, moves)
        run(
            _follow,
            n_groups,
            self._rows,
            self._weight,
            read_only(labels),
            read_only(self._before),
            anew,
            starts,
            moves,
            self.sums,
            self.weights,
            self._counts,
        )
        self._before[:] = labels
        return len(moved)
