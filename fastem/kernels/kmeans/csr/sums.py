"""The clusters' sums of CSR rows, by the rows that moved only."""

import numpy as np

from fastem.kernels.kmeans.sums import add_row
from fastem.kernels.runtime.arrays import read_only
from fastem.kernels.runtime.compiling import kernel
from fastem.kernels.runtime.parallel import next_chunk, run

# Runs of clusters: each goes through all rows that moved.
_MOST_GROUPS = 8


@kernel
def _follow(
    tickets, n_groups, rows, sample_weight, labels, before, moved, anew, sums, weights, counts
):
    """Bring the sums up to date; each thread does some clusters, in the order of the rows.

    Parameters
    ----------
    rows : SparseRows
    sample_weight : float64 array of n_rows values, or of none
    labels, before : int32 arrays of shape (n_rows,)
        The labels, and those that the sums are of.
    moved : int64 array of shape (n_moved,)
        The rows whose labels differ.
    anew : bool
        Whether to sum all rows instead.
    sums : float64 array of shape (n_clusters, n_features)
    weights : float64 array of shape (n_clusters,)
    counts : int64 array of shape (n_clusters,)
        Rows of a weight other than 0.
    """
    n_clusters, n_features = sums.shape
    none = np.empty(0)  # sparse rows have their origin at zero
    n_listed = len(labels) if anew else len(moved)
    while True:
        group = next_chunk(tickets)
        if group >= n_groups:
            return
        first = group * n_clusters // n_groups
        last = (group + 1) * n_clusters // n_groups
        if anew:
            for j in range(first, last):
                weights[j], counts[j] = 0.0, 0
                for f in range(n_features):
                    sums[j, f] = 0.0
        for i in range(n_listed):
            row = i if anew else moved[i]
            old, new = np.int32(-1) if anew else before[row], labels[row]
            weight = sample_weight[row] if len(sample_weight) else 1.0
            if first <= old < last:
                add_row(rows, none, row, -weight, sums, old)
                weights[old] -= weight
                counts[old] -= weight != 0.0
            if first <= new < last:
                add_row(rows, none, row, weight, sums, new)
                weights[new] += weight
                counts[new] += weight != 0.0
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
        n_groups = min(_MOST_GROUPS, len(self.weights))
        run(
            _follow,
            n_groups,
            self._rows,
            self._weight,
            read_only(labels),
            read_only(self._before),
            read_only(moved),
            2 * len(moved) > len(labels),  # a row that moved is subtracted and added
            self.sums,
            self.weights,
            self._counts,
        )
        self._before[:] = labels
        return len(moved)
