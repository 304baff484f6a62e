"""Means of CSR rows' clusters that are written where the centres are."""

import numpy as np
import pytest
import scipy.sparse as sp
from clustering_passes import DTYPES
from guards import Guarded
from threads import on_threads

from fastem.kernels.distances.sparse import sparse_rows, twofold_norms
from fastem.kernels.kmeans.csr.means import RowMeans


def made(X, sample_weight, n_clusters):
    weight = np.empty(0) if sample_weight is None else sample_weight
    return RowMeans(sparse_rows(sp.csr_matrix(X)), weight, n_clusters)


def problem(n_features, dtype, weighted, n_clusters=6):
    rng = np.random.default_rng(n_features)
    X = (rng.normal(size=(200, n_features)) * (rng.random((200, n_features)) < 0.3)).astype(dtype)
    weight = rng.uniform(0.5, 2.0, 200) if weighted else None
    labels = rng.integers(n_clusters, size=200).astype(np.int32)
    labels[:n_clusters] = np.arange(n_clusters)
    centers = rng.normal(size=(n_clusters, n_features)).astype(dtype)
    return rng, X, weight, labels, centers


def plain_change(X, sample_weight, labels, centers):
    """What the weighted squares of the rows' distances from centres are more than from zero."""
    X, centers = X.astype(float), centers.astype(float)
    weight = np.ones(len(X)) if sample_weight is None else sample_weight
    return (weight * (((X - centers[labels]) ** 2).sum(axis=1) - (X**2).sum(axis=1))).sum()


def plain_means(X, sample_weight, labels, n_clusters):
    weight = np.ones(len(X)) if sample_weight is None else sample_weight
    own = [labels == j for j in range(n_clusters)]
    return np.array([np.average(X[o].astype(float), axis=0, weights=weight[o]) for o in own])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("n_features", [1, 3, 7, 8, 9, 16, 37, 1100])
def test_passes_in_turn(n_features, weighted, dtype):
    rng, X, weight, labels, centers = problem(n_features, dtype, weighted)
    tested, before = made(X, weight, 6), np.full(200, -1)
    for n_moved in (0, 40, 1, 0):
        labels[rng.choice(np.arange(6, 200), n_moved, replace=False)] = 2
        assert tested.follow(labels) == np.count_nonzero(labels != before)
        change = plain_change(X, weight, labels, centers)
        np.testing.assert_allclose(tested.change(centers), change, rtol=1e-10, atol=1e-10)
        old, norms = centers.copy(), tested.norms[0].copy()
        found, fall = tested.write(centers)
        np.testing.assert_allclose(found, change, rtol=1e-10, atol=1e-10)
        means = plain_means(X, weight, labels, 6)
        np.testing.assert_allclose(centers, means, rtol=3 * np.finfo(dtype).eps, atol=1e-14)
        now = plain_change(X, weight, labels, centers)
        np.testing.assert_allclose(fall, change - now, rtol=1e-10, atol=1e-10)
        np.testing.assert_allclose(tested.change(centers), now, rtol=1e-10, atol=1e-10)
        weights = np.ones(200) if weight is None else weight
        np.testing.assert_allclose(tested.weights, np.bincount(labels, weights, 6), rtol=1e-12)
        ways = ((centers.astype(float) - old) ** 2).sum(axis=1)
        moved = (centers != old).any(axis=1)
        np.testing.assert_array_equal(tested.ways[~moved], -1.0)
        np.testing.assert_allclose(tested.ways[moved], ways[moved], rtol=1e-10)
        np.testing.assert_array_equal(tested.before, norms)
        np.testing.assert_allclose(tested.norms[0], (centers.astype(float) ** 2).sum(axis=1))
        np.testing.assert_array_equal(tested.norms, twofold_norms(centers))
        before = labels.copy()


def test_only_clusters_that_change_are_written():
    _, X, _, labels, centers = problem(20, np.float64, False)
    tested = made(X, None, 6)
    tested.follow(labels)
    tested.write(centers)
    row = np.flatnonzero(labels == 1)[-1]
    labels[row] = 4
    tested.follow(labels)
    centers[[0, 2, 3, 5]] = np.nan  # which nobody reads
    tested.write(centers)
    assert np.isnan(centers[[0, 2, 3, 5]]).all()
    means = plain_means(X, None, labels, 6)
    np.testing.assert_allclose(centers[[1, 4]], means[[1, 4]], rtol=1e-12, atol=1e-14)
    assert (tested.ways > 0).tolist() == [False, True, False, False, True, False]


def test_a_fall_far_below_the_sums_rounding():
    """Squares that are 1e16 times as large leave nothing of it in a difference."""
    rng = np.random.default_rng(0)
    X = 1e6 + rng.normal(size=(100, 12))
    labels = np.repeat([0, 1], 50).astype(np.int32)
    tested = made(X, None, 2)
    tested.follow(labels)
    centers = plain_means(X, None, labels, 2) + 1e-3
    means = plain_means(X, None, labels, 2)
    expected = 50 * (((means + 1e-3 - means) ** 2).sum())
    _, fall = tested.write(centers)
    np.testing.assert_allclose(fall, expected, rtol=1e-5)


def test_forgotten_labels_are_all_new():
    _, X, _, labels, centers = problem(20, np.float32, False)
    tested = made(X, None, 6)
    tested.follow(labels)
    tested.write(centers)
    expected = centers.copy()
    tested.forget()
    assert tested.follow(labels) == 200
    centers[:] = 7
    tested.write(centers)
    np.testing.assert_array_equal(centers, expected)


def test_norms_of_centers_that_are_not_written():
    _, X, _, _, centers = problem(37, np.float32, False)
    tested = made(X, None, 6)
    np.testing.assert_allclose(
        tested.norms_of(centers)[0], (centers.astype(float) ** 2).sum(axis=1), rtol=1e-14
    )


@pytest.mark.parametrize("dtype", DTYPES)
def test_any_number_of_threads(dtype):
    def written():
        _, X, weight, labels, centers = problem(300, dtype, True)
        tested = made(X, weight, 6)
        tested.follow(labels)
        found = tested.write(centers)
        return centers.tobytes(), tested.norms.tobytes(), found

    results = on_threads([1, 2, 3], written)
    assert results[0] == results[1] == results[2]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n_features", [3, 13, 64])
def test_nothing_is_written_beside_the_centers(n_features, dtype):
    _, X, _, labels, centers = problem(n_features, dtype, False)
    guard = Guarded(centers)
    tested = made(X, None, 6)
    tested.follow(labels)
    tested.write(guard.array)
    assert guard.intact()
    means = plain_means(X, None, labels, 6)
    np.testing.assert_allclose(guard.array, means, rtol=3 * np.finfo(dtype).eps, atol=1e-14)
