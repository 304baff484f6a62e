"""Greedy k-means++ over few rows: in one call a seed what others do step by step."""

import numpy as np
import pytest
from guards import Guarded
from reference import greedy_seeds
from seeds import step_by_step

from fastem.kernels.seeding.euclidean import GreedySeeder
from fastem.kernels.seeding.few import FewRowsSeeder


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("n_features", [1, 2, 3, 5, 13, 24, 60])
@pytest.mark.parametrize("n_rows", [1, 7, 64, 65, 1090])
def test_the_seeds_of_others(n_rows, n_features, weighted, dtype):
    rng = np.random.default_rng(n_rows + n_features)
    X = rng.normal(size=(n_rows, n_features)).astype(dtype)
    sample_weight = rng.integers(1, 4, size=n_rows) * 0.5 if weighted else None
    guarded = Guarded(X)
    for n_seeds, n_candidates in [(min(n_rows, 30) - 1, 4), (min(n_rows, 3) - 1, 5)]:
        found = []
        for seeder in (FewRowsSeeder, GreedySeeder):
            made = seeder(guarded.array, sample_weight, 0.5)
            potential = made.add(X[0])
            options = n_seeds, n_candidates, np.random.RandomState(0)
            if seeder is FewRowsSeeder:
                found.append(made.draw(potential, *options))
            else:
                found.append(step_by_step(made, X, *options, potential))
        np.testing.assert_array_equal(*found)
        # Of two rows next to each other, each leaves the same potential where seeds are many.
        if dtype == np.float64 and n_rows > 20 * n_seeds:
            weights = np.ones(n_rows) if sample_weight is None else sample_weight
            options = n_seeds, n_candidates, np.random.RandomState(0)
            np.testing.assert_array_equal(found[0], greedy_seeds(X, weights, 0, *options))
    assert guarded.intact()


@pytest.mark.parametrize("n_features", [2, 30])
def test_rows_that_there_are_often(n_features):
    """Potentials tie exactly, and in the end nothing is left: still the same rows."""
    X = np.random.default_rng(0).integers(2, size=(200, n_features)).astype(float)
    X[:, 2:] = 0.0
    few, greedy = FewRowsSeeder(X, None, 1.0), GreedySeeder(X, None, 1.0)
    found = few.draw(few.add(X[3]), 8, 3, np.random.RandomState(1))
    wanted = step_by_step(greedy, X, 8, 3, np.random.RandomState(1), greedy.add(X[3]))
    np.testing.assert_array_equal(found, wanted)
