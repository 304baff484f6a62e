import numpy as np
import pytest
from reference import squared_distances

from fastem.kernels.kmeans import centers as kernels

SIZES = [1, 2, 3, 7, 63, 64, 65, 129]


def averaged(sums, weights, origin, dtype=np.float64, factor=1.0, before=None):
    """The means, and how far they are from what was before."""
    before = np.zeros(sums.shape) if before is None else before
    means = np.full(sums.shape, np.nan)
    shift = kernels.average(sums, weights, origin, dtype, factor, before, means)
    np.testing.assert_allclose(shift, ((means - before) ** 2).sum(), rtol=1e-12)
    return means


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


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("factor", [1.0, 2.0**-30])
def test_average(clustering, dtype, factor):
    X, weight, labels, sums, weights = clustering
    origin = np.random.default_rng(0).normal(size=sums.shape[1])
    before = np.random.default_rng(1).normal(size=sums.shape)
    means = averaged(sums, weights, origin, dtype, factor, before)
    np.testing.assert_array_equal(means, (means / factor).astype(dtype) * factor)
    tolerance = 1e-12 if dtype == np.float64 else 2e-7
    for j in range(len(weights)):
        own = labels == j
        expected = origin + np.average(X[own], axis=0, weights=weight[own])
        np.testing.assert_allclose(means[j], expected, rtol=tolerance, atol=tolerance)


def test_an_empty_cluster_gets_the_mean_of_the_heaviest():
    sums = np.array([[2.0, 4.0], [5.0, 5.0], [3.0, 6.0]])
    means = averaged(sums, np.array([2.0, 0.0, 3.0]), np.array([1.0, 0.0]))
    assert means.tolist() == [[2, 2], [2, 2], [2, 2]]


@pytest.mark.parametrize("n_features", [1023, 1024, 1039, 60_000])
def test_many_values(n_features):
    """Sums in parts, and in the end so many values that several threads share them."""
    rng = np.random.default_rng(0)
    sums, centers = rng.normal(size=(2, 7, n_features))
    weights, origin = rng.integers(1, 4, 7).astype(float), rng.normal(size=n_features)
    means = averaged(sums, weights, origin, before=centers)
    np.testing.assert_allclose(
        means, sums / weights[:, np.newaxis] + origin, rtol=1e-14, atol=1e-14
    )
    found = kernels.inertia_change(sums, weights, centers, origin)
    shifted = centers - origin
    expected = (weights @ shifted**2).sum() - 2 * (sums * shifted).sum()
    np.testing.assert_allclose(found, expected, rtol=1e-10)


def test_inertia_change(clustering):
    X, weight, labels, sums, weights = clustering
    rng = np.random.default_rng(0)
    centers, origin = rng.normal(size=sums.shape), rng.normal(size=sums.shape[1])
    inertia = weight @ squared_distances(X + origin, centers)[np.arange(len(X)), labels]
    change = inertia - weight @ (X**2).sum(axis=1)
    found = kernels.inertia_change(sums, weights, centers, origin)
    np.testing.assert_allclose(found, change, rtol=1e-10)


@pytest.mark.parametrize("n_features", [5, 1024, 1039, 60_000])
def test_only_what_has_changed_is_looked_at(n_features):
    """The others' shares and centres are those that are known."""
    rng = np.random.default_rng(0)
    sums, before = rng.normal(size=(2, 7, n_features))
    weights, origin = rng.integers(1, 4, 7).astype(float), rng.normal(size=n_features)
    changed, means, shares = np.arange(7) % 3 == 0, np.empty(sums.shape), np.full(7, 2.0)
    args = sums, weights, origin, np.float32, 1.0, before, means
    shift = kernels.average(*args, changed, shares)
    expected = np.where(changed[:, np.newaxis], sums / weights[:, np.newaxis] + origin, before)
    np.testing.assert_allclose(means, expected, rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal(means[~changed], before[~changed])
    np.testing.assert_allclose(shift, ((means - before) ** 2).sum(), rtol=1e-12)
    # The shares of the new means are those that a sweep over these would find.
    anew, shifted = np.empty(7), means - origin
    kernels.inertia_change(sums, weights, means, origin, shares=anew)
    by_hand = weights * (shifted**2).sum(axis=1) - 2 * (sums * shifted).sum(axis=1)
    np.testing.assert_allclose(anew, by_hand, rtol=1e-10)
    np.testing.assert_array_equal(shares, np.where(changed, anew, 2.0))
    total = kernels.inertia_change(sums, weights, means, origin, ~changed, shares)
    np.testing.assert_array_equal(shares, anew)
    np.testing.assert_allclose(total, by_hand.sum(), rtol=1e-10)
