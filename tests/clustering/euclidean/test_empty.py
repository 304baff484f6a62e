"""Rows that are added to sums where clusters are refilled."""

import numpy as np
import pytest

from fastem.clustering.euclidean.empty import _add_rows


@pytest.mark.parametrize("n_features", [1, 8, 300])
def test_rows_are_added_in_their_order(n_features):
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(200, n_features)) * np.exp(5 * rng.normal(size=(200, 1)))
    to = rng.integers(4, size=200)
    sums = np.zeros((5, n_features))
    _add_rows(sums, to, rows)
    for place in range(5):
        total = np.zeros(n_features)
        for row in rows[to == place]:
            total = total + row
        np.testing.assert_array_equal(sums[place], total)
