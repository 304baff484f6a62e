"""Passes over tiles of neighbouring rows, on rows whose boxes round badly."""

import tracemalloc

import numpy as np
import pytest
from clustering_passes import DTYPES, center_sequence, check_pass, drifting, frame_for
from hard_rows import KINDS
from reference import cluster_statistics, squared_distances

from fastem import KMeans
from fastem.kernels.clusters import Frame
from fastem.kernels.kmeans import Lloyd, choose, filtering
from fastem.kernels.kmeans.filtering import Filtering

# Rows, features, clusters: tiles and families of tiles that are filled, and others.
SHAPES = [
    (1, 1, 1), (3, 2, 3), (64, 1, 2), (1024, 2, 3), (700, 2, 30), (1100, 3, 65), (2500, 4, 17),
    (999, 8, 17),
]  # fmt: skip


@pytest.fixture
def always(monkeypatch):
    """Arrange the rows before the second pass, whatever moves."""
    monkeypatch.setattr(filtering, "_WORTH", 0.0)


@pytest.mark.parametrize("weighting", ["none", "some zero"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_steps_and_leaps(shape, dtype, weighting, always):
    n_rows, n_features, n_clusters = shape
    rng = np.random.default_rng(sum(shape))
    X = (rng.normal(size=(n_rows, n_features)) + 3).astype(dtype)
    sample_weight = None
    if weighting == "some zero":
        sample_weight = rng.uniform(size=n_rows) * (rng.uniform(size=n_rows) < 0.7)
    tested = Filtering(X, sample_weight, n_clusters, frame_for(Filtering, X))
    labels = tested.labels.copy()
    for centers in center_sequence(X, n_clusters, rng):
        labels = check_pass(tested, X, sample_weight, centers, labels)
    assert tested._tiles is not None


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n_features", [1, 2, 3, 8])
def test_hard_rows(n_features, kind, dtype, always):
    rng = np.random.default_rng(n_features)
    X = kind(rng, 1500, n_features).astype(dtype)
    tested = Filtering(X, None, 20, frame_for(Filtering, X))
    labels = tested.labels.copy()
    size = np.abs(X).mean(axis=0, dtype=float)
    centers = np.unique(X, axis=0).astype(float)
    centers = centers[rng.integers(len(centers), size=20)]
    for step in (0.0, 0.1, 0.1, 0.01, 0.001):
        centers = centers + step * size * rng.normal(size=centers.shape)
        labels = check_pass(tested, X, None, centers.astype(dtype).astype(float), labels)


@pytest.mark.parametrize("dtype", DTYPES)
def test_ties_go_to_the_lowest(dtype, always):
    """Small integers, where float64 is exact, and every centre four times."""
    rng = np.random.default_rng(2)
    X = rng.integers(-4, 5, (3000, 3)).astype(dtype)
    tested = Filtering(X, None, 12, Frame(np.zeros(3), 0.125))
    labels = tested.labels.copy()
    for _ in range(4):
        centers = np.tile(rng.integers(-4, 5, (3, 3)), (4, 1)).astype(float)
        labels = check_pass(tested, X, None, centers, labels, exact=True)
        assert labels.max() < 3


@pytest.mark.parametrize("dtype", DTYPES)
def test_near_centres_beside_rows_as_far_as_float32_reaches(dtype, always):
    """Centres so near the origin, in units of the rows' spread, that their squares vanish."""
    rng = np.random.default_rng(3)
    X = rng.normal(size=(1000, 2)) * 2.0**-76
    X[::100] = rng.normal(size=(10, 2))
    X = X.astype(dtype)
    centers = (rng.normal(size=(9, 2)) * 2.0**-76).astype(dtype).astype(float)
    weights = np.where(np.arange(1000) % 100 == 0, 0.0, 1.0)
    tested = Filtering(X, weights, 9, Frame(np.zeros(2), 1.0))
    tested.label_rows(centers)
    tested.label_rows(centers)
    # Of the far rows, the distances are all the same to float64.
    near = weights > 0
    distances = squared_distances(X[near].astype(float), centers)
    own = distances[np.arange(len(distances)), tested.labels[near]]
    np.testing.assert_allclose(own, distances.min(axis=1), rtol=1e-12)


@pytest.mark.parametrize("dtype", DTYPES)
def test_most_tiles_of_clusters_apart_are_not_looked_at(dtype, always, monkeypatch):
    rng = np.random.default_rng(4)
    places = rng.permutation(np.indices((4, 4, 4)).reshape(3, -1).T * 20.0)[:30]
    X = (places[rng.integers(30, size=20_000)] + rng.normal(size=(20_000, 3))).astype(dtype)
    tested = Filtering(X, None, 30, frame_for(Filtering, X))
    labels = tested.labels.copy()
    for _ in range(2):
        labels = check_pass(tested, X, None, places, labels)
    owned = tested._tiles.owners >= 0
    assert owned.mean() > 0.9
    # With wrong rows in them, those tiles show whether the pass reads them.
    tested._tiles.values[owned] = 1e6
    tested.label_rows(places)
    np.testing.assert_array_equal(tested.labels, labels)


@pytest.mark.parametrize("dtype", DTYPES)
def test_heavy_rows_leave_no_error_behind_where_many_rows_move(dtype, always):
    """Each cluster's sums to its own rounding, though it had rows of 2**60 times the weight."""
    rng = np.random.default_rng(5)
    X = rng.uniform(size=(2000, 2)).astype(dtype)
    weights = rng.uniform(0.5, 1, size=2000)
    weights[::400] *= 2.0**60
    origin = np.full(2, -1.0)  # so that no sum is a small difference itself
    tested = Filtering(X, weights, 20, Frame(origin, 1.0))
    centers = X[rng.choice(2000, 20, replace=False)].astype(float)
    for _ in range(4):
        statistics = tested.assign(centers)
        labels = squared_distances(X.astype(float), centers).argmin(axis=1)
        sums, totals = cluster_statistics(X - origin, weights, labels, 20)
        np.testing.assert_allclose(statistics.weights, totals, rtol=1e-12)
        np.testing.assert_allclose(statistics.sums, sums, rtol=1e-12)
        centers = centers[rng.permutation(20)]


def test_sums_of_many_clusters_are_small_beside_the_rows(always):
    """Of a pass over arranged rows there stay a copy, 8 bytes a row, and little else."""
    rng = np.random.default_rng(6)
    X = rng.normal(size=(200_000, 4))
    centers = X[:1500]
    for rows in (X[:2000], X):  # few at first, to compile what is called
        tested = Filtering(rows, None, len(centers), Frame(np.zeros(4), 1.0))
        tested.label_rows(centers)
        tracemalloc.start()
        tested.label_rows(centers)
        kept, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert tested._tiles is not None
    assert kept < X.nbytes + 8 * len(X) + X.nbytes / 4


@pytest.mark.parametrize("dtype", DTYPES)
def test_fits_are_those_of_lloyd(dtype):
    rng = np.random.default_rng(7)
    X = (rng.normal(size=(6000, 3)) * [1, 20, 0.1] + 5).astype(dtype)
    weights = rng.integers(0, 3, 6000).astype(float)
    for sample_weight in (None, weights):
        fits = [
            KMeans(40, init=X[:40], algorithm=name, tol=0).fit(X, sample_weight=sample_weight)
            for name in ("lloyd", "filtering")
        ]
        assert fits[0].n_iter_ == fits[1].n_iter_ > 20
        np.testing.assert_array_equal(fits[0].labels_, fits[1].labels_)
        np.testing.assert_allclose(fits[0].inertia_, fits[1].inertia_, rtol=1e-12)


@pytest.mark.parametrize("dtype", DTYPES)
def test_begins_once_it_pays(dtype):
    rng = np.random.default_rng(8)
    X = rng.normal(size=(5000, 2)).astype(dtype)
    for n_clusters, size, expected in [(100, 0.1, 1), (8, 0.1, 13), (8, 0.0, None)]:
        tested = Filtering(X, None, n_clusters, frame_for(Filtering, X))
        begun = None
        for number, centers in enumerate(drifting(rng, X, n_clusters, 20, size)):
            tested.label_rows(centers)
            if begun is None and tested._tiles is not None:
                begun = number
        assert begun == expected


def test_is_lloyd_where_rows_are_wide_or_copies_large(monkeypatch, always):
    rng = np.random.default_rng(9)
    for shape, most in [((500, 9), 1 << 20), ((500, 3), 500 * 3 * 8 - 1)]:
        monkeypatch.setattr(filtering, "_MOST_BYTES", most)
        X = rng.normal(size=shape)
        tested, twin = (one(X, None, 6, frame_for(one, X)) for one in (Filtering, Lloyd))
        for centers in drifting(rng, X, 6, 4, 0.1):
            np.testing.assert_array_equal(tested.assign(centers).sums, twin.assign(centers).sums)
        assert tested._tiles is None


@pytest.mark.parametrize("dtype", DTYPES)
def test_is_chosen_for_few_features_and_much_work(dtype):
    for n_clusters in (8, 64, 300):
        assert choose("auto", 1_000_000, 2, n_clusters, dtype, sparse=False) is Filtering
    assert choose("auto", 1_000_000, 5, 8, dtype, sparse=False) is not Filtering
    assert choose("auto", 10_000, 2, 8, dtype, sparse=False) is Lloyd
    assert choose("auto", 100_000_000, 2, 8, dtype, sparse=False) is Lloyd
