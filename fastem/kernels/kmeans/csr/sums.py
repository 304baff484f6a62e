"""The clusters' sums of CSR rows, by the rows that moved only."""

import numpy as np

from fastem.kernels.clusters.row_sums import add_row
from fastem.kernels.kmeans.csr.scores import fetch_row
from fastem.kernels.runtime.arrays import read_only
from fastem.kernels.runtime.compiling import kernel
from fastem.kernels.runtime.parallel import next_chunk, run
from fastem.kernels.runtime.threads import get_num_threads

# So many moves ahead, rows are fetched.
_AHEAD = 2


@kernel
def _list_moves(moved, before, labels, anew, firsts, starts, moves, changed):
    """List for each group of clusters the rows that join one, and as ``-1 - row`` those that leave.

    In the order of the rows, from ``starts[group]`` on. If sums are to be made anew, none leave.

    Parameters
    ----------
    moved : int64 array
        The rows.
    before, labels : int32 arrays of shape (n_rows,)
    anew : bool
    firsts : int64 array of shape (n_groups + 1,)
        Gets the groups' first clusters, of about as many moves each.
    starts : int64 array of shape (n_groups + 1,)
    moves : int64 array
        As many as there are.
    changed : bool array of shape (n_clusters,)
        Gets which clusters rows join or leave; all if sums are to be made anew.
    """
    n_groups, n_kinds, n_clusters = len(firsts) - 1, 1 if anew else 2, firsts[len(firsts) - 1]
    n_moves, group_of = np.zeros(n_clusters, np.int64), np.empty(n_clusters, np.int64)
    for row in moved:
        for kind in range(n_kinds):
            n_moves[labels[row] if kind == 0 else before[row]] += 1
    firsts[0] = starts[0] = group = n_before = 0
    for j in range(n_clusters):
        # Up to where more than half of the cluster's moves are beyond the group's share.
        middle = n_groups * (2 * n_before + n_moves[j])
        while group + 1 < n_groups and middle > 2 * (group + 1) * len(moves):
            group += 1
            firsts[group], starts[group] = j, n_before
        group_of[j] = group
        changed[j] = anew or n_moves[j] > 0
        n_before += n_moves[j]
    for empty in range(group + 1, n_groups + 1):
        firsts[empty], starts[empty] = n_clusters, n_before
    for row in moved:
        for kind in range(n_kinds):
            group = group_of[labels[row] if kind == 0 else before[row]]
            moves[starts[group]] = row if kind == 0 else -1 - row
            starts[group] += 1
    for group in range(n_groups, 0, -1):
        starts[group] = starts[group - 1]
    starts[0] = 0


@kernel
def _follow(
    tickets, n_groups, rows, sample_weight, labels, before, anew, firsts, starts, moves, sums,
    weights, counts,
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
    firsts, starts, moves : int64 arrays
        As ``_list_moves`` writes them.
    sums : float64 array of shape (n_clusters, n_features)
    weights : float64 array of shape (n_clusters,)
    counts : int64 array of shape (n_clusters,)
        Rows of a weight other than 0.
    """
    n_features = sums.shape[1]
    none = np.empty(0)  # sparse rows have their origin at zero
    while True:
        group = next_chunk(tickets)
        if group >= n_groups:
            return
        first, last = firsts[group], firsts[group + 1]
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
                fetch_row(rows, ahead)
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
        """Bring the sums up to date with the labels; returns how many are new, and whose."""
        moved = np.flatnonzero(labels != self._before)
        n_clusters = len(self.weights)
        # Each thread skips the others' rows: with more groups these cost more than their sums.
        n_groups = min(get_num_threads(), n_clusters)
        anew = 2 * len(moved) > len(labels)  # a row that has moved is subtracted and added
        rows = np.arange(len(labels)) if anew else moved
        firsts, starts = np.full((2, n_groups + 1), n_clusters, np.int64)
        moves = np.empty(len(rows) if anew else 2 * len(rows), np.int64)
        changed = np.empty(n_clusters, bool)
        _list_moves(rows, self._before, labels, anew, firsts, starts, moves, changed)
        run(
            _follow,
            n_groups,
            self._rows,
            self._weight,
            read_only(labels),
            read_only(self._before),
            anew,
            firsts,
            starts,
            moves,
            self.sums,
            self.weights,
            self._counts,
        )
        self._before[:] = labels
        return len(moved), changed
