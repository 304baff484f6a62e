"""The means of CSR rows' clusters, written where the centres are: for centres that are large.

Sums of the clusters, and new centres beside those before, would each take as much memory again, and
where the system has to find it first, that takes longer than all passes over the rows. So the rows
of one cluster after the other are summed anew, if any have joined or left it, and all that is asked
of the sums is found before the next one's.
"""

import numpy as np

from fastem.kernels.clusters.row_sums import add_row
from fastem.kernels.distances.sparse import PARTIAL, twofold_norm, twofold_norms
from fastem.kernels.kmeans.csr.scores import fetch_row
from fastem.kernels.runtime.arrays import read_only
from fastem.kernels.runtime.compiling import inline, kernel
from fastem.kernels.runtime.memory import aligned_array
from fastem.kernels.runtime.parallel import next_chunk, run
from fastem.kernels.vectors.machine import DOUBLES
from fastem.kernels.vectors.stored import put
from fastem.kernels.vectors.vector import (
    broadcast,
    double,
    greater,
    greatest_of_lanes,
    load,
    magnitude,
    multiply_add,
    sum_of_lanes,
)


@kernel
def _list_rows(labels, before, sample_weight, changed, starts, listed, weights):
    """List the rows of each cluster that rows have joined or left since ``before``, in order.

    Parameters
    ----------
    labels, before : int32 arrays of shape (n_rows,)
        The latter becomes the former; -1 at first, when all clusters have changed.
    sample_weight : float64 array of n_rows values, or of none
    changed : bool array of shape (n_clusters,)
        Gets which clusters these are.
    starts : int64 array of shape (n_clusters + 1,)
        Gets where each cluster's rows begin in ``listed``.
    listed : int32 array of shape (n_rows,)
        Gets the rows.
    weights : float64 array of shape (n_clusters,)
        Gets their sums of weights.

    Returns
    -------
    int
        How many rows have another label.
    """
    n_clusters, n_changed, anew = len(changed), 0, before[0] < 0
    for j in range(n_clusters):
        changed[j], starts[j] = anew, 0
    for row in range(len(labels)):
        if labels[row] != before[row]:
            n_changed += 1
            changed[labels[row]] = True
            if not anew:
                changed[before[row]] = True
            before[row] = labels[row]
    for j in range(n_clusters):
        weights[j] = 0.0 if changed[j] else weights[j]
    for label in labels:
        starts[label] += np.int64(changed[label])
    total = 0
    for j in range(n_clusters):
        starts[j], total = total, total + starts[j]
    for row in range(len(labels)):
        j = labels[row]
        if changed[j]:
            listed[starts[j]] = row
            starts[j] += 1
            weights[j] += sample_weight[row] if len(sample_weight) else 1.0
    for j in range(n_clusters, 0, -1):
        starts[j] = starts[j - 1]
    starts[0] = 0
    return n_changed


@inline
def _sum_rows(rows, origin, sample_weight, listed, start, stop, sums):
    """Write the weighted sum of the rows from ``listed[start]`` on."""
    for f in range(sums.shape[1]):
        sums[0, f] = 0.0
    for i in range(start, stop):
        if i + 1 < stop:
            fetch_row(rows, listed[i + 1])
        row = listed[i]
        add_row(rows, origin, row, sample_weight[row] if len(sample_weight) else 1.0, sums, 0)


@inline
def _add_change(own, center, weight, totals):
    """Add some features' part of what a cluster's centre changes the inertia about zero by."""
    slope = multiply_add(broadcast(-2.0, DOUBLES), own, weight * center)
    return multiply_add(center, slope, totals)


@inline
def _change_of_one(own, center, weight):
    """The same of one feature."""
    return center * (weight * center - 2.0 * own)


@inline
def _change(sums, centers, j, weight):
    """What a cluster's centre changes the inertia about zero by."""
    n_features = centers.shape[1]
    whole = n_features - n_features % DOUBLES
    weights, totals, total = broadcast(weight, DOUBLES), broadcast(0.0, DOUBLES), 0.0
    for f in range(0, whole, DOUBLES):
        center = double(load(centers, j * n_features + f, DOUBLES))
        totals = _add_change(load(sums, f, DOUBLES), center, weights, totals)
    for f in range(whole, n_features):
        total += _change_of_one(sums[0, f], np.float64(centers[j, f]), weight)
    return total + sum_of_lanes(totals)


@inline
def _write_mean(sums, centers, j, weight):
    """Write a cluster's mean to ``centers[j]``.

    Returns
    -------
    before, after : float
        What the centre that was there changes the inertia about zero by, and what the mean does.
    fall : float
        The former less the latter, which is precise where these differ by little.
    way : float
        How far the centre has moved, squared; -1 for not at all.
    """
    n_features, inverse = centers.shape[1], 1.0 / weight
    whole, first = n_features - n_features % DOUBLES, j * n_features
    weights, inverses, twice = (
        broadcast(weight, DOUBLES), broadcast(inverse, DOUBLES), broadcast(-2.0, DOUBLES)
    )  # fmt: skip
    befores = afters = falls = ways = farthest = broadcast(0.0, DOUBLES)
    for f in range(0, whole, DOUBLES):
        own, old = load(sums, f, DOUBLES), double(load(centers, first + f, DOUBLES))
        put(own * inverses, centers, first + f)
        mean = double(load(centers, first + f, DOUBLES))
        befores = _add_change(own, old, weights, befores)
        afters = _add_change(own, mean, weights, afters)
        way = mean - old
        falls = multiply_add(way, multiply_add(twice, own, weights * (old + mean)), falls)
        ways = multiply_add(way, way, ways)
        farthest = greater(magnitude(way), farthest)
    before, after, fall = sum_of_lanes(befores), sum_of_lanes(afters), sum_of_lanes(falls)
    way, most = sum_of_lanes(ways), greatest_of_lanes(farthest)
    for f in range(whole, n_features):
        own, old = sums[0, f], np.float64(centers[j, f])
        centers[j, f] = own * inverse
        mean = np.float64(centers[j, f])
        before += _change_of_one(own, old, weight)
        after += _change_of_one(own, mean, weight)
        fall += (mean - old) * (weight * (old + mean) - 2.0 * own)
        way += (mean - old) * (mean - old)
        most = max(most, abs(mean - old))
    return before, after, -fall, way if most > 0.0 else -1.0  # squares may vanish


@kernel
def means_pass(
    tickets, n_clusters, rows, sample_weight, changed, starts, listed, weights, write, centers,
    norms, shares, falls, ways,
):  # fmt: skip
    """Write the means of clusters where their centres are, or what these change the inertia by.

    Parameters
    ----------
    rows : SparseRows
    sample_weight : float64 array of n_rows values, or of none
    changed, starts, listed, weights
        As ``_list_rows`` writes them; the others' centres are their means already.
    write : bool
        Whether to write means.
    centers : float32 or float64 array of shape (n_clusters, n_features)
    norms : float64 array of shape (2, n_clusters)
        Their squared norms in twofold precision, brought up to date.
    shares : float64 array of shape (2, n_clusters)
        What each centre changes the inertia about zero by, before and after.
    falls : float64 array of shape (n_clusters,)
        By how much less the latter is.
    ways : float64 array of shape (n_clusters,)
        Gets how far centres have moved, squared, -1 for not at all.
    """
    sums = aligned_array((1, centers.shape[1]), np.float64)
    partial, none = np.empty((2, PARTIAL)), np.empty(0)  # sparse rows have their origin at zero
    while True:
        j = next_chunk(tickets)
        if j >= n_clusters:
            return
        if not changed[j]:
            ways[j], falls[j] = -1.0, 0.0
            shares[0, j] = shares[1, j]
            continue
        _sum_rows(rows, none, sample_weight, listed, starts[j], starts[j + 1], sums)
        if write:
            shares[0, j], shares[1, j], falls[j], ways[j] = _write_mean(
                sums, centers, j, weights[j]
            )
            twofold_norm(centers, j, partial, norms)
        else:
            shares[0, j] = _change(sums, centers, j, weights[j])


class RowMeans:
    """The means of CSR rows' clusters, written where the centres are.

    Parameters
    ----------
    rows : SparseRows
    sample_weight : float64 array of n_rows values, or of none
    n_clusters : int

    Attributes
    ----------
    norms : ndarray of shape (2, n_clusters), float64
        The centres' squared norms in twofold precision, once these are written.
    weights : ndarray of shape (n_clusters,), float64
        Sums of the rows' weights.
    ways : ndarray of shape (n_clusters,), float64
        How far the centres have been moved the last time, squared, -1 for not at all.
    before : ndarray of shape (n_clusters,), float64
        Their squared norms before that.
    """

    def __init__(self, rows, sample_weight, n_clusters):
        n_rows = len(rows.indptr) - 1
        self._rows, self._weight = rows, sample_weight
        self._labels = np.full(n_rows, -1, np.int32)
        self._listed, self._starts = np.empty(n_rows, np.int32), np.empty(n_clusters + 1, np.int64)
        self._changed = np.empty(n_clusters, bool)
        self.weights, self.norms = np.zeros(n_clusters), np.zeros((2, n_clusters))
        self._shares, self._falls = np.zeros((2, n_clusters)), np.zeros(n_clusters)
        self.ways, self.before = np.empty(n_clusters), self.norms[0].copy()

    def follow(self, labels):
        """Take these labels, (n_rows,) int32, as the rows' clusters; how many are new.

        Those before are to be the ones of which the centres are the means, when means are written.
        """
        return _list_rows(
            read_only(labels),
            self._labels,
            self._weight,
            self._changed,
            self._starts,
            self._listed,
            self.weights,
        )

    def forget(self):
        """Find all clusters changed by the next labels."""
        self._labels.fill(-1)

    def norms_of(self, centers):
        """``norms``, which are found first of centres that are not written yet."""
        if self._labels[0] < 0:
            self.norms[:] = twofold_norms(centers)
        return self.norms

    def change(self, centers):
        """What the centres change the inertia about zero by, as the rows are labelled now."""
        self._run(centers, False)
        return float(self._shares[0].sum())

    def write(self, centers):
        """Write the means of the clusters, none of which may be empty, over the centres.

        Parameters
        ----------
        centers : float32 or float64 array of shape (n_clusters, n_features)
            The means are rounded to its dtype.

        Returns
        -------
        before : float
            What the centres before have changed the inertia about zero by.
        fall : float
            How much less it is about the means: more precise than a difference.
        """
        self.before[:] = self.norms[0]
        self._run(centers, True)
        return float(self._shares[0].sum()), float(self._falls.sum())

    def _run(self, centers, write):
        run(
            means_pass,
            len(self.weights),
            self._rows,
            self._weight,
            self._changed,
            self._starts,
            self._listed,
            self.weights,
            write,
            centers,
            self.norms,
            self._shares,
            self._falls,
            self.ways,
        )
