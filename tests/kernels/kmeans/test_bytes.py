"""Passes that compare in bytes first, on rows and centres that are hard for bytes."""

import numpy as np
import pytest
from clustering_passes import DTYPES, check_pass, drifting, frame_for
from hard_rows import KINDS, mixture
from scipy.spatial.distance import cdist

from fastem import KMeans
from fastem.kernels.clusters import Frame
from fastem.kernels.kmeans import bytes as algorithm
from fastem.kernels.kmeans import choose
from fastem.kernels.kmeans.active import Active
from fastem.kernels.kmeans.bytes import Bytes
from fastem.kernels.vectors.machine import BYTE_DOTS


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(700, 33, 130), (650, 70, 257)])
def test_passes(shape, kind, dtype):
    n_rows, n_features, n_clusters = shape
    rng = np.random.default_rng(0)
    X = kind(rng, n_rows, n_features).astype(dtype)
    tested = Bytes(X, None, n_clusters, frame_for(Bytes, X))
    labels = tested.labels.copy()
    size = np.abs(X).mean(axis=0, dtype=float)
    centers = X[rng.choice(n_rows, n_clusters, replace=False)].astype(float)
    for step in (0.0, 0.1, 0.01, 0.001):
        centers = centers + step * size * rng.normal(size=centers.shape)
        labels = check_pass(tested, X, None, centers.astype(dtype).astype(float), labels)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n_features", [20, 70])
def test_ties_go_to_the_lowest(n_features, dtype):
    """Small integers, where float64 is exact, and every centre four times."""
    rng = np.random.default_rng(1)
    X = rng.integers(-2, 3, (900, n_features)).astype(dtype)
    tested = Bytes(X, None, 120, Frame(np.zeros(n_features), 0.125))
    labels = tested.labels.copy()
    for _ in range(3):
        centers = np.tile(rng.integers(-2, 3, (30, n_features)), (4, 1)).astype(float)
        labels = check_pass(tested, X, None, centers, labels, exact=True)
        assert labels.max() < 30


@pytest.mark.parametrize("dtype", DTYPES)
def test_more_candidates_than_there_is_room_for(dtype):
    """A tenth of the rows has 300 centres that bytes can't tell apart."""
    rng = np.random.default_rng(2)
    X = 5 * rng.normal(size=(1500, 40))
    X[::10] = X[0] + 0.5 * rng.normal(size=(150, 40))
    X = X.astype(dtype)
    tested = Bytes(X, None, 600, frame_for(Bytes, X))
    labels = tested.labels.copy()
    crowd = X[0] + 1e-3 * rng.normal(size=(300, 40))
    for _ in range(3):
        others = X[rng.choice(1500, 300, replace=False)] + 0.1 * rng.normal(size=(300, 40))
        centers = np.concatenate([crowd, others]).astype(dtype).astype(float)
        labels = check_pass(tested, X, None, centers, labels)
    if BYTE_DOTS:
        n_failed, _, n_left = tested._left.sum(axis=0)
        assert 0 < n_left < n_failed
        assert tested._use_bytes


@pytest.mark.parametrize("n_features", [15, 31, 63])
def test_every_addition_rounds_the_wrong_way(n_features):
    """Of products that are 1.49 units of their sum, which are lost, or 1.51 and 0.51: some more."""
    row = np.full(n_features, 0.5)
    row[0] = 32.0
    X = np.tile(row, (100, 1)).astype(np.float32)
    others = np.zeros((6, n_features))
    others[:, 0] = np.linspace(-0.5, -0.75, 6) / row[0]
    for n_more in range(n_features):
        pair = np.full((2, n_features), 1.49)
        pair[1, 1:] = 0.51
        pair[1, 1 : 1 + n_more] = 1.51
        pair *= 2.0**-22
        pair[:, 0] = 1 / row[0]
        for order in (1, -1):
            centers = np.concatenate([pair[::order], others]).astype(np.float32).astype(float)
            distances = ((X[0].astype(np.longdouble) - centers) ** 2).sum(axis=1)
            tested = Bytes(X, None, len(centers), Frame(np.zeros(n_features), 1.0))
            tested.assign(centers)
            assert (tested.labels == distances.argmin()).all()


def test_gives_up_where_bytes_leave_too_many():
    rng = np.random.default_rng(3)
    X = rng.normal(size=(1000, 40))
    tested = Bytes(X, None, 300, frame_for(Bytes, X))
    labels = tested.labels.copy()
    for _ in range(3):
        centers = 1e-4 * rng.normal(size=(300, 40))
        labels = check_pass(tested, X, None, centers, labels)
    assert not tested._use_bytes


N_CROWDS, N_CLUSTERS = 50, 401


def crowds_of_clusters(n_features, dtype):
    """Rows, and centres eight a crowd: most others are far from a row."""
    rng = np.random.default_rng(5)
    crowds = 1.5 * rng.normal(size=(N_CROWDS, n_features))
    X = crowds[rng.integers(N_CROWDS, size=12000)]
    X = (X + rng.normal(size=X.shape)).astype(dtype)
    centers = crowds[np.arange(N_CLUSTERS) % N_CROWDS]
    centers = rng.permutation(centers + 0.3 * rng.normal(size=centers.shape))
    return rng, X, centers


def check_labels(tested, X, centers, labels_before):
    """One pass against NumPy; how many rows were compared with less than all centres."""
    statistics = tested.assign(centers)
    distances = cdist(X.astype(float), centers, "sqeuclidean")
    labels = distances.argmin(axis=1)
    np.testing.assert_array_equal(tested.labels, labels)
    assert statistics.n_changed == (labels != labels_before).sum()
    inertia = distances.min(axis=1).sum()
    np.testing.assert_allclose(tested.inertia(centers), inertia, rtol=1e-11)
    n_failed, n_opened, _ = tested._left.sum(axis=0)
    return labels, n_failed - n_opened


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n_features", [40, 70])
def test_rows_are_compared_with_their_group(n_features, dtype):
    """Small steps, leaps to rows and so to other crowds, by a few and by many; twins."""
    rng, X, centers = crowds_of_clusters(n_features, dtype)
    tested = Bytes(X, None, N_CLUSTERS, frame_for(Bytes, X))
    labels, closed = tested.labels.copy(), []
    for n_leaps in (0, 0, 0, 1, 0, 5, 0, 30, 0, 200, 0, 0):
        leaping = rng.choice(N_CLUSTERS, n_leaps, replace=False)
        centers[leaping] = X[rng.choice(len(X), n_leaps)] + 0.01 * rng.normal(size=n_features)
        centers = centers + 0.005 * rng.normal(size=centers.shape)
        centers = centers.astype(dtype).astype(float)
        centers[300] = centers[20]
        changed = labels
        labels, n_closed = check_labels(tested, X, centers, labels)
        assert (labels != changed).sum() > 50 * (n_leaps > 1)
        closed.append(n_closed)
    if BYTE_DOTS:
        assert max(closed[2:4]) > 3000  # after small steps
        assert closed[5] > 1000  # after leaps of a few


@pytest.mark.parametrize("far", [1.0, 1e7])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n_features", [40, 70])
def test_rows_are_compared_with_crowds(n_features, dtype, far):
    """Where centres are so near each other that their mean tells, as soon as rows have labels."""
    rng = np.random.default_rng(6)
    places = 2.0 * rng.normal(size=(N_CROWDS, n_features))
    X = places[rng.integers(N_CROWDS, size=12000)]
    X = (X + rng.normal(size=X.shape)).astype(dtype)
    centers = places[np.arange(N_CLUSTERS) % N_CROWDS]
    centers = rng.permutation(centers + 0.05 * rng.normal(size=centers.shape))
    centers[17] = centers[20]
    centers[30:34] = 0.5 * (places[:4] + places[4:8])  # between crowds, which some rows are near
    X[5:105] = centers[30 + np.arange(100) % 4] + rng.normal(size=(100, n_features))
    frame = frame_for(Bytes, X)
    X[200::500] *= dtype(far)  # perhaps beyond what bytes hold
    tested = Bytes(X, None, N_CLUSTERS, frame)
    labels, closed = tested.labels.copy(), []
    for n_pass in range(4):
        if n_pass == 2:
            centers[40:60] = rng.permutation(centers[40:60])  # to other crowds
        centers = (centers + 1e-3 * rng.normal(size=centers.shape)).astype(dtype).astype(float)
        labels, n_closed = check_labels(tested, X, centers, labels)
        closed.append(n_closed if tested._grouping.crowds is not None else 0)
    if BYTE_DOTS:
        assert closed[1] > 2000
        assert closed[2] > 11000


@pytest.mark.parametrize("dtype", DTYPES)
def test_rows_beyond_what_bytes_hold_beside_groups(dtype):
    """They are compared in float32; nothing is said of their distances beyond their group."""
    rng, X, centers = crowds_of_clusters(40, dtype)
    frame = frame_for(Bytes, X)
    X[::100] *= 1e7
    tested = Bytes(X, None, N_CLUSTERS, frame)
    labels, closed = tested.labels.copy(), []
    for _ in range(5):
        centers = centers + 0.005 * rng.normal(size=centers.shape)
        labels, n_closed = check_labels(tested, X, centers.astype(dtype).astype(float), labels)
        closed.append(n_closed)
        assert not BYTE_DOTS or (tested._grouping.outers[::100] == 0).all()
    if BYTE_DOTS:
        assert max(closed) > 3000


@pytest.mark.parametrize("dtype", DTYPES)
def test_rows_that_change_their_group_unseen(dtype):
    """In a pass that bytes take no part in, with a centre far beyond what they hold."""
    rng, X, centers = crowds_of_clusters(40, dtype)
    tested = Bytes(X, None, N_CLUSTERS, frame_for(Bytes, X))
    labels, closed = tested.labels.copy(), []
    for n_pass in range(7):
        centers = centers + 0.005 * rng.normal(size=centers.shape)
        given = centers.astype(dtype).astype(float)
        if n_pass == 4:  # most rows are in another crowd
            given = np.roll(given, 1, axis=0)
            given[7] = 1e18
        labels, n_closed = check_labels(tested, X, given, labels)
        closed.append(n_closed)
    if BYTE_DOTS:
        assert max(closed[:4]) > 3000


@pytest.mark.parametrize("dtype", DTYPES)
def test_fits_with_groups_and_empty_clusters(dtype, monkeypatch):
    """Bit for bit those without bytes, which relocate and weigh alike; some rows weigh nothing."""
    rng, X, centers = crowds_of_clusters(40, dtype)
    weights = rng.uniform(size=len(X)) * (rng.uniform(size=len(X)) < 0.8)
    centers[[30, 31, 32]] = 40.0  # empty, these
    counted = []
    compare = Bytes._compare

    def count(self, packed):
        compare(self, packed)
        counted.append(self._left[:, 0].sum() - self._left[:, 1].sum())

    monkeypatch.setattr(Bytes, "_compare", count)
    fits = [
        KMeans(N_CLUSTERS, init=centers, algorithm=name, max_iter=25, tol=0).fit(
            X, sample_weight=weights
        )
        for name in ("bytes", "active")
    ]
    found, expected = fits
    np.testing.assert_array_equal(found.labels_, expected.labels_)
    np.testing.assert_array_equal(found.cluster_centers_, expected.cluster_centers_)
    assert found.inertia_ == expected.inertia_
    assert len(np.unique(found.labels_)) == N_CLUSTERS
    if BYTE_DOTS:
        assert sum(n > 1000 for n in counted) > 3


def test_narrow_rows_are_not_compared_with_groups():
    rng, X, centers = crowds_of_clusters(5, np.float64)
    tested = Bytes(X, None, N_CLUSTERS, frame_for(Bytes, X))
    labels = tested.labels.copy()
    for _ in range(3):
        labels, n_closed = check_labels(tested, X, centers, labels)
        centers = centers + 0.005 * rng.normal(size=centers.shape)
        assert n_closed == 0


def test_centers_without_groups_are_not_grouped():
    rng = np.random.default_rng(6)
    X = rng.normal(size=(3000, 50))
    tested = Bytes(X, None, 300, frame_for(Bytes, X))
    labels = tested.labels.copy()
    for centers in drifting(rng, X, 300, 4, 1e-3):
        labels = check_pass(tested, X, None, centers, labels)
    assert len(tested._grouping.groups.order) == 0


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_same_bits_as_without_bytes(dtype, monkeypatch):
    """Rows that move are listed in the same order: their sums are rounded alike."""
    rng = np.random.default_rng(4)
    X = mixture(rng, 3000, 48).astype(dtype)
    tested = Bytes(X, None, 200, frame_for(Bytes, X))
    monkeypatch.setattr(algorithm, "BYTE_DOTS", False)
    off = Bytes(X, None, 200, frame_for(Bytes, X))
    twin = Active(X, None, 200, frame_for(Bytes, X))
    assert not off._use_bytes
    for centers in drifting(rng, X, 200, 8, 1e-2):
        expected = twin.assign(centers)
        for other in (tested, off):
            statistics = other.assign(centers)
            np.testing.assert_array_equal(other.labels, twin.labels)
            np.testing.assert_array_equal(statistics.sums, expected.sums)
            assert statistics.n_changed == expected.n_changed


def test_is_chosen_where_the_cpu_multiplies_bytes():
    chosen = choose("auto", 200_000, 96, 4096, np.float32, sparse=False)
    assert chosen is (Bytes if BYTE_DOTS else Active)
    for n_rows, n_features, n_clusters in ((200_000, 8, 4096), (200_000, 700, 64), (500, 96, 400)):
        assert choose("auto", n_rows, n_features, n_clusters, np.float32, sparse=False) is Active
