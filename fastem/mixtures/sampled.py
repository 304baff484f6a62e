"""Clusters of a sample of the rows, in a metric in which no direction counts for being long.

K-means cuts long, parallel clusters across, and so does Ward's hierarchy unless rows are sphered.
"""

from typing import Any, NamedTuple

import numpy as np
import scipy.sparse
from scipy.sparse.csgraph import connected_components

from fastem.clustering.kmeans import KMeans
from fastem.mixtures.memory import remembered
from fastem.rows import Part
from fastem.rows.choice import choose_rows, count_positive

_EPS = np.finfo(np.float64).eps
# K-means in the clusters' own metric: rounds, runs in each, and how much flatter than it is long
# the clusters' common shape may be.
_MOST_ROUNDS, _RUNS, _LEAST_SPREAD = 10, 3, 1e-3
# Clusters that are looked at once more need not have settled to the last row.
_TOL = 1e-3
# Axes looked at apart.
_MOST_VIEWED = 3


class Sample(NamedTuple):
    """Rows that stand for all.

    Parameters
    ----------
    X : ndarray or CSR matrix of shape (n_rows, n_features)
    weight : ndarray of shape (n_rows,)
        Positive; they sum to the weight of all rows.
    """

    X: np.ndarray
    weight: np.ndarray

    @classmethod
    def of(cls, rows: Any, size: int, random_state: np.random.RandomState) -> "Sample":
        """All rows of positive weight if they are no more, else some by their weights."""
        return _drawn(rows, size, random_state)

    @remembered
    def sphered(self) -> np.ndarray:
        """The rows with a mean of zero and the identity as their covariance.

        Directions in which they hardly differ are left out.
        """
        X = self.X.astype(np.float64)
        shares = self.weight / self.weight.sum()
        X -= shares @ X
        axes, spreads = _axes(X, shares)
        kept = spreads > max(X.shape) * _EPS * spreads[0]
        if not kept.any():
            return np.zeros((len(X), 1))
        return np.ascontiguousarray(X @ (axes[:, kept] / spreads[kept]))

    def means(self, labels: np.ndarray, n_clusters: int) -> np.ndarray:
        """The clusters' means; an empty one has that of all rows."""
        return _means(self.X.astype(np.float64), self.weight, labels, n_clusters)


@remembered
def _drawn(rows, size, random_state):
    n_positive = rows.reduce(count_positive)
    if n_positive > size:
        indices = np.sort(choose_rows(rows, random_state, size))
        total = rows.reduce(_total)
        return Sample(_take(rows, indices), np.full(size, total / size))
    found = rows.map(_positive)
    indices = np.concatenate([here for here, _ in found])
    return Sample(_take(rows, indices), np.concatenate([weight for _, weight in found]))


@remembered
def kmeans_clusters(
    sample: Sample, n_clusters: int, random_state: np.random.RandomState
) -> np.ndarray:
    """Each row's cluster by K-means in the metric of the clusters themselves.

    Rows are sphered, then again and again by their covariance within the clusters found, until
    these stay (after Art, Gnanadesikan and Kettenring, "Data-based metrics for cluster analysis",
    Utilitas Mathematica 21A, 1982). The first clusters are those of the least determinant of that
    covariance, of all axes or of the few on which rows look most like several clusters: K-means on
    all cuts four long stripes into two pairs of halves, and no metric mends that.
    """
    if len(sample.weight) <= n_clusters:
        return np.arange(len(sample.weight), dtype=np.int32)
    Y = sample.sphered()
    shares = sample.weight / sample.weight.sum()
    views = [Y, *_least_peaked(Y, shares)]
    start, runs = "k-means++", _RUNS
    labels = np.zeros(len(Y), np.int32)
    for _ in range(_MOST_ROUNDS):
        before, found = labels, []
        for view in views:
            kmeans = KMeans(
                n_clusters, init=start, n_init=runs, tol=_TOL, random_state=random_state
            )
            labels = kmeans.fit(view, sample_weight=sample.weight).labels_
            means = _means(Y, shares, labels, n_clusters)
            axes, spreads = _within(Y - means[labels], shares)
            if spreads[0] == 0:
                return labels
            spreads = np.maximum(spreads, _LEAST_SPREAD * spreads[0])
            found.append((np.log(spreads).sum(), labels, axes / spreads, means))
        _, labels, axes, means = min(found, key=lambda one: one[0])
        n_pairs = len(np.unique(n_clusters * before.astype(np.intp) + labels))
        if n_pairs == len(np.unique(labels)) == len(np.unique(before)):
            break
        # On from there: other runs of each round would take most of the start's time.
        views, start, runs = [np.ascontiguousarray(Y @ axes)], means @ axes, 1
    return labels


def _least_peaked(Y, shares):
    """Sphered rows on the one, two, ... axes on which their fourth moments are least.

    Those on which clusters lie side by side (Tyler, Critchley, Duembgen and Oja, "Invariant
    co-ordinate selection", Journal of the Royal Statistical Society B 71, 2009).
    """
    axes = least_peaked_axes(Y, shares)
    n_views = min(_MOST_VIEWED, Y.shape[1] - 1)
    return [np.ascontiguousarray(Y @ axes[:, : n + 1]) for n in range(n_views)]


def least_peaked_axes(Y: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Axes of sphered rows, in columns, from that of the least fourth moment on."""
    weight = shares * np.einsum("ij,ij->i", Y, Y)
    return np.linalg.eigh((Y * weight[:, np.newaxis]).T @ Y)[1]


def ward_clusters(sample: Sample, n_clusters: int) -> np.ndarray:
    """Each row's cluster by Ward's hierarchy of the sphered rows, which has no weights."""
    n_rows = len(sample.weight)
    if n_rows <= n_clusters:
        return np.arange(n_rows, dtype=np.int32)
    # All but the last merges; row and node numbers are in one sequence.
    merges = _ward_merges(sample)[: n_rows - n_clusters]
    nodes = n_rows + np.arange(len(merges))
    n_nodes = n_rows + len(merges)
    edges = np.ones(2 * len(merges)), (np.repeat(nodes, 2), merges.ravel())
    graph = scipy.sparse.coo_matrix(edges, shape=(n_nodes, n_nodes))
    return connected_components(graph, directed=False)[1][:n_rows].astype(np.int32)


@remembered
def _ward_merges(sample):
    """The hierarchy: pairs of nodes, the i-th of which becomes node ``n_rows + i``."""
    from sklearn.cluster import ward_tree  # loads much that few fits need

    return ward_tree(sample.sphered())[0]


def _take(rows, indices):
    """Some rows, sparse ones as such."""
    if not rows.sparse:
        return rows.take(indices)
    return scipy.sparse.vstack(rows.map(_take_sparse, indices), "csr")


def _take_sparse(part, indices):
    local = indices - part.offset
    return part.X[local[(local >= 0) & (local < part.n_rows)]]


def _axes(X, shares):
    """The axes of centred rows, in columns, and the standard deviations along them."""
    _, spreads, axes = np.linalg.svd(np.sqrt(shares)[:, np.newaxis] * X, full_matrices=False)
    return axes.T, spreads


def _within(X, shares):
    """The same from the covariance, in a tenth of the time; the least spreads are rounding."""
    variances, axes = np.linalg.eigh((X * shares[:, np.newaxis]).T @ X)
    return axes[:, ::-1], np.sqrt(np.maximum(variances[::-1], 0.0))


def _means(X, weight, labels, n_clusters):
    means = np.tile(weight @ X / weight.sum(), (n_clusters, 1))
    counts = np.bincount(labels, weight, n_clusters)
    members = scipy.sparse.csc_matrix(
        (weight, labels, np.arange(len(X) + 1)), shape=(n_clusters, len(X))
    )
    sums, some = members @ X, counts > 0
    means[some] = sums[some] / counts[some, np.newaxis]
    return means


def _positive(part: Part) -> tuple[np.ndarray, np.ndarray]:
    """The indices, among all rows, of those of positive weight, and their weights."""
    weight = np.ones(part.n_rows) if part.sample_weight is None else part.sample_weight
    here = np.flatnonzero(weight > 0)
    return part.offset + here, weight[here]


def _total(part: Part) -> float:
    return float(part.n_rows if part.sample_weight is None else part.sample_weight.sum())
