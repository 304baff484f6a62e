import numpy as np
import pytest

from fastem.kernels.medians.shares import ClusterShares


def naive_shares(X, labels, weights, wanted, lower, upper):
    """The same as the kernel's sums, one cluster and feature after the other."""
    found = []
    for j, f in np.argwhere(wanted):
        members = (labels == j) & (weights > 0)
        x, w = X[members, f], weights[members]
        inside = (x > lower[j, f]) & (x < upper[j, f])
        at_upper = (x == upper[j, f]) & (lower[j, f] < upper[j, f])
        sums = [w[mask].sum() for mask in (x < lower[j, f], x == lower[j, f], inside, at_upper)]
        found.append([*sums, np.count_nonzero(inside)])
    return np.array(found)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n_rows", [1, 63, 64, 1000])
def test_shares_and_what_is_kept(n_rows, dtype, weighted):
    rng = np.random.default_rng(n_rows)
    n_clusters, n_features, width = 3, 11, 16
    X = rng.integers(-40, 40, size=(n_rows, n_features)).astype(dtype)
    labels = rng.integers(n_clusters, size=n_rows).astype(np.int32)
    weights = rng.integers(0, 3, size=n_rows) * 0.5 if weighted else np.ones(n_rows)
    shares = ClusterShares(X, weights if weighted else None, labels, n_clusters, width)
    np.testing.assert_array_equal(shares.n_members, np.bincount(labels[weights > 0], minlength=3))
    shape = n_clusters, n_features
    for _ in range(3):
        lower = rng.integers(-40, 40, size=shape).astype(dtype)
        upper = lower + rng.integers(0, 30, size=shape).astype(dtype)
        lower[0, 0], upper[0, 1] = -np.inf, np.inf
        wanted = rng.uniform(size=shape) < 0.7
        found = shares.sum_up(wanted, lower, upper)
        expected = naive_shares(X, labels, weights, wanted, lower, upper)
        np.testing.assert_array_equal(found, expected)
        places = np.argwhere(wanted)
        values, kept_weights = shares.kept_inside(places)
        for (j, f), value, weight, (*_, n_inside) in zip(
            places, values, kept_weights, expected, strict=True
        ):
            members = (labels == j) & (weights > 0)
            x, w = X[members, f], weights[members]
            inside = (x > lower[j, f]) & (x < upper[j, f])
            stride = 1
            while -(-n_inside // stride) > width:
                stride *= 2
            kept = x[inside][::stride]
            np.testing.assert_array_equal(value[: len(kept)], kept)
            assert (value[len(kept) :] == np.inf).all()
            assert (weight[len(kept) :] == 0).all()
            scale = n_inside / max(len(kept), 1)
            np.testing.assert_allclose(weight[: len(kept)], w[inside][::stride] * scale)


def test_next_above():
    X = np.array([[3.0], [1], [2], [2], [9]])
    labels = np.array([0, 0, 0, 0, 1], np.int32)
    shares = ClusterShares(X, None, labels, 2, 8)
    assert [shares.next_above(0, 0, value) for value in (0.0, 1.0, 2.0, 3.0)] == [1, 2, 3, np.inf]
