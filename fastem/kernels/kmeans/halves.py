"""Sums over a part of each cluster: what a search for better centres asks of the rows.

A pass costs as much for a thousand clusters as for one: a row is only held against its own
cluster's hyperplane.
"""

import numpy as np
from numba import types

from fastem.kernels.distances.metric import row_distance
from fastem.kernels.distances.sparse import SparseRows
from fastem.kernels.kmeans.sums import add_row
from fastem.kernels.runtime.arrays import write_row
from fastem.kernels.runtime.compiling import kernel, variant
from fastem.kernels.runtime.parallel import next_chunk, run

# Chunks' sums take up to this share of the data's memory, and there are at most so many.
_SUMS_SHARE, _MOST_CHUNKS = 1 / 16, 32


def project(rows, origin, row, directions, cluster):
    """The product of one row, relative to the origin, and its cluster's direction."""
    raise NotImplementedError("for kernels only")


@variant(project, of=types.Array)
def _project_dense(rows, origin, row, directions, cluster):
    total = 0.0
    for f in range(rows.shape[1]):
        total += (rows[row, f] - origin[f]) * directions[cluster, f]
    return total


@variant(project, of=SparseRows)
def _project_sparse(rows, origin, row, directions, cluster):
    data, indices, indptr = rows
    total = 0.0
    for i in range(indptr[row], indptr[row + 1]):
        total += data[i] * directions[cluster, indices[i]]
    return total


@kernel
def _sum_halves(
    tickets,
    n_chunks,
    rows,
    origin,
    sample_weight,
    labels,
    directions,
    offsets,
    halves,
    sums,
    weights,
):
    n_clusters, n_features = directions.shape
    n_rows = len(labels)
    while True:
        chunk = next_chunk(tickets)
        if chunk >= n_chunks:
            return
        # Own arrays: neighbours' share cache lines, for which two threads would contend.
        own_sums = np.zeros((n_clusters, n_features))
        own_weights = np.zeros(n_clusters)
        for row in range(chunk * n_rows // n_chunks, (chunk + 1) * n_rows // n_chunks):
            label = labels[row]
            share = project(rows, origin, row, directions, label) - offsets[label]
            if halves:
                share = 1.0 if share > 0.0 else 0.0
            if len(sample_weight):
                share *= sample_weight[row]
            if share != 0.0:
                add_row(rows, origin, row, share, own_sums, label)
                own_weights[label] += share
        write_row(own_weights, weights, chunk)
        for j in range(n_clusters):
            for f in range(n_features):
                sums[chunk, j, f] = own_sums[j, f]


def sum_halves(rows, nbytes, origin, sample_weight, labels, directions, offsets, halves):
    """Sums over each cluster's rows, weighted by how far they are from a hyperplane.

    Parameters
    ----------
    rows : array of shape (n_rows, n_features), or SparseRows
    nbytes : int
        Their size.
    origin : float64 array of shape (n_features,)
    sample_weight : float64 array of n_rows values, or of none
    labels : int32 array of shape (n_rows,)
    directions : float64 array of shape (n_clusters, n_features)
    offsets : float64 array of shape (n_clusters,)
        A row's share is ``directions[label] . (x - origin) - offsets[label]``.
    halves : bool
        Whether a share counts as 1 if it is positive and as 0 otherwise.

    Returns
    -------
    sums : ndarray of shape (n_clusters, n_features)
        Of ``w * share * (x - origin)``.
    weights : ndarray of shape (n_clusters,)
        Of ``w * share``.
    """
    n_clusters, n_features = directions.shape
    most = int(_SUMS_SHARE * nbytes // (8 * n_clusters * (n_features + 1)))
    n_chunks = max(1, min(_MOST_CHUNKS, most, len(labels)))
    sums = np.empty((n_chunks, n_clusters, n_features))
    weights = np.empty((n_chunks, n_clusters))
    run(
        _sum_halves,
        n_chunks,
        rows,
        origin,
        sample_weight,
        labels,
        np.ascontiguousarray(directions),
        np.ascontiguousarray(offsets),
        halves,
        sums,
        weights,
    )
    return sums.sum(axis=0), weights.sum(axis=0)


@kernel
def _sum_gains(
    tickets, n_chunks, X, sample_weight, labels, packed, centers, children, directions, offsets,
    origin, gains,
):  # fmt: skip
    n_rows, n_clusters = len(labels), len(centers)
    while True:
        chunk = next_chunk(tickets)
        if chunk >= n_chunks:
            return
        own_gains = np.zeros(n_clusters)
        for row in range(chunk * n_rows // n_chunks, (chunk + 1) * n_rows // n_chunks):
            label = labels[row]
            child = 2 * label
            if project(X, origin, row, directions, label) <= offsets[label]:
                child += 1
            gain = row_distance(packed, X, row, centers, label)
            gain -= row_distance(packed, X, row, children, child)
            own_gains[label] += gain * sample_weight[row] if len(sample_weight) else gain
        write_row(own_gains, gains, chunk)


def sum_gains(X, origin, sample_weight, labels, packed, centers, children, directions, offsets):
    """How much less each cluster's sum of distances is from two children.

    Parameters
    ----------
    X, origin, sample_weight, labels, directions, offsets
        As for :func:`sum_halves`: rows of a positive share belong to the first child.
    packed : NamedTuple
        Centres as the metric packs them, for their type only.
    centers : float64 array of shape (n_clusters, n_features)
        In the rows' coordinates.
    children : float64 array of shape (n_clusters, 2, n_features)

    Returns
    -------
    ndarray of shape (n_clusters,)
    """
    n_chunks = max(1, min(_MOST_CHUNKS, len(labels)))
    gains = np.empty((n_chunks, len(centers)))
    run(
        _sum_gains,
        n_chunks,
        X,
        sample_weight,
        labels,
        packed,
        np.ascontiguousarray(centers),
        np.ascontiguousarray(children).reshape(-1, X.shape[1]),
        np.ascontiguousarray(directions),
        np.ascontiguousarray(offsets),
        origin,
        gains,
    )
    return gains.sum(axis=0)
