"""Each cluster's sums, of dense rows, and the inertia, of CSR rows too, in float64."""

import numpy as np
from numba import types

from fastem.kernels.clusters.row_sums import move_row
from fastem.kernels.distances.one_row import squared_distance
from fastem.kernels.distances.sparse import SparseRows, distance_to_one
from fastem.kernels.runtime.compiling import kernel, variant
from fastem.kernels.runtime.memory import aligned_array
from fastem.kernels.runtime.parallel import next_chunk
from fastem.kernels.vectors.machine import DOUBLES

# Sums of one group are split into so many ranges of clusters if rows are long: for each range all
# labels are looked at, and rows are read one by one, so many ahead. (50k, 768, 500) takes 4.4
# instead of 6.8 ms so on two threads where all rows have moved, and half the time where few have.
_RANGES, _LEAST_CLUSTERS, _LONG, _AHEAD = 4, 64, 256, 3


def own_distance(rows, row, centers, norms, cluster):
    """Squared distance of one row to its centre."""
    raise NotImplementedError("for kernels only")


@variant(own_distance, of=types.Array)
def _own_distance(rows, row, centers, norms, cluster):
    return squared_distance(rows, row, centers, cluster)


variant(own_distance, of=SparseRows)(distance_to_one)


def split_clusters(n_groups, n_clusters, n_features):
    """Into how many ranges of clusters to split each group's sums, for as many threads."""
    few = n_groups > 1 or n_clusters < _LEAST_CLUSTERS or n_features < _LONG
    # Features behind whole vectors are rounded otherwise where a row leaves a sum and joins none.
    return 1 if few or n_features % DOUBLES > 0 else _RANGES


@kernel
def update_sums(
    tickets,
    n_tasks,
    n_ranges,
    rows,
    origin,
    sample_weight,
    labels,
    chunk_rows,
    moves,
    sums,
    weights,
    counts,
):
    """Bring each group's sums up to date with the labels.

    A group is a run of chunks. Rows listed as moved leave one sum for another; where a chunk has
    more of them than its list holds, its whole group is summed anew.

    Parameters
    ----------
    n_ranges : int
        A task is a range of the clusters of a group, of which there are so many.
    rows : float array of shape (n_rows, n_features)
    origin : float64 array of shape (n_features,)
        Subtracted from the rows, in their own units.
    sample_weight : float64 array of n_rows values, or of none
    labels : int32 array of shape (n_rows,)
    chunk_rows : int
        Rows of a chunk of the pass that has listed the moves.
    moves : Moves
    sums : float64 array of shape (n_groups, n_clusters, n_features)
    weights : float64 array of shape (n_groups, n_clusters)
    counts : int64 array of shape (n_groups, n_clusters)
        Rows of a weight other than 0.
    """
    n_rows = len(labels)
    n_chunks, capacity = len(moves.counts), moves.capacity
    # Copies, as neighbours' sums share cache lines, which two threads must not write in turns:
    # 1,000,000 x 2 rows took up to five times as long as on one thread. Copied by loops: NumPy's
    # assignments took 2.6 s to compile. Ranges are of many sums, and hardly share any.
    n_groups, n_clusters, n_features = sums.shape
    split = n_ranges > 1
    ahead = _AHEAD if split else 1
    copies = aligned_array((0 if split else n_clusters, n_features), np.float64)
    group_weights = aligned_array(n_clusters, np.float64)
    group_counts = aligned_array(n_clusters, np.int64)
    own = aligned_array(chunk_rows + 1 if split else 0, np.int32)
    while True:
        task = next_chunk(tickets)
        if task >= n_tasks:
            return
        group, part = task // n_ranges, task % n_ranges
        low, high = part * n_clusters // n_ranges, (part + 1) * n_clusters // n_ranges
        group_sums = sums[group] if split else copies
        first = group * n_chunks // n_groups
        last = (group + 1) * n_chunks // n_groups
        anew = False
        for chunk in range(first, last):
            anew |= moves.counts[chunk] > capacity
        for j in range(low, high):
            group_weights[j] = 0.0 if anew else weights[group, j]
            group_counts[j] = 0 if anew else counts[group, j]
            if anew or not split:
                for f in range(n_features):
                    group_sums[j, f] = 0.0 if anew else sums[group, j, f]
        for chunk in range(first, last):
            start, listed = chunk * chunk_rows, chunk * capacity
            n_listed = min(chunk_rows, n_rows - start) if anew else moves.counts[chunk]
            if split:
                n_own = 0
                for i in range(n_listed):
                    own[n_own] = i
                    row, mine = start + i, False
                    if not anew:
                        row, old = np.intp(moves.rows[listed + i]), moves.origins[listed + i]
                        mine = (old >= low) & (old < high)
                    n_own += mine | ((labels[row] >= low) & (labels[row] < high))
                n_listed = n_own
            for i in range(n_listed):
                at, following = i, min(i + ahead, n_listed - 1)
                if split:
                    at, following = np.intp(own[at]), np.intp(own[following])
                row, later, old = start + at, start + following, np.intp(-1)
                if not anew:
                    row = np.intp(moves.rows[listed + at])
                    later = np.intp(moves.rows[listed + following])
                    old = np.intp(moves.origins[listed + at])
                new = np.intp(labels[row])
                weight = sample_weight[row] if len(sample_weight) else 1.0
                counted = np.int64(weight != 0.0)
                if old < low or old >= high:  # another task's, or none
                    old = np.intp(-1)
                if new < low or new >= high:
                    weight, counted, new, old = -weight, -counted, old, np.intp(-1)
                move_row(rows, origin, row, later, weight, group_sums, old, new)
                if old >= 0:
                    group_weights[old] -= weight
                    group_counts[old] -= counted
                group_weights[new] += weight
                group_counts[new] += counted
        for j in range(low, high):
            # Subtraction leaves rounding errors where nothing is left.
            empty = group_counts[j] == 0
            counts[group, j] = group_counts[j]
            weights[group, j] = 0.0 if empty else group_weights[j]
            if empty or not split:
                for f in range(n_features):
                    sums[group, j, f] = 0.0 if empty else group_sums[j, f]


@kernel
def chunk_inertia(
    tickets, n_chunks, chunk_rows, rows, sample_weight, labels, centers, norms, inertia
):
    """Each chunk's weighted sum of squared distances to the rows' own centres.

    Parameters
    ----------
    rows : float array of shape (n_rows, n_features), or SparseRows
    sample_weight : float64 array of n_rows values, or of none
    labels : int32 array of shape (n_rows,)
    centers : float64 array of shape (n_clusters, n_features)
        In the rows' coordinates.
    norms : float64 array of shape (2, n_clusters)
        Their squared norms in twofold precision, for CSR rows.
    inertia : float64 array of shape (n_chunks,)
    """
    n_rows = len(labels)
    while True:
        chunk = next_chunk(tickets)
        if chunk >= n_chunks:
            return
        total = 0.0
        for row in range(chunk * chunk_rows, min((chunk + 1) * chunk_rows, n_rows)):
            distance = own_distance(rows, row, centers, norms, labels[row])
            total += distance * sample_weight[row] if len(sample_weight) else distance
        inertia[chunk] = total


@kernel
def own_distances(tickets, n_chunks, chunk_rows, rows, labels, centers, norms, distances):
    """Write each row's squared distance from its own centre: :func:`chunk_inertia` says of what."""
    n_rows = len(labels)
    while True:
        chunk = next_chunk(tickets)
        if chunk >= n_chunks:
            return
        for row in range(chunk * chunk_rows, min((chunk + 1) * chunk_rows, n_rows)):
            distances[row] = own_distance(rows, row, centers, norms, labels[row])
