"""What a seeder knows of the nearest seeds is what a pass over the rows would find."""

import numpy as np
import pytest
import reference
import scipy.sparse as sp
from clustering_passes import DTYPES

from fastem.kernels.clusters import Frame
from fastem.kernels.kmeans import Sparse
from fastem.kernels.seeding import sparse
from fastem.kernels.seeding.sparse import SparseGreedySeeder


def seeded(X, seeds, n_candidates=1, room=0, scale=1.0):
    """A seeder with given rows made seeds one after the other, each beside other candidates."""
    rng, X = np.random.default_rng(0), sp.csr_array(X)
    seeder = SparseGreedySeeder(X, None, scale, room)
    seeder.add(X[seeds[:1]])
    for seed in seeds[1:]:
        others = rng.choice(X.shape[0], n_candidates - 1)
        at = rng.integers(n_candidates)
        seeder.screen(X[np.insert(others, at, seed)])
        seeder.try_candidates(np.arange(n_candidates))
        seeder.accept(at)
    return seeder


def nearest(X, seeds, *args, **options):
    return seeded(X, seeds, *args, **options).nearest(sp.csr_array(X)[seeds])


def expected(X, seeds):
    return reference.squared_distances(X.astype(float), X[seeds].astype(float)).argmin(axis=1)


@pytest.fixture(autouse=True)
def however_many(monkeypatch):
    """Rows that rounding leaves open are compared again, however many they are."""
    monkeypatch.setattr(sparse, "_MOST_DOUBTFUL", 1)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("room", [0, 1 << 40])
@pytest.mark.parametrize("n_candidates", [1, 2, 7, 9])
def test_nearest_of_seeds(n_candidates, room, dtype):
    rng = np.random.default_rng(n_candidates)
    X = rng.normal(size=(900, 60)) * (rng.uniform(size=(900, 60)) < 0.2)
    X[::50] = 0
    X = X.astype(dtype)
    seeds = rng.choice(len(X), 21, replace=False)
    labels = nearest(X, seeds, n_candidates, room)
    np.testing.assert_array_equal(labels, expected(X, seeds))
    assert labels.dtype == np.int32


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n_candidates", [1, 5])
def test_the_first_of_equally_near_seeds(n_candidates, dtype):
    """Most rows are as near to several, and many are repeated."""
    rng = np.random.default_rng(0)
    X = rng.integers(-1, 2, size=(700, 7)).astype(dtype)
    seeds = rng.choice(len(X), 40, replace=False)
    distances = reference.squared_distances(X.astype(float), X[seeds].astype(float))
    assert ((distances == distances.min(axis=1)[:, np.newaxis]).sum(axis=1) > 1).mean() > 0.3
    labels = nearest(X, seeds, n_candidates)
    np.testing.assert_array_equal(labels, distances.argmin(axis=1))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("scale", [2.0**-20, 1.0, 2.0**20])
@pytest.mark.parametrize("step", [1e-4, 1e-6, 1e-7])
@pytest.mark.parametrize("order", [1, -1])
def test_seeds_so_close_that_rounding_would_decide(order, step, scale, dtype):
    rng = np.random.default_rng(0)
    points = rng.normal(size=(6, 40)) * (rng.uniform(size=(6, 40)) < 0.5)
    pairs = np.concatenate([points, points * (1 + step * rng.normal(size=points.shape))])
    rows = rng.normal(size=(800, 40)) * (rng.uniform(size=(800, 40)) < 0.5)
    X = (np.concatenate([pairs, rows]) / scale).astype(dtype)
    seeds = np.arange(12)[::order]
    labels = nearest(X, seeds, scale=scale)
    np.testing.assert_array_equal(labels, expected(X, seeds))


def test_none_where_many_are_left_open(monkeypatch):
    monkeypatch.setattr(sparse, "_MOST_DOUBTFUL", 1 / 256)
    X = np.random.default_rng(0).integers(-1, 2, size=(700, 7)).astype(float)
    assert nearest(X, np.arange(40)) is None


def test_none_where_distances_overflow():
    X = np.random.default_rng(0).normal(size=(100, 5))
    X[7] = 1e200
    assert nearest(X, np.arange(5)) is None


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_first_pass_begins_with_them(dtype):
    """The first pass takes the labels, the others go on as if they were its own."""
    rng = np.random.default_rng(0)
    X = (rng.normal(size=(900, 60)) * (rng.uniform(size=(900, 60)) < 0.2)).astype(dtype)
    seeds = rng.choice(len(X), 12, replace=False)
    rows, frame = sp.csr_array(X), Frame(np.zeros(60), 1.0)
    plain, known = (Sparse(rows, None, 12, frame) for _ in range(2))
    seeder = seeded(X, seeds)
    known.begin_with(seeder.nearest(rows[seeds]), seeder.squares)
    centers = X[seeds].astype(float)
    for _ in range(4):
        found, wanted = known.assign(centers), plain.assign(centers)
        np.testing.assert_array_equal(known.labels, plain.labels)
        for a, b in zip(found, wanted, strict=True):
            np.testing.assert_array_equal(a, b)
        centers = found.sums / found.weights[:, np.newaxis]
