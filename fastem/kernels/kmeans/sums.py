"""Each cluster's sums, of dense rows, and the inertia, of CSR rows too, in float64."""

import numpy as np
from numba import types

from fastem.kernels.clusters.row_sums import move_row
from fastem.kernels.distances.one_row import squared_distance
from fastem.kernels.distances.sparse import SparseRows, distance_to_one
from fastem.kernels.runtime.compiling import kernel, variant
from fastem.kernels.runtime.memory import aligned_array
from fastem.kernels.runtime.parallel import next_chunk


def own_distance(rows, row, centers, norms, cluster):
    """Squared distance of one row to its centre."""
    raise NotImplementedError("for kernels only")


@variant(own_distance, of=types.Array)
def _own_distance(rows, row, centers, norms, cluster):
    return squared_distance(rows, row, centers, cluster)


variant(own_distance, of=SparseRows)(distance_to_one)


@kernel
def update_sums(
    tickets,
    n_groups,
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
    # assignments took 2.6 s to compile.
    _, n_clusters, n_features = sums.shape
    group_sums = aligned_array((n_clusters, n_features), np.float64)
    group_weights = aligned_array(n_clusters, np.float64)
    group_counts = aligned_array(n_clusters, np.int64)
    while True:
        group = next_chunk(tickets)
        if group >= n_groups:
            return
        first = group * n_chunks // n_groups
        last = (group + 1) * n_chunks // n_groups
        anew = False
        for chunk in range(first, last):
            anew |= moves.counts[chunk] > capacity
        for j in range(n_clusters):
            group_weights[j] = 0.0 if anew else weights[group, j]
            group_counts[j] = 0 if anew else counts[group, j]
            for f in range(n_features):
                group_sums[j, f] = 0.0 if anew else sums[group, j, f]
        for chunk in range(first, last):
            start = chunk * chunk_rows
            n_listed = min(chunk_rows, n_rows - start) if anew else moves.counts[chunk]
            for i in range(n_listed):
                row, later, old = start + i, start + i + 1, np.intp(-1)
                if not anew:
                    listed = chunk * capacity + i
                    row, old = np.intp(moves.rows[listed]), np.intp(moves.origins[listed])
                    later = np.intp(moves.rows[listed + 1]) if i + 1 < n_listed else row
                new = np.intp(labels[row])
                weight = sample_weight[row] if len(sample_weight) else 1.0
                move_row(rows, origin, row, later, weight, group_sums, old, new)
                if old >= 0:
                    group_weights[old] -= weight
                    group_counts[old] -= weight != 0.0
                group_weights[new] += weight
                group_counts[new] += weight != 0.0
        for j in range(n_clusters):
            # Subtraction leaves rounding errors where nothing is left.
            empty = group_counts[j] == 0
            counts[group, j] = group_counts[j]
            weights[group, j] = 0.0 if empty else group_weights[j]
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
