import numpy as np
import pytest
from scipy.spatial.distance import pdist
from sklearn.cluster import AgglomerativeClustering
from sklearn.metrics import adjusted_rand_score

from fastem.mixtures.sampled import Sample, kmeans_clusters, ward_clusters
from fastem.rows import LocalRows, Part, array_rows


def make_rows(n=500, d=3, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, d)) @ rng.normal(size=(d, d)) + 3, rng.integers(0, 4, n) * 0.5


def test_few_rows_are_all_of_them():
    X, weight = make_rows()
    sample = Sample.of(array_rows(X, weight), 500, np.random.RandomState(0))
    np.testing.assert_array_equal(sample.X, X[weight > 0])
    np.testing.assert_array_equal(sample.weight, weight[weight > 0])


@pytest.mark.parametrize("weighted", [False, True])
def test_many_rows_are_drawn(weighted):
    X, weight = make_rows()
    weight = weight if weighted else None
    sample = Sample.of(array_rows(X, weight), 40, np.random.RandomState(0))
    assert sample.X.shape == (40, 3)
    assert sample.weight.sum() == pytest.approx(500 if weight is None else weight.sum())
    found = [np.flatnonzero((X == row).all(axis=1))[0] for row in sample.X]
    assert len(set(found)) == 40
    if weighted:
        assert weight[found].min() > 0


def test_parts_give_the_same_sample():
    X, weight = make_rows()
    parts = LocalRows(
        [Part(X[:200], weight[:200]), Part(X[200:], weight[200:], offset=200, number=1)]
    )
    for size in (40, 500):
        one, several = (
            Sample.of(rows, size, np.random.RandomState(0))
            for rows in (array_rows(X, weight), parts)
        )
        np.testing.assert_array_equal(one.X, several.X)
        np.testing.assert_array_equal(one.weight, several.weight)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_sphered_rows_have_the_identity_as_covariance(dtype):
    X, weight = make_rows()
    sample = Sample.of(array_rows(X.astype(dtype), weight), 500, np.random.RandomState(0))
    Y = sample.sphered()
    np.testing.assert_allclose(np.average(Y, axis=0, weights=sample.weight), 0, atol=1e-9)
    covariance = np.cov(Y.T, aweights=sample.weight, bias=True)
    np.testing.assert_allclose(covariance, np.eye(3), atol=1e-9)


def test_sphered_rows_hardly_know_their_coordinates():
    """Distances are the same after any change of coordinates."""
    X, _ = make_rows(60)
    weight = np.ones(60)
    changed = X @ np.diag([1.0, 1e3, 1e-2]) @ np.random.default_rng(1).normal(size=(3, 3))
    one, other = (pdist(Sample(rows, weight).sphered()) for rows in (X, changed))
    np.testing.assert_allclose(one, other, rtol=1e-6)


def test_directions_without_spread_are_left_out():
    X, _ = make_rows(60)
    flat = np.column_stack([X, X[:, 0], np.full(60, 7.0)])
    assert Sample(flat, np.ones(60)).sphered().shape == (60, 3)
    np.testing.assert_array_equal(Sample(np.ones((5, 2)), np.ones(5)).sphered(), np.zeros((5, 1)))


def test_means():
    X, weight = make_rows(60)
    weight, labels = weight + 1, np.arange(60) % 3
    means = Sample(X, weight).means(labels, 4)
    for label in range(3):
        own = labels == label
        np.testing.assert_allclose(means[label], weight[own] @ X[own] / weight[own].sum())
    np.testing.assert_allclose(means[3], weight @ X / weight.sum())


@pytest.mark.parametrize("cluster", ["kmeans", "ward"])
def test_clusters_of_stretched_rows(cluster):
    """Two clusters apart by ten standard deviations, across rows a hundred times as long."""
    rng = np.random.default_rng(0)
    labels = rng.integers(2, size=400)
    X = rng.normal(size=(400, 2)) * [100, 0.3] + np.outer(labels, [0, 3])
    sample = Sample(X, np.ones(400))
    if cluster == "ward":
        found = ward_clusters(sample, 2)
    else:
        found = kmeans_clusters(sample, 2, np.random.RandomState(0))
    assert adjusted_rand_score(labels, found) > 0.95


def test_three_clusters_whose_cut_across_is_no_worse_for_sphered_rows():
    rng = np.random.default_rng(0)
    labels = rng.integers(3, size=900)
    X = rng.normal(size=(900, 2)) * [30, 1] + np.outer(labels, [0, 6])
    found = kmeans_clusters(Sample(X, np.ones(900)), 3, np.random.RandomState(0))
    assert adjusted_rand_score(labels, found) > 0.95


def test_clusters_without_any_spread():
    X = np.repeat([[0.0, 1], [5, 1], [9, 9]], 4, axis=0)
    found = kmeans_clusters(Sample(X, np.ones(12)), 3, np.random.RandomState(0))
    assert adjusted_rand_score(np.repeat([0, 1, 2], 4), found) == 1


def test_ward_is_that_of_whitened_rows():
    X, _ = make_rows(80)
    whitened = (X - X.mean(axis=0)) @ np.linalg.inv(np.linalg.cholesky(np.cov(X.T))).T
    expected = AgglomerativeClustering(5).fit_predict(whitened)
    found = ward_clusters(Sample(X, np.ones(80)), 5)
    assert adjusted_rand_score(expected, found) == 1
    np.testing.assert_array_equal(ward_clusters(Sample(X, np.ones(80)), 1), 0)


@pytest.mark.parametrize("n_clusters", [3, 5])
def test_no_more_rows_than_clusters(n_clusters):
    X, _ = make_rows(3)
    sample = Sample(X, np.ones(3))
    np.testing.assert_array_equal(ward_clusters(sample, n_clusters), [0, 1, 2])
    found = kmeans_clusters(sample, n_clusters, np.random.RandomState(0))
    np.testing.assert_array_equal(found, [0, 1, 2])
