"""Seeds drawn from CSR rows in one call are those of the same steps one by one."""

import numpy as np
import pytest
import scipy.sparse as sp
from clustering_passes import DTYPES
from seeds import step_by_step

from fastem.kernels.seeding import sparse
from fastem.kernels.seeding.sparse import SparseGreedySeeder


def texts(rng, n_rows, dtype):
    """Rows of 0 to 12 words each, the last column in none, and some that are there often."""
    X = rng.integers(1, 4, size=(n_rows, 90)) * (rng.uniform(size=(n_rows, 90)) < 0.07)
    X[:, -1] = 0
    X[::40] = X[0]
    return sp.csr_array(X * rng.choice([0.25, 1.0, 3.0], size=(n_rows, 1))).astype(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("room", [0, 1 << 40])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("n_candidates", [1, 4, 5, 11])
def test_the_same_seeds(n_candidates, weighted, room, dtype):
    rng = np.random.default_rng(n_candidates)
    X = texts(rng, 1500, dtype)
    sample_weight = rng.integers(3, size=1500) * 0.5 if weighted else None
    drawing, stepping = (SparseGreedySeeder(X, sample_weight, 0.5, room) for _ in range(2))
    potential = drawing.add(X[[3]])
    assert potential == stepping.add(X[[3]])
    options = 40, n_candidates
    drawn = drawing.draw(potential, *options, np.random.RandomState(0))
    wanted = step_by_step(stepping, X, *options, np.random.RandomState(0), potential)
    np.testing.assert_array_equal(drawn, wanted)
    seeds = X[[3, *wanted]]
    labels = drawing.nearest(seeds)
    assert (labels is None) == (stepping.nearest(seeds) is None)
    if labels is not None:
        np.testing.assert_array_equal(labels, stepping.nearest(seeds))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("share", [0.0, 10.0])
@pytest.mark.parametrize("n_candidates", [2, 3, 4])
def test_few_candidates(n_candidates, share, dtype, monkeypatch):
    """Whether all distances to them are kept or only those that matter."""
    monkeypatch.setattr(sparse, "_FEW_SHARE", share)
    monkeypatch.setattr(sparse, "_MOST_DOUBTFUL", 1)
    rng = np.random.default_rng(n_candidates)
    X = texts(rng, 700, dtype)
    dense = X.toarray().astype(float)
    seeder, seeds = SparseGreedySeeder(X, None, 1.0), [3]
    seeder.add(X[[3]])
    closest = ((dense - dense[3]) ** 2).sum(axis=1)
    for _ in range(8):
        candidates = rng.choice(700, n_candidates, replace=False)
        seeder.screen(X[candidates])
        potentials = seeder.try_candidates(np.arange(n_candidates))
        distances = ((dense - dense[candidates, np.newaxis]) ** 2).sum(axis=2)
        least = np.minimum(distances, closest)
        np.testing.assert_allclose(potentials, least.sum(axis=1), rtol=1e-6)
        best = int(potentials.argmin())
        assert seeder.accept(best) == potentials[best]
        closest = least[best]
        seeds.append(candidates[best])
    distances = ((dense - dense[seeds, np.newaxis]) ** 2).sum(axis=2)
    np.testing.assert_array_equal(seeder.nearest(X[seeds]), distances.argmin(axis=0))


@pytest.mark.parametrize("dtype", DTYPES)
def test_more_distances_than_there_is_room_for(dtype, monkeypatch):
    """Every row is nearer to each of seven candidates: two each are kept, and the rest is lost."""
    monkeypatch.setattr(sparse, "_MOST_DOUBTFUL", 1)
    X = np.eye(9, 12) * 0.01
    X[0, 11] = 100.0
    X = sp.csr_array(np.concatenate([X, np.repeat(X[1:], 50, axis=0)]).astype(dtype))
    seeder = SparseGreedySeeder(X, None, 1.0)
    seeder.add(X[[0]])
    seeder.screen(X[1:8])
    potentials = seeder.try_candidates(np.arange(7))
    distances = ((X.toarray()[:, np.newaxis].astype(float) - X[:8].toarray()) ** 2).sum(axis=2)
    expected = np.minimum(distances[:, :1], distances[:, 1:]).sum(axis=0)
    np.testing.assert_allclose(potentials, expected, rtol=1e-5)
    assert seeder.accept(2) == potentials[2]
    nearest = np.where(np.arange(X.shape[0]) == 0, 0, 1)
    np.testing.assert_array_equal(seeder.nearest(X[[0, 3]]), nearest)
