import numba
import numpy as np
import pytest
from guards import Guarded
from reference import l1_distances, squared_distances

from fastem.kernels.distances import cluster_sums as module
from fastem.kernels.distances.cluster_sums import cluster_sums

NAIVE = {
    "euclidean": lambda X, Y: np.sqrt(squared_distances(X, Y)),
    "manhattan": l1_distances,
}
# Rows, features, clusters: tiles that are full and of one cluster or not, one block, two, an odd
# number of them, rows wider than a block.
SHAPES = [
    (2, 1, 1),
    (63, 3, 2),
    (64, 2, 1),
    (65, 4, 3),
    (700, 5, 2),
    (1100, 17, 200),
    (600, 300, 3),
]


def problem(n_rows, n_features, n_clusters, dtype):
    rng = np.random.default_rng(n_rows)
    labels = np.sort(rng.integers(n_clusters, size=n_rows))
    return rng.normal(size=(n_rows, n_features)).astype(dtype), rng.permutation(n_rows), labels


def naive_sums(X, order, labels, n_clusters, metric):
    distances = NAIVE[metric](X[order], X[order])
    return np.array([distances[:, labels == j].sum(axis=1) for j in range(n_clusters)])


@pytest.mark.parametrize("metric", NAIVE)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", SHAPES)
def test_sums(shape, dtype, metric):
    X, order, labels = problem(*shape, dtype)
    sums, scale = cluster_sums(X, order, labels, shape[2], metric)
    assert sums.dtype == np.float64
    rtol = 1e-12 if dtype == np.float64 else 2e-6
    expected = naive_sums(X, order, labels, shape[2], metric)
    np.testing.assert_allclose(sums / scale, expected, rtol=rtol)


@pytest.mark.parametrize("metric", NAIVE)
def test_many_blocks_meet_once_each(metric, monkeypatch):
    monkeypatch.setattr(module, "_block_rows", lambda n_rows, n_features: 64)
    for n_rows in (64 * 6 + 1, 64 * 8):  # seven blocks and eight
        X, order, labels = problem(n_rows, 3, 4, np.float64)
        sums, scale = cluster_sums(X, order, labels, 4, metric)
        np.testing.assert_allclose(
            sums / scale, naive_sums(X, order, labels, 4, metric), rtol=1e-12
        )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_any_magnitude(dtype):
    X, order, labels = problem(100, 3, 4, dtype)
    sums, scale = cluster_sums(X, order, labels, 4, "euclidean")
    for exponent in (-100, 100) if dtype == np.float32 else (-1000, 1000):
        factor = dtype(2.0**exponent)
        far, far_scale = cluster_sums(X * factor, order, labels, 4, "euclidean")
        np.testing.assert_array_equal(far, sums)
        assert far_scale == scale / float(factor)


def test_equal_rows_are_at_distance_zero():
    X = np.full((200, 5), 1e8 + 1 / 3)
    sums, _ = cluster_sums(X, np.arange(200), np.zeros(200, np.int64), 1, "euclidean")
    assert (sums == 0).all()


def test_same_bits_for_any_number_of_threads():
    X, order, labels = problem(3000, 4, 5, np.float32)
    found, before = [], numba.get_num_threads()
    try:
        for count in (1, before):
            numba.set_num_threads(count)
            found.append(cluster_sums(X, order, labels, 5, "euclidean")[0])
    finally:
        numba.set_num_threads(before)
    np.testing.assert_array_equal(*found)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", SHAPES)
def test_nothing_outside_of_the_arrays(shape, dtype, monkeypatch):
    X, order, labels = problem(*shape, dtype)
    rows, sums = Guarded(X), Guarded(np.zeros((shape[2], shape[0])))
    zeros = np.zeros

    def guarded_zeros(shape, dtype=float):
        return sums.array if isinstance(shape, tuple) else zeros(shape, dtype)

    monkeypatch.setattr(module.np, "zeros", guarded_zeros)
    cluster_sums(rows.array, order, labels, shape[2], "euclidean")
    monkeypatch.undo()
    assert sums.intact()
    expected, _ = cluster_sums(X, order, labels, shape[2], "euclidean")
    np.testing.assert_array_equal(sums.array, expected)
