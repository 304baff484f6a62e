import itertools

import numpy as np
import pytest
from guards import Guarded
from reference import cluster_medians, l1_distances
from sklearn.utils import check_random_state

from fastem.clustering.manhattan.seeding import STRATEGIES
from fastem.kernels.clusters import Frame
from fastem.kernels.seeding.manhattan import GreedyManhattanSeeder
from fastem.rows import LocalRows, Part, array_rows

DTYPES = [np.float32, np.float64]
SHAPES = [(1, 1), (3, 2), (63, 3), (64, 4), (65, 7), (700, 17), (1300, 1), (129, 65)]


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("n_rows", "n_features"), SHAPES)
def test_seeder(n_rows, n_features, dtype, weighted):
    """Potentials, and the rows up to which they reach, against plain sums."""
    rng = np.random.default_rng(n_rows)
    X = rng.normal(size=(n_rows, n_features)).astype(dtype)
    weights = rng.integers(0, 3, size=n_rows) + 0.5 if weighted else None
    w = np.ones(n_rows) if weights is None else weights
    guarded = [Guarded(X)] + ([Guarded(weights)] if weighted else [])
    seeder = GreedyManhattanSeeder(guarded[0].array, guarded[1].array if weighted else None)
    tolerance = 1e-12 if dtype is np.float64 else 1e-5
    closest = l1_distances(X, X[:1])[:, 0]
    potential = seeder.add(X[0])
    for n_candidates in (1, 2, 4, 7):
        np.testing.assert_allclose(potential, w @ closest, rtol=tolerance)
        ends = np.cumsum(w * closest)
        for row in seeder.locate(rng.uniform(size=5) * potential):
            # On or beside the row where the sum is reached.
            assert 0 <= row < n_rows
        if potential > 0:
            values = (ends[:-1] + ends[1:]) / 2  # in the midst of a row's share
            clear = np.flatnonzero(np.diff(ends) > 1e-3 * potential)
            np.testing.assert_array_equal(seeder.locate(values[clear]), clear + 1)
        candidates = X[rng.integers(n_rows, size=n_candidates)]
        tried = np.minimum(closest[:, np.newaxis], l1_distances(X, candidates))
        seeder.screen(candidates)
        potentials = seeder.try_candidates(np.arange(len(candidates)))
        np.testing.assert_allclose(potentials, w @ tried, rtol=tolerance, atol=tolerance)
        best = int(potentials.argmin())
        potential = seeder.accept(best)
        closest = tried[:, best]
    assert all(array.intact() for array in guarded)


def start(name, X, n_clusters, seed, weights=None, parts=1):
    rows = array_rows(X, weights)
    if parts > 1:
        edges = np.linspace(0, len(X), parts + 1).astype(int)
        rows = LocalRows(
            [
                Part(X[a:b], None if weights is None else weights[a:b], int(a))
                for a, b in itertools.pairwise(edges)
            ]
        )
    frame = Frame(np.zeros(X.shape[1]), 1.0)
    return STRATEGIES[name](rows, n_clusters, frame, check_random_state(seed))


@pytest.mark.parametrize("name", ["k-means++", "k-means||", "random"])
def test_seeds_are_different_rows(name):
    X = np.random.default_rng(0).normal(size=(300, 3))
    seeds = start(name, X, 40, 0)
    assert len(np.unique(seeds, axis=0)) == 40
    assert set(map(tuple, seeds)) <= set(map(tuple, X))


@pytest.mark.parametrize("name", ["k-means++", "k-means||", "random"])
def test_rows_in_parts_give_the_same_seeds(name):
    rng = np.random.default_rng(0)
    X, weights = rng.normal(size=(3000, 3)), rng.uniform(size=3000)
    for w in (None, weights):
        whole = start(name, X, 9, 3, w)
        np.testing.assert_array_equal(start(name, X, 9, 3, w, parts=3), whole)


def test_probabilities_are_proportional_to_the_l1_distance():
    X = np.repeat([[0.0, 0.0], [1.0, 1.0], [3.0, 5.0]], [1, 4000, 1], axis=0)
    weights = np.ones(len(X))
    weights[-1] = 1000
    seeder = GreedyManhattanSeeder(X, weights)
    potential = seeder.add(X[0])
    values = np.random.default_rng(0).uniform(size=2000) * potential
    share = (seeder.locate(values) == len(X) - 1).mean()
    # 1000 * 8 out of 4000 * 2 + 1000 * 8; squared distances would give 34 / (8 + 34).
    assert abs(share - 0.5) < 0.05


def test_random_partition():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(40_000, 2))
    centers = start("random_partition", X, 4, 0)
    overall = cluster_medians(X, np.zeros(len(X), int), 1)
    np.testing.assert_allclose(centers, np.repeat(overall, 4, axis=0), atol=0.06)
    assert len(np.unique(centers, axis=0)) == 4
    # The weights count.
    weights = (X[:, 0] > 1).astype(float)
    assert (start("random_partition", X, 4, 0, weights)[:, 0] > 1).all()
