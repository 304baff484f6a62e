import numpy as np
import pytest
from reference import squared_distances

from fastem.clustering.kmeans import average
from fastem.kernels.kmeans import centers as kernels

SIZES = [1, 2, 3, 7, 63, 64, 65, 129]


@pytest.fixture(params=SIZES)
def clustering(request):
    """Weighted rows and labels that occur all, by cluster: sums and weights."""
    n_clusters = request.param
    rng = np.random.default_rng(n_clusters)
    labels = np.arange(5 * n_clusters) % n_clusters
    X = rng.normal(size=(len(labels), 1 + n_clusters % 9))
    weight = rng.random(len(labels)) + 0.1
    sums = np.array([weight[labels == j] @ X[labels == j] for j in range(n_clusters)])
    weights = np.array([weight[labels == j].sum() for j in range(n_clusters)])
    return X, weight, labels, sums, weights


def test_average(clustering):
    X, weight, labels, sums, weights = clustering
    means = average(sums, weights)
    for j in range(len(weights)):
        own = labels == j
        expected = np.average(X[own], axis=0, weights=weight[own])
        np.testing.assert_allclose(means[j], expected, rtol=1e-12, atol=1e-14)


def test_average_fills_in_clusters_of_positive_weight():
    sums = np.array([[2.0, 4.0], [5.0, 5.0], [3.0, 6.0]])
    means = np.full((3, 2), -1.0)
    assert kernels.average(sums, np.array([2.0, 0.0, 3.0]), means) == 2
    assert means.tolist() == [[1, 2], [-1, -1], [1, 2]]


def test_inertia_change(clustering):
    X, weight, labels, sums, weights = clustering
    rng = np.random.default_rng(0)
    centers, origin = rng.normal(size=sums.shape), rng.normal(size=sums.shape[1])
    inertia = weight @ squared_distances(X + origin, centers)[np.arange(len(X)), labels]
    change = inertia - weight @ (X**2).sum(axis=1)
    found = kernels.inertia_change(sums, weights, centers, origin)
    np.testing.assert_allclose(found, change, rtol=1e-10)


def test_squared_shift(clustering):
    *_, sums, _ = clustering
    moved = sums + np.random.default_rng(0).normal(size=sums.shape)
    np.testing.assert_allclose(
        kernels.squared_shift(sums, moved), ((moved - sums) ** 2).sum(), rtol=1e-12
    )
