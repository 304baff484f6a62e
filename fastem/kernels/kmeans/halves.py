"""Sums over a part of each cluster: what a search for better centres asks of the rows.

A pass costs as much for a thousand clusters as for one: a row is only held against its own
cluster's hyperplane.
"""

import numpy as np
from numba import types

from fastem.kernels.clusters.row_sums import add_row
from fastem.kernels.distances.metric import row_distance
from fastem.kernels.distances.one_row import FEW_FEATURES, direct_product
from fastem.kernels.distances.sparse import SparseRows
from fastem.kernels.runtime.arrays import write_row
from fastem.kernels.runtime.compiling import kernel, variant
from fastem.kernels.runtime.parallel import next_chunk, run

# Chunks' sums take up to this share of the data's memory, and there are at most so many.
_SUMS_SHARE, _MOST_CHUNKS = 1 / 16, 32

# Rows of so few features are added nought times rather than left out, which takes longer wherever
# the processor expects the other.
_NARROW = 32


def project(rows, origin, row, directions, cluster):
    """The product of one row, relative to the origin, and its cluster's direction."""
    raise NotImplementedError("for kernels only")


@variant(project, of=types.Array)
def _project_dense(rows, origin, row, directions, cluster):
    if rows.shape[1] >= FEW_FEATURES:
        return direct_product(rows, row, origin, directions, cluster)
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
                share = np.float64(share > 0.0)
            if len(sample_weight):
                share *= sample_weight[row]
            if n_features < _NARROW or share != 0.0:
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
def aim(sums, shares, means, directions, offsets):
    """Turn each cluster's direction towards that of its greatest spread.

    In one call, as :func:`halve`: NumPy's would take longer for few clusters than the passes do.

    Parameters
    ----------
    sums, shares : float64 arrays of shape (n_clusters, n_features) and (n_clusters,)
        From :func:`sum_halves`, by how far rows are from their mean along the direction so far.
    means : float64 array of shape (n_clusters, n_features)
        Of the clusters, relative to the origin.
    directions, offsets : float64 arrays of shape (n_clusters, n_features) and (n_clusters,)
        Get the direction, whose greatest element is 1, and the mean's product with it.
    """
    n_clusters, n_features = means.shape
    for j in range(n_clusters):
        greatest, offset = 0.0, 0.0
        for f in range(n_features):
            directions[j, f] = sums[j, f] - shares[j] * means[j, f]
            greatest = max(greatest, abs(directions[j, f]))
        for f in range(n_features):
            directions[j, f] /= greatest if greatest > 0 else 1.0
            offset += directions[j, f] * means[j, f]
        offsets[j] = offset


@kernel
def halve(sums, half_weights, least_share, means, weights, halves, both, directions, offsets):
    """Find the means of each cluster's halves, and the hyperplane between them.

    Parameters
    ----------
    sums, half_weights : float64 arrays of shape (n_clusters, n_features) and (n_clusters,)
        From :func:`sum_halves`, of the first halves.
    least_share : float
        A cluster of which a half has no more of the weight stays whole: its first half.
    means, weights : float64 arrays of shape (n_clusters, n_features) and (n_clusters,)
        Of the clusters, relative to the origin.
    halves : float64 array of shape (n_clusters, 2, n_features)
        Gets the means of the halves; both are a whole cluster's.
    both : float64 array of shape (n_clusters, 2)
        Gets their weights.
    directions, offsets : float64 arrays of shape (n_clusters, n_features) and (n_clusters,)
        Get what tells the first half, for :func:`sum_halves`.
    """
    n_clusters, n_features = means.shape
    for j in range(n_clusters):
        first, second = half_weights[j], weights[j] - half_weights[j]
        whole = min(first, second) <= least_share * weights[j]
        both[j, 0], both[j, 1] = (weights[j], 0.0) if whole else (first, second)
        offset = 0.0
        for f in range(n_features):
            mean = means[j, f]
            halves[j, 0, f] = mean if whole else sums[j, f] / first
            halves[j, 1, f] = mean if whole else (mean * weights[j] - sums[j, f]) / second
            directions[j, f] = halves[j, 0, f] - halves[j, 1, f]
            offset += directions[j, f] * (halves[j, 0, f] + halves[j, 1, f])
        offsets[j] = 0.5 * offset


@kernel
def _bisect(
    rows, origin, sample_weight, labels, n_aimed, n_halved, least_share, means, weights,
    directions, offsets, sums, shares, halves, both,
):  # fmt: skip
    tickets = np.zeros(1, np.int64)
    for iteration in range(n_aimed + n_halved):
        halved = iteration >= n_aimed
        tickets[0] = 0
        _sum_halves(
            tickets, 1, rows, origin, sample_weight, labels, directions, offsets, halved, sums,
            shares,
        )  # fmt: skip
        if halved:
            halve(
                sums[0], shares[0], least_share, means, weights, halves, both, directions, offsets
            )
        else:
            aim(sums[0], shares[0], means, directions, offsets)


def bisect(
    rows, origin, sample_weight, labels, n_aimed, n_halved, least_share, means, weights,
    directions, offsets,
):  # fmt: skip
    """Iterate with :func:`aim` and then with :func:`halve`, in one call and on one thread.

    Parameters
    ----------
    rows, origin, sample_weight, labels
        As for :func:`sum_halves`.
    n_aimed, n_halved : int
        How many iterations of each; one of the latter at least.
    least_share, means, weights
        As for :func:`halve`.
    directions, offsets : float64 arrays of shape (n_clusters, n_features) and (n_clusters,)
        Those to begin with; get the last.

    Returns
    -------
    halves : ndarray of shape (n_clusters, 2, n_features)
    both : ndarray of shape (n_clusters, 2)
        As :func:`halve` writes them.
    """
    n_clusters, n_features = means.shape
    halves, both = np.empty((n_clusters, 2, n_features)), np.empty((n_clusters, 2))
    sums, shares = np.empty((1, n_clusters, n_features)), np.empty((1, n_clusters))
    _bisect(
        rows, origin, sample_weight, labels, n_aimed, n_halved, least_share, means, weights,
        directions, offsets, sums, shares, halves, both,
    )  # fmt: skip
    return halves, both


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
