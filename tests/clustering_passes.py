"""One pass of any exact K-means or K-medians algorithm, checked against NumPy."""

import numpy as np
import scipy.sparse as sp
from guards import Guarded
from hypothesis import strategies as st
from reference import cluster_medians, cluster_statistics, l1_distances, squared_distances

from fastem.kernels import kmeans, kmedians
from fastem.kernels.clusters import Frame
from fastem.kernels.kmeans import Sparse

DTYPES = [np.float32, np.float64]
KMEANS = list(kmeans.ALGORITHMS.values())
KMEDIANS = list(kmedians.ALGORITHMS.values())
DENSE = [*KMEANS, *KMEDIANS]
CLASSES = [*DENSE, Sparse]

# Rows, features, clusters: none but 64 divides a tile or a block of centres.
SHAPES = [
    (1, 1, 1), (2, 1, 2), (3, 2, 7), (7, 3, 3), (63, 7, 2), (64, 64, 64), (65, 63, 3),
    (129, 129, 7), (129, 1, 63), (65, 65, 129), (700, 2, 1), (1500, 3, 65), (1100, 7, 129),
    (600, 129, 63), (2000, 1, 7), (3, 300, 2), (5000, 9, 3),
]  # fmt: skip

# Values that float32 holds, of very different magnitude.
WILD = st.builds(
    lambda m, e: m * 2.0**e, st.integers(-64, 64), st.sampled_from([-75, -40, -9, 0, 0, 0, 9, 40])
)


def rows_for(algorithm, X):
    return sp.csr_array(X) if algorithm is Sparse else X


def frame_for(algorithm, X):
    """As a fit chooses it; sparse rows can't be shifted."""
    if algorithm in KMEDIANS:
        origin = np.median(X, axis=0).astype(float)
        spread = np.median(np.abs(X - origin).sum(axis=1))
    else:
        origin = X.mean(axis=0, dtype=float).astype(X.dtype).astype(float)
        if algorithm is Sparse:
            origin = np.zeros(X.shape[1])
        spread = np.sqrt(((X - origin) ** 2).sum(axis=1).mean())
    return Frame(origin, 2.0 ** -np.round(np.log2(spread)) if spread > 0 else 1.0)


def check_pass(tested, X, sample_weight, centers, labels_before, exact=False):
    """One pass of an algorithm, and what it knows after it; returns the labels.

    ``centers`` are in the rows' coordinates. With ``exact``, nothing may be rounded.
    """
    if type(tested) in KMEDIANS:
        check = _check_kmedians
    else:
        check = _check_kmeans
    guarded = Guarded(centers)
    statistics, labels = check(tested, X, sample_weight, guarded.array, exact)
    assert guarded.intact()
    np.testing.assert_array_equal(tested.labels, labels)
    assert tested.labels.dtype == np.int32
    assert statistics.n_changed == (labels != labels_before).sum()
    return labels


def _check_kmeans(tested, X, sample_weight, centers, exact):
    rows = X.astype(float) - tested._frame.origin
    weights = np.ones(len(X)) if sample_weight is None else sample_weight
    statistics = tested.assign(centers)
    distances = squared_distances(X.astype(float), centers)
    labels = distances.argmin(axis=1)
    sums, totals = cluster_statistics(rows, weights, labels, len(centers))
    size = np.abs(rows * weights[:, np.newaxis]).sum(axis=0)
    error = 0 if exact else 1e-12
    np.testing.assert_allclose(statistics.sums, sums, rtol=0, atol=error * (size + 1e-300).max())
    np.testing.assert_allclose(statistics.weights, totals, rtol=error, atol=error)
    # Nothing, not a remainder of rounding, where there is nothing.
    assert (statistics.weights[totals == 0] == 0).all()
    _check_inertia(tested.inertia(centers), weights @ distances.min(axis=1), exact)
    own = distances[np.arange(len(X)), labels]
    np.testing.assert_allclose(
        tested.own_distances(centers), own, rtol=0 if exact else 1e-11, atol=1e-300
    )
    return statistics, labels


def _check_kmedians(tested, X, sample_weight, centers, exact):
    weights = np.ones(len(X)) if sample_weight is None else sample_weight
    statistics = tested.assign(centers)
    distances = l1_distances(X, centers)
    labels = distances.argmin(axis=1)
    totals = np.bincount(labels, weights, len(centers))
    np.testing.assert_allclose(statistics.weights, totals, rtol=0 if exact else 1e-12)
    inertia = weights @ distances.min(axis=1)
    _check_inertia(statistics.inertia, inertia, exact)
    _check_inertia(tested.inertia(centers), inertia, exact)
    medians = statistics.medians
    assert medians.dtype == X.dtype
    expected = cluster_medians(X, labels, len(centers), sample_weight)
    np.testing.assert_array_equal(medians, expected)
    return statistics, labels


def _check_inertia(found, expected, exact):
    np.testing.assert_allclose(found, expected, rtol=0 if exact else 1e-11, atol=1e-300)


def center_sequence(X, n_clusters, rng):
    """Small steps, leaps, a return, a standstill, one centre alone, all in one place.

    A fit on float32 rows holds centres that are float32 numbers: so do these.
    """
    for centers in _center_sequence(X, n_clusters, rng):
        yield centers.astype(X.dtype).astype(float)


def _center_sequence(X, n_clusters, rng):
    chosen = rng.integers(0, len(X), n_clusters)
    centers = X[chosen].astype(float) + 0.1 * rng.normal(size=(n_clusters, X.shape[1]))
    spread = X.std() + 1e-3
    first = centers
    yield centers
    yield centers
    for size in (1e-3, 1e-2, 0.1, 1e-6):
        centers = centers + size * spread * rng.normal(size=centers.shape)
        yield centers
    yield first
    alone = first.copy()
    alone[rng.integers(n_clusters)] += 5 * spread
    yield alone
    yield first[::-1]
    yield first + 100 * spread
    yield np.zeros_like(first)
    yield centers


def in_units_of(tested, X, centers):
    """Rows and centres in the frame of an algorithm, in float64."""
    return (
        (values.astype(float) - tested._origin) * float(tested._scale) for values in (X, centers)
    )


def shorter_steps(rng, X, n_clusters):
    """Some rows, and what ever shorter random steps make of them, rounded to the rows' dtype."""
    size = np.abs(X).mean(axis=0, dtype=float)
    centers = X[rng.choice(len(X), n_clusters, replace=False)].astype(float)
    for step in (0.0, 0.1, 0.1, 0.01, 0.001, 0.001):
        centers = centers + step * size * rng.normal(size=centers.shape)
        yield centers.astype(X.dtype).astype(float)


def drifting(rng, X, n_clusters, n_passes, size):
    """Centres that drift so that a few rows change clusters in each pass."""
    centers = X[rng.choice(len(X), n_clusters, replace=False)].astype(float)
    for _ in range(n_passes):
        yield centers.astype(X.dtype).astype(float)
        centers = centers + size * (np.abs(centers) + 1) * rng.normal(size=centers.shape)
