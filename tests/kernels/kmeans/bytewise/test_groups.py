"""Groups of near centres, and rows compared with theirs, against NumPy."""

import numpy as np
import pytest
from clustering_passes import DTYPES
from scipy.spatial.distance import cdist

from fastem.kernels.distances.euclidean import EuclideanPacked
from fastem.kernels.distances.rounding import exact_layout
from fastem.kernels.distances.tile_nearest import pack_centers
from fastem.kernels.kmeans.bytewise.crowds import crowd_centers, share_opened
from fastem.kernels.kmeans.bytewise.groups import Away, _find_groups, group_centers
from fastem.kernels.kmeans.bytewise.in_group import (
    compare_with_groups,
    n_scores,
    row_error,
    row_values,
    sort_by_group,
)
from fastem.kernels.kmeans.bytewise.tiles import BLOCK
from fastem.kernels.runtime.compiling import kernel
from fastem.kernels.vectors.machine import LANES, TILE
from fastem.kernels.vectors.tiles import aligned_empty


def crowds(rng, n_crowds, n_clusters, n_features):
    """Centres nearer than 1 to others of their crowd, whose number is returned too."""
    middles = 10 * rng.normal(size=(n_crowds, n_features))
    crowd = rng.permutation(np.arange(n_clusters) % n_crowds)
    shifts = rng.normal(size=(n_clusters, n_features))
    shifts *= 0.4 / np.linalg.norm(shifts, axis=1)[:, np.newaxis]
    return middles[crowd] + shifts, crowd


def half_norms_of(centers):
    return np.append(0.5 * (centers**2).sum(axis=1), np.inf).astype(np.float32)


def test_crowds_are_groups():
    rng = np.random.default_rng(0)
    centers, crowd = crowds(rng, 60, 600, 20)
    groups = group_centers(centers, half_norms_of(centers), 1.0, 100_000)
    together = groups.numbers[:, np.newaxis] == groups.numbers
    np.testing.assert_array_equal(together, crowd[:, np.newaxis] == crowd)
    np.testing.assert_array_equal(groups.order[groups.places], np.arange(600))
    # Each centre lies in one of its group's blocks, which are no more than these touch.
    block = groups.places // BLOCK
    first = groups.firsts[groups.numbers]
    assert (block >= first).all()
    assert (block < first + groups.counts[groups.numbers]).all()
    for group in range(60):
        touched = np.unique(block[groups.numbers == group])
        assert groups.counts[group] == len(touched)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n_features", [16, 77, 200])
def test_groups_have_the_first_leader_within_reach(n_features, dtype):
    """Of centres that overlap, whose squared distances are whole numbers."""
    rng = np.random.default_rng(4)
    centers = rng.integers(3, size=(300, n_features)).astype(dtype)
    centers[100:] = centers[rng.integers(100, size=200)]
    centers[np.arange(300), rng.integers(n_features, size=300)] += 2
    square = np.median(cdist(centers, centers)) ** 2 // 2
    leaders, expected = [], []
    for center in centers:
        near = [i for i, leader in enumerate(leaders) if ((center - leader) ** 2).sum() <= square]
        expected.append(near[0] if near else len(leaders))
        if not near:
            leaders.append(center)
    numbers = np.full(300, -1, np.int32)
    assert _find_groups(centers, square, len(leaders), numbers) == len(leaders)
    assert 20 < len(leaders) < 280
    np.testing.assert_array_equal(numbers, expected)
    assert _find_groups(centers, square, len(leaders) - 1, numbers) == len(leaders)


def test_crowds_of_a_group():
    """Each group's centres lie in three places."""
    rng = np.random.default_rng(3)
    middles, group = crowds(rng, 60, 180, 24)
    place = rng.permutation(np.append(np.arange(180), rng.integers(180, size=420)))
    centers = middles[place] + 0.01 * rng.normal(size=(600, 24))
    groups = group_centers(centers, half_norms_of(centers), 1.0, 100_000)
    together = groups.numbers[:, np.newaxis] == groups.numbers
    np.testing.assert_array_equal(together, group[place][:, np.newaxis] == group[place])
    found, means, radii = crowd_centers(centers, groups, 0.01)
    assert len(found.groups) == len(means) == len(radii) == 180
    np.testing.assert_array_equal(np.sort(found.members), np.arange(600))
    for i in range(180):
        members = found.members[found.ends[i] : found.ends[i + 1]]
        np.testing.assert_array_equal(np.sort(members), np.flatnonzero(place == place[members[0]]))
        assert (groups.numbers[members] == found.groups[i]).all()
        mean = centers[members].mean(axis=0)
        np.testing.assert_allclose(means[i], mean, rtol=1e-12, atol=1e-12)
        radius = np.linalg.norm(centers[members] - mean, axis=1).max()
        np.testing.assert_allclose(radii[i], radius, atol=1e-12)
    assert (np.diff(radii) >= 0).all()
    assert crowd_centers(centers, groups, 1e-6) is None  # each of them is one by itself


@pytest.mark.parametrize("dtype", DTYPES)
def test_share_of_rows_that_crowds_leave_open(dtype):
    """The score of a crowd's mean may be off by its radius, and by a row's length in codes."""
    rng = np.random.default_rng(5)
    n_features, n_clusters, scale = 30, 640, 0.5
    centers, _ = crowds(rng, 40, n_clusters, n_features)
    # Rows from near one centre to halfway between two.
    away = np.linspace(0, 0.5, 50)[:, np.newaxis] * (centers[50:100] - centers[:50])
    X = (centers[:50] + away).astype(dtype)
    origin = X.mean(axis=0).astype(np.float64)
    labels = cdist(X, centers).argmin(axis=1).astype(np.int32)
    negated = -(centers - origin) * scale
    groups = group_centers(negated, half_norms_of(negated), 0.25, 10**6)
    found, means, radii = crowd_centers(negated, groups, 0.25)
    rows = np.arange(1, 50, 3)
    x = (X[rows] - origin) * scale
    lengths = np.linalg.norm(means, axis=1)
    scores = 0.5 * lengths**2 + x @ means.T
    scores -= np.linalg.norm(x, axis=1)[:, np.newaxis] * (radii + lengths / 64)
    own = 0.5 * ((x + negated[labels[rows]]) ** 2).sum(axis=1) - 0.5 * (x**2).sum(axis=1)
    margins = scores - own[:, np.newaxis]
    margins[groups.numbers[labels[rows]][:, np.newaxis] == found.groups] = np.inf
    least = margins.min(axis=1)
    assert np.abs(least).min() > 1e-3  # no matter of rounding
    shift = np.zeros(n_features + LANES, dtype)
    shift[:n_features] = -origin * scale
    opened = share_opened(
        X, rows, labels, dtype(scale), shift, centers, groups, found, means, radii
    )
    assert opened == np.mean(least <= 0)
    assert 0 < opened < 1


@pytest.mark.parametrize(
    ("n_crowds", "n_clusters", "n_rows"),
    [
        (700, 700, 10**6),  # found by the first centres
        (390, 400, 10**6),  # by all of them
        (3, 600, 10**6),  # too large to spare much
        (60, 600, 3000),  # too much work for so few rows
    ],
)
def test_no_groups(n_crowds, n_clusters, n_rows):
    centers, _ = crowds(np.random.default_rng(1), n_crowds, n_clusters, 20)
    groups = group_centers(centers, half_norms_of(centers), 1.0, n_rows)
    assert len(groups.order) == 0
    assert (groups.numbers == 0).all()
    assert groups.counts.tolist() == [0]


@kernel
def _compare(X, rows, n_lanes, scale, shift, packed, numbers, groups, away, outers, labels, found):
    norms, best, second, nearest = found
    xs = aligned_empty(row_values(X.shape[1]) * TILE)
    scores = aligned_empty(n_scores(groups, away) * TILE)
    xs[:] = scores[:] = np.float32(np.nan)
    return compare_with_groups(
        X, rows, n_lanes, scale, shift, packed, numbers, groups, away, outers, labels, xs, scores,
        norms, best, second, nearest,
    )  # fmt: skip


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n_features", [16, 40, 77])
@pytest.mark.parametrize("n_clusters", [398, 600])
def test_rows_are_compared_with_their_group_and_fast_centers(n_clusters, n_features, dtype):
    rng = np.random.default_rng(n_features)
    centers, _ = crowds(rng, 50, n_clusters, n_features)
    labels = rng.integers(n_clusters, size=80).astype(np.int32)
    X = (centers[labels] + rng.normal(size=(80, n_features))).astype(dtype)
    origin, scale = X.mean(axis=0, dtype=float), 0.125
    shift = np.zeros(n_features + 16, dtype)
    shift[:n_features] = -origin * scale
    negated = np.empty((n_clusters + 1, n_features), np.float32)
    half_norms = np.empty(n_clusters + 1, np.float32)
    radius = pack_centers(centers, origin, scale, negated, half_norms)
    error = row_error(n_features)
    packed = EuclideanPacked(
        negated, half_norms, exact_layout(centers), error, np.float32(radius * 1.001)
    )
    groups = group_centers(centers, half_norms, 1.0, 10**6)
    assert len(groups.order) > 0
    numbers = np.full(-(-n_clusters // BLOCK) * BLOCK, n_clusters, np.int32)
    numbers[:n_clusters] = groups.order
    # Some of the fast ones are in some rows' groups.
    fast = np.append(labels[:3], rng.choice(np.setdiff1d(np.arange(n_clusters), labels), 5))
    away = Away(fast.astype(np.int32), np.array([9.0, 9.0, 0.25]), 9.0)
    rows = rng.choice(80, TILE, replace=False).astype(np.int32)
    outers = rng.uniform(0.2, 3, size=80).astype(np.float32)
    found = (*(aligned_empty(TILE) for _ in range(3)), np.empty(TILE, np.int32))
    n_lanes = TILE - 5
    within = _compare(
        X, rows, n_lanes, dtype(scale), shift, packed, numbers, groups, away, outers, labels, found
    )
    norms, best, second, nearest = found
    scaled = (X.astype(float) - origin) * scale
    distances = scale**2 * cdist(X.astype(float), centers, "sqeuclidean")
    block = groups.places // BLOCK
    compared = 0
    for lane, row in enumerate(rows):
        if lane >= n_lanes or outers[row] <= 0.25:
            assert norms[lane] == best[lane] == second[lane] == 0
            continue
        compared += 1
        group = groups.numbers[labels[row]]
        in_own = (block >= groups.firsts[group]) & (
            block < groups.firsts[group] + groups.counts[group]
        )
        in_own[fast] = True
        square = (scaled[row] ** 2).sum()
        scores = 0.5 * (distances[row] - square)
        order = np.argsort(np.where(in_own, scores, np.inf))
        bound = 0.5 * ((outers[row] - 0.25) ** 2 - square)
        slack = 4 * error * (square + radius**2)
        np.testing.assert_allclose(norms[lane], square, rtol=2 * error)
        np.testing.assert_allclose(best[lane], scores[order[0]], atol=slack)
        np.testing.assert_allclose(second[lane], min(scores[order[1]], bound), atol=slack)
        if scores[order[1]] - scores[order[0]] > 2 * slack:
            assert nearest[lane] == order[0]
        if abs(bound - scores[order[1]]) > 2 * slack:
            assert ((int(within) >> lane) & 1) == (scores[order[1]] < bound)
    assert compared > 40


@kernel
def _sort(rows, n_listed, labels, groups, order):
    ends = np.empty(len(groups.counts) + 1, np.int32)
    sort_by_group(rows, n_listed, labels, groups, ends, order)


def test_rows_in_the_order_of_their_groups():
    rng = np.random.default_rng(2)
    centers, _ = crowds(rng, 50, 600, 10)
    groups = group_centers(centers, half_norms_of(centers), 1.0, 10**6)
    labels = rng.integers(600, size=900).astype(np.int32)
    rows = rng.permutation(900)[:700].astype(np.int32)
    order = np.full(700, -1, np.int32)
    _sort(rows, 650, labels, groups, order)
    expected = np.argsort(groups.numbers[labels[rows[:650]]], kind="stable")
    np.testing.assert_array_equal(order[:650], expected)
    assert (order[650:] == -1).all()
