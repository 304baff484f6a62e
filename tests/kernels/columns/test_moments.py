import numpy as np
import pytest
import scipy.sparse as sp

from fastem.clustering.euclidean.frame import measure_spread
from fastem.kernels.columns.moments import (
    Moments,
    combine,
    dense_moments,
    sparse_moments,
    sparse_squares,
    weighted_squares,
)
from fastem.rows import LocalRows, Part, array_rows

SHAPES = [(1, 1), (2, 3), (7, 5000), (63, 129), (8193, 1), (10_007, 7), (3000, 64), (4097, 65)]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", SHAPES)
def test_dense_moments(shape, dtype):
    rng = np.random.default_rng(0)
    X = (rng.normal(size=shape) + 1000 * rng.normal(size=shape[1])).astype(dtype)
    X.flags.writeable = False
    moments = dense_moments(X)
    exact = X.astype(np.longdouble)
    mean = exact.mean(axis=0)
    np.testing.assert_allclose(moments.mean, mean.astype(float), rtol=1e-14, atol=1e-12)
    squares = ((exact - mean) ** 2).sum(axis=0).astype(float)
    np.testing.assert_allclose(moments.squares, squares, rtol=1e-11, atol=1e-20)
    sample_weight = rng.uniform(size=shape[0])
    origin = moments.mean
    expected = (sample_weight[:, np.newaxis] * (exact - origin) ** 2).sum()
    np.testing.assert_allclose(
        weighted_squares(X, sample_weight, origin), float(expected), rtol=1e-12, atol=1e-20
    )


def test_a_far_mean_costs_no_digits():
    """One pass, but about each block's own mean."""
    X = np.random.default_rng(0).normal(size=(50_000, 2)) + 1e9
    centered = X - 1e9  # exact; raw moments would have no digit left
    np.testing.assert_allclose(dense_moments(X).squares, centered.var(axis=0) * len(X), rtol=1e-7)


@pytest.mark.parametrize("container", [sp.csr_array, sp.csr_matrix])
@pytest.mark.parametrize("shape", [(1, 1), (50, 3), (3000, 300)])
def test_sparse_moments(shape, container):
    rng = np.random.default_rng(0)
    dense = rng.normal(size=shape) * (rng.uniform(size=shape) < 0.4)
    X = container(dense)
    moments = sparse_moments(X)
    np.testing.assert_allclose(moments.mean, dense.mean(axis=0), rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(moments.squares, dense.var(axis=0) * len(dense), rtol=1e-11)
    sample_weight = rng.uniform(size=shape[0])
    np.testing.assert_allclose(
        sparse_squares(X, sample_weight), sample_weight @ (dense**2).sum(axis=1), rtol=1e-12
    )


def test_combined_moments_are_those_of_all_rows():
    X = np.random.default_rng(0).normal(size=(100, 3)) * 5 + 2
    parts = [dense_moments(X[:1]), dense_moments(X[1:40]), dense_moments(X[40:])]
    whole = combine(parts)
    assert whole.n_rows == 100
    np.testing.assert_allclose(whole.mean, X.mean(axis=0), rtol=1e-14)
    np.testing.assert_allclose(whole.squares, X.var(axis=0) * 100, rtol=1e-13)
    assert isinstance(whole, Moments)


@pytest.mark.parametrize("container", [np.asarray, sp.csr_array])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("weighted", [False, True])
def test_spread(container, dtype, weighted):
    rng = np.random.default_rng(0)
    X = (rng.normal(size=(300, 3)) * 100 + 7).astype(dtype)
    sample_weight = rng.uniform(size=300) if weighted else None
    rows = LocalRows(
        [
            Part(container(X[:100]), None if sample_weight is None else sample_weight[:100]),
            Part(container(X[100:]), None if sample_weight is None else sample_weight[100:], 100),
        ]
    )
    _, (frame, variance, squares, factor) = measure_spread(rows)
    assert factor == 1.0
    double = X.astype(float)
    if container is np.asarray:
        np.testing.assert_allclose(frame.origin, double.mean(axis=0), rtol=1e-6)
        np.testing.assert_array_equal(frame.origin.astype(dtype), frame.origin)
    else:
        assert not frame.origin.any()
    np.testing.assert_allclose(variance, double.var(axis=0).mean(), rtol=1e-12)
    weights = np.ones(300) if sample_weight is None else sample_weight
    np.testing.assert_allclose(
        squares, weights @ ((double - frame.origin) ** 2).sum(axis=1), rtol=1e-12
    )
    rms = np.sqrt(((double - frame.origin) ** 2).sum(axis=1).mean())
    assert 0.5 <= rms * frame.scale < 1
    assert np.log2(frame.scale) == int(np.log2(frame.scale))


@pytest.mark.parametrize("magnitude", [1e-310, 1e-200, 1e200, 1e307])
@pytest.mark.parametrize("container", [np.asarray, sp.csr_array])
def test_extreme_magnitudes_are_rescaled_in_a_copy(container, magnitude):
    X = np.random.default_rng(0).uniform(-1, 1, size=(50, 3)) * magnitude
    before = X.copy()
    rows = array_rows(container(X))
    scaled, spread = measure_spread(rows)
    np.testing.assert_array_equal(X, before)
    assert spread.factor != 1
    assert 1e-6 < spread.variance < 2.0**801  # whose sums don't overflow
    np.testing.assert_array_equal(scaled.take(np.arange(50)), X * spread.factor)
    np.testing.assert_array_equal(rows.take(np.arange(50)), X)
