"""Naive NumPy twins of what fastem does fast: short enough to be checked by reading."""

import numpy as np


def squared_distances(X, centers):
    """By direct differences, in float64."""
    differences = np.asarray(X, float)[:, np.newaxis] - np.asarray(centers, float)
    return (differences**2).sum(axis=2)


def lloyd(X, init, sample_weight=None, tol=0.0, max_iter=300):
    """Plain Lloyd iterations as scikit-learn's KMeans does them.

    ``tol`` is relative to the mean of the columns' variances. Returns labels, centres, inertia and
    the number of iterations.
    """
    X = np.asarray(X, float)
    mean = X.mean(axis=0)
    tol = tol * X.var(axis=0).mean()
    X, centers = X - mean, np.asarray(init, float) - mean
    weights = np.ones(len(X)) if sample_weight is None else np.asarray(sample_weight, float)
    labels = np.full(len(X), -1)
    strict = False
    for n_iter in range(1, max_iter + 1):  # noqa: B007
        old_labels, old_centers = labels, centers
        labels = squared_distances(X, centers).argmin(axis=1)
        centers = lloyd_centers(X, weights, labels, centers)
        strict = np.array_equal(labels, old_labels)
        if strict or ((centers - old_centers) ** 2).sum() <= tol:
            break
    if not strict:
        labels = squared_distances(X, centers).argmin(axis=1)
    inertia = weights @ ((X - centers[labels]) ** 2).sum(axis=1)
    return labels, centers + mean, inertia, n_iter


def lloyd_centers(X, weights, labels, centers):
    """The clusters' means after the rows farthest from their centres moved to empty clusters."""
    n_clusters = len(centers)
    sums = np.array(
        [(X * weights[:, np.newaxis])[labels == j].sum(axis=0) for j in range(n_clusters)]
    )
    totals = np.array([weights[labels == j].sum() for j in range(n_clusters)])
    empty = np.flatnonzero(totals == 0)
    distances = ((X - centers[labels]) ** 2).sum(axis=1)
    if len(empty) and distances.max() > 0:
        farthest = np.argpartition(distances, -len(empty))[: -len(empty) - 1 : -1]
        for j, row in zip(empty, farthest, strict=True):
            sums[labels[row]] -= X[row] * weights[row]
            sums[j] = X[row] * weights[row]
            totals[j] = weights[row]
            totals[labels[row]] -= weights[row]
    # Those still empty get the heaviest cluster's sum or mean, whichever stands there by then.
    heaviest = np.argmax(totals)
    for j in range(n_clusters):
        sums[j] = sums[j] / totals[j] if totals[j] > 0 else sums[heaviest]
    return sums


def cluster_statistics(X, sample_weight, labels, n_clusters):
    """Every cluster's sum of ``w * x`` and of ``w``."""
    own = (labels[:, np.newaxis] == np.arange(n_clusters)) * sample_weight[:, np.newaxis]
    return own.T @ X, own.sum(axis=0)
