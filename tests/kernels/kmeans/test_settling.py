"""Iterations in one call, and the tiles' boxes that spare them comparisons."""

import hard_rows
import numpy as np
import pytest
from clustering_passes import DTYPES, frame_for
from guards import Guarded
from reference import settled, squared_distances

from fastem.kernels.kmeans.boxes.regions import regions_of
from fastem.kernels.kmeans.settling import Settling

# Rows, features, clusters: with and without regions, tiles that are filled and others.
SHAPES = [
    (5, 1, 2),
    (64, 2, 3),
    (700, 2, 30),
    (1100, 3, 65),
    (999, 8, 17),
    (300, 9, 7),
    (200, 70, 5),
]
AHEAD, TOL, MOST, CANCELLED = 0.5, 1e-3, 12, 1e5


def in_order(X):
    """Rows of which those that follow one another are near."""
    return np.ascontiguousarray(X[np.lexsort(np.floor(2 * X).T)])


def made(X, sample_weight, n_clusters):
    frame = frame_for(Settling, X)
    return Settling(X, sample_weight, n_clusters, frame, regions_of(X, frame))


def settle(algorithm, X, sample_weight, centers, best=np.inf, hopeless=np.inf, cancelled=CANCELLED):
    weights = np.ones(len(X)) if sample_weight is None else sample_weight
    origin = frame_for(Settling, X).origin
    squares = weights @ ((X.astype(float) - origin) ** 2).sum(axis=1)
    single = X.dtype == np.float32
    return algorithm.settle(
        centers, squares, cancelled, single, 1.0, AHEAD, TOL, MOST, best, hopeless
    )


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_as_step_by_step(shape, dtype, weighted):
    n_rows, n_features, n_clusters = shape
    rng = np.random.default_rng(sum(shape))
    X = in_order(rng.normal(size=(n_rows, n_features)) + 2).astype(dtype)
    sample_weight = rng.integers(1, 4, size=n_rows) * 0.5 if weighted else None
    algorithm = made(Guarded(X).array, sample_weight, n_clusters)
    for best, hopeless in [(np.inf, np.inf), (1.0, 20.0)]:  # the labels before play no part
        centers = X[rng.permutation(n_rows)[:n_clusters]].astype(float)
        guarded = Guarded(centers)
        n_iter, *found = settle(algorithm, X, sample_weight, guarded.array, best, hopeless)
        assert guarded.intact()
        weights = np.ones(n_rows) if sample_weight is None else sample_weight
        wanted = settled(X.astype(float), centers, weights, AHEAD, TOL, MOST, best, hopeless, dtype)
        assert n_iter == wanted[0] > 0
        assigned, means, statistics, inertia = found
        np.testing.assert_array_equal(algorithm.labels, wanted[2])
        np.testing.assert_allclose(assigned, wanted[1], rtol=1e-6 if dtype == np.float32 else 1e-10)
        np.testing.assert_allclose(means, wanted[3], rtol=1e-6 if dtype == np.float32 else 1e-10)
        np.testing.assert_allclose(inertia, wanted[4], rtol=1e-9)
        own = np.bincount(wanted[2], weights, minlength=n_clusters)
        np.testing.assert_allclose(statistics.weights, own, rtol=1e-12)


def test_an_end_as_soon_as_there_is_no_hope():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(500, 2))
    centers = X[:20]
    far = settle(made(X, None, 20), X, None, centers)
    near = settle(made(X, None, 20), X, None, centers, best=1.0, hopeless=0.0)
    assert 2 == near[0] < far[0]


def test_nothing_is_said_of_clusters_without_rows():
    X = np.random.default_rng(0).normal(size=(200, 2))
    centers = np.vstack([X[:3], [[99.0, 99.0]]])
    assert settle(made(X, None, 4), X, None, centers)[0] == 0


def test_nothing_is_said_of_an_inertia_of_few_digits():
    X = np.repeat(np.eye(3), 50, axis=0)
    assert settle(made(X, None, 3), X, None, np.eye(3))[0] == 0
    assert settle(made(np.ones((9, 2)), None, 1), np.ones((9, 2)), None, np.ones((1, 2)))[0] == 0


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n_features", [1, 2, 3, 8])
@pytest.mark.parametrize(
    "rows",
    [
        hard_rows.wild_norms, hard_rows.wild_scales, hard_rows.one_wide_feature,
        hard_rows.zeros_and_duplicates, hard_rows.tiny, hard_rows.one_far,
    ],
)  # fmt: skip
def test_no_centre_out_of_reach_is_the_nearest(rows, n_features, dtype):
    """On rows whose distances round badly: labels are the exact ones."""
    rng = np.random.default_rng(n_features)
    X = in_order(rows(rng, 300, n_features)).astype(dtype)
    distinct = np.unique(X, axis=0).astype(float)
    centers = distinct[rng.permutation(len(distinct))[:40]]
    algorithm = made(X, None, len(centers))
    algorithm.settle(centers, 1.0, np.inf, False, 1.0, AHEAD, TOL, 1, np.inf, np.inf)
    distances = squared_distances(X.astype(float), centers)
    own = distances[np.arange(300), algorithm.labels]
    np.testing.assert_allclose(own, distances.min(axis=1), rtol=1e-12)
