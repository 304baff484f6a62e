"""Passes that compare in bytes first, on rows and centres that are hard for bytes."""

import numpy as np
import pytest
from clustering_passes import DTYPES, check_pass, drifting, frame_for
from hard_rows import KINDS, mixture

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
        n_failed, n_left = tested._left.sum(axis=0)
        assert 0 < n_left < n_failed
        assert tested._use_bytes


def test_gives_up_where_bytes_leave_too_many():
    rng = np.random.default_rng(3)
    X = rng.normal(size=(1000, 40))
    tested = Bytes(X, None, 300, frame_for(Bytes, X))
    labels = tested.labels.copy()
    for _ in range(3):
        centers = 1e-4 * rng.normal(size=(300, 40))
        labels = check_pass(tested, X, None, centers, labels)
    assert not tested._use_bytes


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
