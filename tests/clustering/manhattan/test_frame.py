import numpy as np
import pytest

from fastem.clustering.manhattan.frame import measure_spread, range_factor
from fastem.rows import array_rows

DTYPES = (np.float32, np.float64)


def some_rows(dtype, n_rows=999, n_features=3):
    rows = np.random.default_rng(0).normal([5.0, -2.0, 100.0], size=(n_rows, n_features))
    return rows.astype(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
def test_origin_is_the_median_and_spread_that_of_distances(dtype):
    X = some_rows(dtype)
    rows, spread = measure_spread(array_rows(X, None))
    median = np.median(X, axis=0)
    np.testing.assert_array_equal(spread.frame.origin, median)
    distances = np.abs(X.astype(np.float64) - median).sum(axis=1)
    assert spread.spread == pytest.approx(np.median(distances) / 3, rel=1e-5)
    assert spread.factor == 1.0
    # The frame's scale brings distances to about one, by a power of two.
    assert 0.25 <= spread.frame.scale * np.median(distances) <= 4.0
    assert np.frexp(spread.frame.scale)[0] == 0.5
    assert rows.dtype == dtype


@pytest.mark.parametrize("dtype", DTYPES)
def test_far_rows_change_nothing(dtype):
    X = some_rows(dtype)
    # As many on either side, fewer than half: the median and most distances stay.
    far = np.concatenate([X, np.full((12, 3), 1e15, dtype), np.full((12, 3), -1e15, dtype)])
    near, spread = (measure_spread(array_rows(one, None))[1] for one in (X, far))
    np.testing.assert_allclose(spread.frame.origin, near.frame.origin, rtol=0.01, atol=0.1)
    assert spread.spread == pytest.approx(near.spread, rel=0.1)


@pytest.mark.parametrize("dtype", DTYPES)
def test_sums_that_would_overflow_are_scaled_by_a_power_of_two(dtype):
    X = some_rows(dtype)
    X[7, 1] = -0.5 * np.finfo(dtype).max
    rows, spread = measure_spread(array_rows(X, None))
    assert spread.factor < 1.0
    assert np.frexp(spread.factor)[0] == 0.5
    assert np.isfinite(np.abs(rows.take(np.array([7]))).sum() * X.size)
    assert range_factor(array_rows(some_rows(dtype), None), None) == 1.0
    # Points that the rows are compared with count, too.
    points = np.full((1, 3), 0.5 * np.finfo(np.float64).max)
    assert range_factor(array_rows(some_rows(dtype), None), points) < 1.0
