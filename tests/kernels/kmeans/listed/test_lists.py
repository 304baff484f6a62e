"""Passes that compare rows with the centres on their lists, on rows and steps that are hard."""

import numpy as np
import pytest
from clustering_passes import (
    DTYPES,
    center_sequence,
    check_pass,
    drifting,
    frame_for,
    in_units_of,
    shorter_steps,
)
from hard_rows import KINDS

from fastem import KMeans
from fastem.kernels.clusters import Frame
from fastem.kernels.kmeans import choose
from fastem.kernels.kmeans.active import Active
from fastem.kernels.kmeans.hamerly import Hamerly
from fastem.kernels.kmeans.listed.lists import Lists


def check_lists(tested, X, centers):
    """No centre off a row's list is nearer than what is kept of them says."""
    rows, points = in_units_of(tested, X, centers)
    distances = np.sqrt(((rows[:, np.newaxis] - points) ** 2).sum(axis=-1))
    distances[np.arange(len(X))[:, np.newaxis], tested._near] = np.inf
    assert (tested._others - tested._total <= distances.min(axis=1) * (1 + 1e-14)).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(700, 33, 130), (650, 70, 256), (900, 13, 17), (300, 128, 40)])
def test_passes(shape, kind, dtype):
    n_rows, n_features, n_clusters = shape
    rng = np.random.default_rng(0)
    X = kind(rng, n_rows, n_features).astype(dtype)
    tested = Lists(X, None, n_clusters, frame_for(Lists, X))
    assert tested._may_list
    labels = tested.labels.copy()
    for centers in shorter_steps(rng, X, n_clusters):
        labels = check_pass(tested, X, None, centers, labels)
        if np.abs(X).max() < 1e12:
            check_lists(tested, X, centers)


@pytest.mark.parametrize("weighting", ["none", "some zero"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_steps_and_leaps(dtype, weighting):
    rng = np.random.default_rng(1)
    X = (rng.normal(size=(900, 20)) + 3).astype(dtype)
    sample_weight = None
    if weighting == "some zero":
        sample_weight = rng.uniform(size=900) * (rng.uniform(size=900) < 0.7)
    tested = Lists(X, sample_weight, 70, frame_for(Lists, X))
    labels = tested.labels.copy()
    for centers in center_sequence(X, 70, rng):
        labels = check_pass(tested, X, sample_weight, centers, labels)
        check_lists(tested, X, centers)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n_fast", [0, 1, 5, 8, 9, 30])
def test_some_centers_are_faster(n_fast, dtype):
    """They come from afar, too, onto rows that have never listed them."""
    rng = np.random.default_rng(n_fast)
    X = rng.normal(size=(1500, 16)).astype(dtype)
    tested = Lists(X, None, 60, frame_for(Lists, X))
    labels = tested.labels.copy()
    centers = X[:60].astype(float)
    for _ in range(8):
        fast = rng.choice(60, n_fast, replace=False)
        centers = centers + 1e-3 * rng.normal(size=centers.shape)
        centers[fast] = X[rng.choice(1500, n_fast)] + 0.1 * rng.normal(size=(n_fast, 16))
        given = centers.astype(dtype).astype(float)
        labels = check_pass(tested, X, None, given, labels)
        check_lists(tested, X, given)


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_nearest_are_eight_centers_apart(dtype):
    """All near centres are among every eighth, of which two each are looked at."""
    rng = np.random.default_rng(2)
    X = rng.normal(size=(500, 16)).astype(dtype)
    tested = Lists(X, None, 203, frame_for(Lists, X))
    labels = tested.labels.copy()
    centers = 10 * rng.normal(size=(203, 16))
    centers[3::8] = 0.3 * rng.normal(size=centers[3::8].shape)
    for _ in range(5):
        centers = centers + 0.03 * rng.normal(size=centers.shape)
        given = centers.astype(dtype).astype(float)
        labels = check_pass(tested, X, None, given, labels)
        check_lists(tested, X, given)


@pytest.mark.parametrize("dtype", DTYPES)
def test_ties_go_to_the_lowest(dtype):
    """Small integers, where float64 is exact, and every centre four times."""
    rng = np.random.default_rng(3)
    X = rng.integers(-2, 3, (900, 20)).astype(dtype)
    tested = Lists(X, None, 40, Frame(np.zeros(20), 0.125))
    labels = tested.labels.copy()
    for _ in range(5):
        centers = np.tile(rng.integers(-2, 3, (10, 20)), (4, 1)).astype(float)
        labels = check_pass(tested, X, None, centers, labels, exact=True)
        assert labels.max() < 10


@pytest.mark.parametrize("dtype", DTYPES)
def test_far_centers_and_rows_without_numbers(dtype):
    """Their scores are infinite, or none."""
    rng = np.random.default_rng(4)
    X = rng.normal(size=(600, 16)).astype(dtype)
    frame = frame_for(Lists, X)
    X[5, 7], X[100, 0], X[200] = np.nan, np.inf, -np.inf
    tested, twin = (one(X, None, 210, frame) for one in (Lists, Hamerly))
    centers = rng.normal(size=(210, 16))
    for far in (0, 0, 5, 190, 190, 0, 0):
        given = centers.copy()
        given[210 - far :] *= 1e25
        tested.label_rows(given)
        twin.label_rows(given)
        np.testing.assert_array_equal(tested.labels, twin.labels)
        assert (tested._near < 210).all()
        centers = centers + 1e-2 * rng.normal(size=centers.shape)


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_same_bits_as_hamerly(dtype):
    """Rows that move are listed in the same order: their sums are rounded alike."""
    rng = np.random.default_rng(5)
    X = rng.normal(size=(6000, 16)).astype(dtype)
    tested, twin = (one(X, None, 80, frame_for(one, X)) for one in (Lists, Hamerly))
    for centers in drifting(rng, X, 80, 12, 1e-2):
        statistics, expected = tested.assign(centers), twin.assign(centers)
        np.testing.assert_array_equal(tested.labels, twin.labels)
        np.testing.assert_array_equal(statistics.sums, expected.sums)
        assert statistics.n_changed == expected.n_changed
    # Lists are made, and hold while centres drift.
    assert (tested._others > tested._total).mean() > 0.5


def test_a_fit_is_that_of_lloyd():
    X = np.random.default_rng(6).normal(size=(4000, 24))
    fits = [KMeans(40, init=X[:40], n_init=1, algorithm=name).fit(X) for name in ("lists", "lloyd")]
    assert fits[0].n_iter_ == fits[1].n_iter_ > 10
    np.testing.assert_array_equal(fits[0].cluster_centers_, fits[1].cluster_centers_)


@pytest.mark.parametrize("shape", [(500, 16, 16), (500, 16, 257), (500, 12, 60)])
def test_few_or_many_clusters_and_short_rows_are_left_to_hamerly(shape):
    n_rows, n_features, n_clusters = shape
    X = np.random.default_rng(7).normal(size=(n_rows, n_features)).astype(np.float32)
    assert not Lists(X, None, n_clusters, frame_for(Lists, X))._may_list


def test_is_chosen_for_much_work_where_it_takes_little_memory():
    for dtype in DTYPES:
        assert choose("auto", 200_000, 64, 100, dtype, sparse=False) is Lists
        assert choose("auto", 300_000, 16, 256, dtype, sparse=False) is Lists
        assert choose("auto", 500_000, 16, 64, dtype, sparse=False) is Hamerly
        assert choose("auto", 10_000, 64, 100, dtype, sparse=False) is Hamerly
        assert choose("auto", 60_000, 200, 200, dtype, sparse=False) is Lists
        assert choose("auto", 60_000, 300, 64, dtype, sparse=False) is Hamerly
        assert choose("auto", 40_000, 400, 200, dtype, sparse=False) is Active
        assert choose("elkan", 10_000, 64, 100, dtype, sparse=False) is Hamerly


@pytest.mark.parametrize("dtype", DTYPES)
def test_what_is_kept_is_less_than_a_quarter_of_the_rows(dtype):
    X = np.random.default_rng(8).normal(size=(2000, 16)).astype(dtype)
    tested = Lists(X, None, 40, frame_for(Lists, X))
    assert tested._near.nbytes + tested._others.nbytes < X.nbytes / 4
