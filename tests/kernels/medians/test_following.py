import numpy as np
import pytest

from fastem.kernels.clusters.moves import Moves
from fastem.kernels.medians.following import FollowedShares
from fastem.kernels.medians.shares import ClusterShares

N_CLUSTERS, N_FEATURES, CAPACITY, MOST = 4, 11, 24, 5


def move(labels, rows, new, n_chunks):
    """Give rows new labels, and list those that have changed."""
    rows = rows[labels[rows] != new[rows]]
    chunk_rows = -(-len(labels) // n_chunks)
    capacity = chunk_rows // 4
    moves = Moves(
        np.full(n_chunks * capacity, -7, np.int32),
        np.full(n_chunks * capacity, -7, np.int32),
        np.zeros(n_chunks, np.int64),
        capacity,
    )
    for row in rows:
        chunk = row // chunk_rows
        if moves.counts[chunk] < capacity:
            moves.rows[chunk * capacity + moves.counts[chunk]] = row
            moves.origins[chunk * capacity + moves.counts[chunk]] = labels[row]
        moves.counts[chunk] += 1
    labels[rows] = new[rows]
    return moves


def values_between(X, labels, cluster, feature, lower, upper):
    x = X[labels == cluster, feature]
    return x, np.sort(x[(x > lower) & (x < upper)])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n_rows", [300, 2000])
def test_follows_rows_that_move(n_rows, dtype):
    rng = np.random.default_rng(n_rows)
    # Whole numbers, so that some lie at the intervals' ends.
    X = rng.integers(-200, 200, size=(n_rows, N_FEATURES)).astype(dtype)
    labels = rng.integers(N_CLUSTERS, size=n_rows).astype(np.int32)
    lower = rng.integers(-30, 30, size=(N_CLUSTERS, N_FEATURES)).astype(dtype)
    upper = lower + rng.integers(0, 12, size=lower.shape).astype(dtype)
    lower[0, 0], upper[1, 1] = -np.inf, np.inf
    wanted = rng.uniform(size=lower.shape) < 0.8
    followed = FollowedShares(N_CLUSTERS, N_FEATURES, CAPACITY, dtype)
    assert np.isnan(followed.shares()).all()
    members = ClusterShares(X, None, labels, N_CLUSTERS, 64)
    found = members.sum_up(wanted, lower, upper)
    followed.take(wanted, lower, upper, found, members.inside)
    full = ~wanted
    n_told: set[int] = set()
    for _ in range(6):
        shares = followed.shares()
        for j, f in np.ndindex(lower.shape):
            x, inside = values_between(X, labels, j, f, lower[j, f], upper[j, f])
            full[j, f] |= len(inside) > CAPACITY  # once there was no room, all is unknown
            if full[j, f]:
                assert np.isnan(shares[j, f]).all()
                continue
            at_upper = np.count_nonzero(x == upper[j, f]) if upper[j, f] > lower[j, f] else 0
            expected = [
                np.count_nonzero(x < lower[j, f]),
                np.count_nonzero(x == lower[j, f]),
                len(inside),
                at_upper,
            ]
            np.testing.assert_array_equal(shares[j, f], expected)
        places = np.argwhere(~full)
        first = rng.integers(-30, 30, size=len(places)).astype(dtype)
        last = first + rng.integers(0, 12, size=len(places)).astype(dtype)
        first[0], last[-1] = -np.inf, np.inf
        told = followed.between(places, first, last, MOST)
        for (j, f), one, other, n_below, n_up_to, values in zip(
            places, first, last, *told, strict=True
        ):
            _, inside = values_between(X, labels, j, f, lower[j, f], upper[j, f])
            assert n_below == np.count_nonzero(inside < one)
            assert n_up_to == np.count_nonzero(inside <= other)
            between = inside[(inside >= one) & (inside <= other)]
            between = between[: len(between) * (len(between) <= MOST)]
            np.testing.assert_array_equal(np.sort(values)[: len(between)], between)
            assert (np.sort(values)[len(between) :] == np.inf).all()
            n_told.add(len(between))
        rows = rng.permutation(n_rows)[: n_rows // 20]
        followed.follow(X, labels, move(labels, rows, rng.integers(N_CLUSTERS, size=n_rows), 3))
        # More may have come and gone within these moves than there are at their end.
        full |= np.isnan(followed.shares()[..., 0])
    # An interval with room for what all clusters have inside is known all the time.
    x = X[:, np.newaxis]
    fits = ((x > lower) & (x < upper)).sum(axis=0) <= CAPACITY
    assert (fits & wanted).any()
    assert not (full & fits & wanted).any()
    assert full[wanted].any()
    assert 0 < max(n_told) <= MOST
    # Of unknown intervals nothing is told.
    place = np.argwhere(full)[:1]
    n_below, n_up_to, values = followed.between(place, lower[:1, 0], upper[:1, 0], MOST)
    assert np.isnan(n_below).all() and np.isnan(n_up_to).all() and values.size == 0


def test_forgets_where_not_all_moves_are_listed():
    rng = np.random.default_rng(0)
    X, labels = rng.normal(size=(400, N_FEATURES)), rng.integers(4, size=400).astype(np.int32)
    followed = FollowedShares(4, N_FEATURES, 400, X.dtype)
    everything = np.ones((4, N_FEATURES), bool)
    ends = np.full((4, N_FEATURES), -0.1), np.full((4, N_FEATURES), 0.1)
    members = ClusterShares(X, None, labels, 4, 400)
    found = members.sum_up(everything, *ends)
    for forget in (
        lambda: followed.follow(X, labels, move(labels, np.arange(390), (labels + 1) % 4, 3)),
        followed.forget,
    ):
        followed.take(everything, *ends, found, members.inside)
        assert not np.isnan(followed.shares()).any()
        forget()
        assert np.isnan(followed.shares()).all()
