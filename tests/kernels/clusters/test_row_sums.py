"""One row's share moves from one sum to another."""

import numpy as np
import pytest

from fastem.kernels.clusters.row_sums import move_row
from fastem.kernels.runtime.compiling import kernel


@kernel
def move(X, origin, row, later, weight, sums, before, after):
    move_row(X, origin, row, later, weight, sums, before, after)


@pytest.mark.parametrize("before", [-1, 0, 3])
@pytest.mark.parametrize("n_features", [1, 15, 16, 17, 31, 64, 100])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_moved(dtype, n_features, before):
    rng = np.random.default_rng(n_features)
    X = rng.normal(size=(5, n_features)).astype(dtype)
    origin, sums = rng.normal(size=n_features), rng.normal(size=(4, n_features))
    share = 0.7 * (X[4].astype(np.float64) - origin)
    wanted = sums.copy()
    wanted[2] += share
    if before >= 0:
        wanted[before] -= share
    move(X, origin, 4, 5, 0.7, sums, before, 2)  # the row behind the last need not exist
    np.testing.assert_allclose(sums, wanted, rtol=1e-14, atol=1e-14)
    others = np.setdiff1d(np.arange(4), [before, 2])
    np.testing.assert_array_equal(sums[others], wanted[others])
