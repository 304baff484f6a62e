"""What a search asks of the rows, against NumPy."""

import numpy as np
import pytest
import scipy.sparse as sp
from clustering_passes import DTYPES, KMEDIANS, frame_for, rows_for
from reference import (
    aimed,
    cluster_halves,
    cluster_losses,
    cluster_statistics,
    halved,
    l1_distances,
    squared_distances,
)

from fastem.kernels.kmeans import Hamerly, Lloyd, Sparse, halves
from fastem.kernels.kmedians import Bounded

CLASSES = [Lloyd, Hamerly, Sparse, Bounded]
SHAPES = [(3, 1, 2), (65, 63, 3), (700, 2, 9), (1100, 7, 129), (3, 300, 2), (2, 40000, 2)]


def assigned(algorithm, shape, dtype, weighted):
    """Rows, weights, centres, and an algorithm that has labelled the rows by these."""
    n_rows, n_features, n_clusters = shape
    rng = np.random.default_rng(sum(shape))
    X = (rng.normal(size=(n_rows, n_features)) + 2).astype(dtype)
    if algorithm is Sparse:
        X *= rng.uniform(size=X.shape) < 0.4
    sample_weight = rng.integers(0, 3, size=n_rows) * 0.5 if weighted else None
    centers = X[rng.integers(n_rows, size=n_clusters)] + 0.3 * rng.normal(
        size=(n_clusters, n_features)
    )
    made = algorithm(rows_for(algorithm, X), sample_weight, n_clusters, frame_for(algorithm, X))
    made.assign(centers)
    return X.astype(float), sample_weight, centers, made


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("algorithm", CLASSES)
def test_halves(algorithm, shape, dtype, weighted):
    X, sample_weight, centers, made = assigned(algorithm, shape, dtype, weighted)
    relative = X - frame_for(algorithm, X.astype(dtype)).origin
    directions = np.random.default_rng(1).normal(size=centers.shape)
    offsets = np.random.default_rng(2).normal(size=len(centers))
    for first in (False, True):
        found = made.halves(directions, offsets, first)
        expected = cluster_halves(relative, sample_weight, made.labels, directions, offsets, first)
        for got, want in zip(found, expected, strict=True):
            scale = np.abs(want).max() + len(X)
            np.testing.assert_allclose(got, want, rtol=1e-10, atol=1e-11 * scale)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("algorithm", CLASSES)
def test_losses(algorithm, shape, dtype, weighted):
    X, sample_weight, centers, made = assigned(algorithm, shape, dtype, weighted)
    distances = (l1_distances if algorithm in KMEDIANS else squared_distances)(X, centers)
    chosen = np.random.default_rng(3).permutation(len(centers))[: max(1, len(centers) // 2)]
    losses, moved = made.losses(centers, chosen)
    wanted, moved_there = cluster_losses(distances, sample_weight, made.labels, chosen)
    np.testing.assert_allclose(losses, wanted, rtol=1e-9, atol=1e-9 * distances.max())
    np.testing.assert_allclose(moved, moved_there, rtol=1e-12)


@pytest.mark.parametrize("algorithm", [Hamerly, Bounded])
def test_losses_where_most_centres_are_out_of_reach(algorithm):
    """Rows on a grid of tight clusters, some of them far from their own centre."""
    rng = np.random.default_rng(4)
    centers = np.stack(np.meshgrid(range(12), range(12)), axis=-1).reshape(-1, 2).astype(float)
    X = centers[rng.integers(144, size=3000)] + 0.1 * rng.normal(size=(3000, 2))
    X[::50] += rng.normal(size=(60, 2))
    X[7] = 40.0
    made = algorithm(X, None, 144, frame_for(algorithm, X))
    made.assign(centers)
    distances = (l1_distances if algorithm is Bounded else squared_distances)(X, centers)
    losses, moved = made.losses(centers, np.arange(144))
    wanted, moved_there = cluster_losses(distances, None, made.labels, np.arange(144))
    np.testing.assert_allclose(losses, wanted, rtol=1e-9, atol=1e-9 * distances.max())
    np.testing.assert_allclose(moved, moved_there, rtol=1e-12)


def test_losses_of_rows_that_stay_in_two_parts():
    """Each row's share is where the row is: parts add up."""
    rng = np.random.default_rng(0)
    X, centers = rng.normal(size=(400, 3)), rng.normal(size=(6, 3))
    chosen = np.array([4, 1])
    found = []
    for part in (X, X[:150], X[150:]):
        made = Hamerly(part, None, 6, frame_for(Hamerly, X))
        made.assign(centers)
        found.append(made.losses(centers, chosen))
    for whole, first, second in zip(*found, strict=True):
        np.testing.assert_allclose(first + second, whole, rtol=1e-12)


@pytest.mark.parametrize("n_features", [1, 3, 40])
def test_directions_and_halves_of_clusters(n_features):
    rng = np.random.default_rng(n_features)
    means, weights = rng.normal(size=(9, n_features)), rng.uniform(1, 2, size=9)
    sums, shares = rng.normal(size=(9, n_features)), rng.uniform(0, 1, size=9)
    weights[2] = shares[2] = 0.0  # nothing to part
    shares[3], shares[4] = 0.0, weights[4]
    sums[5] = shares[5] = 0.0  # all rows in one place
    directions, offsets = np.empty_like(means), np.empty(9)
    halves.aim(sums, shares, means, directions, offsets)
    for found, wanted in zip((directions, offsets), aimed(sums, shares, means), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-10, atol=1e-12)
    parts, both = np.empty((9, 2, n_features)), np.empty((9, 2))
    halves.halve(sums, shares, 1e-9, means, weights, parts, both, directions, offsets)
    wanted = halved(sums, shares, 1e-9, means, weights)
    for found, expected in zip((parts, both, directions, offsets), wanted, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("algorithm", [Lloyd, Sparse])
def test_halves_in_one_call(algorithm, dtype, weighted):
    X, sample_weight, _, made = assigned(algorithm, (700, 3, 9), dtype, weighted)
    relative = X - frame_for(algorithm, X.astype(dtype)).origin
    own = np.ones(700) if sample_weight is None else sample_weight
    sums, weights = cluster_statistics(relative, own, made.labels, 9)
    means = sums / weights[:, np.newaxis]
    directions = np.random.default_rng(1).normal(size=(9, 3))
    ways = directions.copy(), (directions * means).sum(axis=1)
    found = made.bisect(2, 3, 1e-9, means, weights, *ways)
    wanted = directions, (directions * means).sum(axis=1)
    for iteration in range(5):
        sums = cluster_halves(relative, sample_weight, made.labels, *wanted, iteration >= 2)
        if iteration < 2:
            wanted = aimed(*sums, means)
        else:
            *halves, directions, offsets = halved(*sums, 1e-9, means, weights)
            wanted = directions, offsets
    for got, want in zip((*found, *ways), (*halves, *wanted), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
def test_gains(dtype, weighted):
    X, sample_weight, centers, made = assigned(Bounded, (700, 3, 9), dtype, weighted)
    origin = frame_for(Bounded, X.astype(dtype)).origin
    rng = np.random.default_rng(5)
    children = centers[:, np.newaxis] + 0.2 * rng.normal(size=(9, 2, 3))
    directions, offsets = rng.normal(size=(9, 3)), rng.normal(size=9)
    gains = made.gains(centers, children, directions, offsets)
    first = ((X - origin) * directions[made.labels]).sum(axis=1) > offsets[made.labels]
    child = children[made.labels, np.where(first, 0, 1)]
    gained = np.abs(X - centers[made.labels]).sum(axis=1) - np.abs(X - child).sum(axis=1)
    wanted = np.bincount(made.labels, gained if sample_weight is None else gained * sample_weight)
    np.testing.assert_allclose(gains, wanted, rtol=1e-9, atol=1e-9)


def test_a_cluster_of_no_rows_loses_nothing():
    X = sp.csr_array(np.eye(4))
    centers = np.vstack([np.eye(4)[:2], np.full((1, 4), 9.0)])
    made = Sparse(X, None, 3, frame_for(Sparse, np.eye(4)))
    made.assign(centers)
    losses, moved = made.losses(centers, np.array([2]))
    assert not losses.any()
    assert not moved.any()
