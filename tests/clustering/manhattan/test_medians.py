"""Medians across parts are those of all rows, bit for bit, and take few rounds."""

import itertools

import numpy as np
import pytest
from homes import SPLITS, split_rows

from fastem import KMedians
from fastem.clustering.kmedians import assign_apart
from fastem.clustering.manhattan.medians import (
    JointMedians,
    hold,
    hold_to_follow,
    keep_members,
)
from fastem.kernels.medians.cluster import cluster_medians
from fastem.kernels.runtime import parallel
from fastem.rows import LocalRows

N_ROWS, N_CLUSTERS = 4001, 3
ROWS = {
    "normal": lambda rng, n: rng.normal(size=(n, 9)),
    "sorted": lambda rng, n: np.sort(rng.normal(size=(n, 2)), axis=0),
    "few values": lambda rng, n: rng.integers(3, size=(n, 3)).astype(float),
    "equal": lambda rng, n: np.full((n, 2), -1.5),
    "halves far apart": lambda rng, n: (
        np.where(rng.uniform(size=(n, 2)) < 0.5, -1e9, 1e9) + rng.normal(size=(n, 2))
    ),
    "all magnitudes": lambda rng, n: (
        rng.choice([-1, 1], size=(n, 2)) * np.exp2(rng.uniform(-120, 120, size=(n, 2)))
    ),
    "one far": lambda rng, n: (
        np.where(np.arange(n) == 7, 1e30, 0.0)[:, np.newaxis] + rng.normal(size=(n, 1))
    ),
}


def members_by_number(part, n_clusters, width, labels):
    local = np.ascontiguousarray(labels[part.offset : part.offset + part.n_rows])
    return keep_members(part, local, n_clusters, width)


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("weighting", ["none", "any", "whole"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kind", ROWS)
def test_same_bits_as_of_one_array(kind, dtype, weighting, split):
    rng = np.random.default_rng(0)
    X = ROWS[kind](rng, N_ROWS).astype(dtype)
    weights = {
        "none": None,
        "any": rng.uniform(size=N_ROWS) * (rng.uniform(size=N_ROWS) < 0.9),
        "whole": rng.integers(4, size=N_ROWS).astype(float),  # half is often met exactly
    }[weighting]
    joint = JointMedians(N_CLUSTERS)
    labels = rng.integers(N_CLUSTERS, size=N_ROWS).astype(np.int32)
    for moved in (0, 400, 3, 0):
        # A few rows change clusters, as from one iteration to the next.
        labels[rng.integers(N_ROWS, size=moved)] = rng.integers(N_CLUSTERS)
        found = joint.find(split_rows(X, weights, split), members_by_number, labels)
        expected = cluster_medians(X, labels, N_CLUSTERS, weights)
        assert found.dtype == dtype
        np.testing.assert_array_equal(found, expected)


def test_clusters_without_rows_have_none():
    X = np.arange(12.0).reshape(6, 2)
    labels = np.array([0, 0, 3, 3, 3, 0], np.int32)
    weights = np.array([1.0, 1, 1, 1, 1, 0])
    for weight in (None, weights):
        found = JointMedians(5).find(split_rows(X, weight, "two parts"), members_by_number, labels)
        np.testing.assert_array_equal(found, cluster_medians(X, labels, 5, weight))
        assert np.isnan(found[[1, 2, 4]]).all()


class _Counted(LocalRows):
    n_rounds = n_values = 0

    def each(self, step, *args):
        self.n_rounds += step is hold
        for result in super().each(step, *args):
            if step.__name__ == "values_inside":
                self.n_values += result[0].size
            yield result


@pytest.mark.parametrize("kind", ["normal", "sorted"])
def test_one_round_and_few_values_once_medians_hardly_move(kind):
    rng = np.random.default_rng(1)
    X = ROWS[kind](rng, N_ROWS)
    joint = JointMedians(N_CLUSTERS)
    labels = rng.integers(N_CLUSTERS, size=N_ROWS).astype(np.int32)
    rounds = []
    for _ in range(6):
        labels[rng.integers(N_ROWS, size=5)] = rng.integers(N_CLUSTERS)
        rows = _Counted(split_rows(X, None, "five parts").parts)
        joint.find(rows, members_by_number, labels)
        rounds.append(rows.n_rounds)
    assert rounds[0] <= 8
    assert rounds[2:] == [1] * 4
    assert rows.n_values <= 3 * 128 * N_CLUSTERS * X.shape[1]


class _Watched(LocalRows):
    """Counts the rounds and iterations of a fit."""

    def __init__(self, parts):
        super().__init__(parts)
        self.rounds = []

    def fresh(self, exponent=0):
        return self  # fitted once only

    def each(self, step, *args):
        if step is assign_apart:
            self.rounds.append(0)
        elif self.rounds:
            self.rounds[-1] += step in (hold, hold_to_follow)
        return super().each(step, *args)


@pytest.mark.parametrize("split", ["two parts", "five parts"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kind", [*sorted(ROWS.keys() - {"equal"}), "ever finer"])
def test_intervals_that_are_followed_give_the_same_bits(kind, dtype, split):
    rng = np.random.default_rng(4)
    n_rows = 20_000
    if kind == "ever finer":  # no share of an interval tells where the median is
        X = np.exp(-rng.uniform(0, 40, size=(n_rows, 2))).astype(dtype)
    else:
        X = ROWS[kind](rng, n_rows).astype(dtype)
    X[::2] += 1  # so that rows change clusters for some iterations
    start = X[rng.permutation(n_rows)[:N_CLUSTERS]]
    expected = KMedians(N_CLUSTERS, init=start, tol=0, max_iter=25).fit(X)
    found = KMedians(N_CLUSTERS, init=start, tol=0, max_iter=25).fit(split_rows(X, None, split))
    np.testing.assert_array_equal(found.cluster_centers_, expected.cluster_centers_)
    np.testing.assert_array_equal(found.labels_, expected.labels_)
    assert found.n_iter_ == expected.n_iter_


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rows_are_not_looked_at_again_while_medians_stay_in_their_intervals(dtype):
    rng = np.random.default_rng(3)
    X = (rng.integers(6, size=(30_000, 1)) * 2.0 + rng.normal(size=(30_000, 5))).astype(dtype)
    expected = KMedians(4, init=X[:4], tol=0).fit(X)
    assert expected.n_iter_ > 12
    rows = _Watched(split_rows(X, None, "five parts").parts)
    found = KMedians(4, init=X[:4], tol=0).fit(rows)
    np.testing.assert_array_equal(found.cluster_centers_, expected.cluster_centers_)
    np.testing.assert_array_equal(found.labels_, expected.labels_)
    assert found.n_iter_ == expected.n_iter_ <= len(rows.rounds)
    assert rows.rounds[0] > 1
    assert sum(rows.rounds[-6:]) <= 2
    # Weights of one are none; others are not followed.
    weights = rng.integers(1, 3, size=len(X)) * 1.0
    rows = _Watched(split_rows(X, weights, "five parts").parts)
    found = KMedians(4, init=X[:4], tol=0).fit(rows)
    assert min(rows.rounds) >= 1
    expected = KMedians(4, init=X[:4], tol=0).fit(X, sample_weight=weights)
    np.testing.assert_array_equal(found.cluster_centers_, expected.cluster_centers_)


def test_any_number_of_threads_gives_the_same(monkeypatch):
    rng = np.random.default_rng(2)
    X, labels = rng.normal(size=(20_000, 12)), rng.integers(4, size=20_000).astype(np.int32)
    found = []
    for n_threads in (1, 3):
        monkeypatch.setattr(parallel, "get_num_threads", lambda n=n_threads: n)
        rows = split_rows(X, None, "two parts")
        found.append(JointMedians(4).find(rows, members_by_number, labels))
    for one, other in itertools.pairwise(found):
        np.testing.assert_array_equal(one, other)
