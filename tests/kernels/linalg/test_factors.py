import numpy as np
import pytest

from fastem.kernels.linalg.factors import factor_inverses


@pytest.mark.parametrize("n", [1, 2, 3, 8, 17, 64, 130])
@pytest.mark.parametrize("n_matrices", [1, 5])
def test_factors_of_inverses(n_matrices, n):
    rng = np.random.default_rng(n)
    A = rng.normal(size=(n_matrices, n, n + 2))
    covariances = A @ A.swapaxes(1, 2)
    lower = np.tril_indices(n, -1)
    covariances[:, *lower] = np.nan  # not read
    factors, definite = factor_inverses(covariances)
    assert definite.all()
    np.testing.assert_array_equal(np.tril(factors, -1), 0)
    covariances = A @ A.swapaxes(1, 2)
    whitened = factors.swapaxes(1, 2) @ covariances @ factors
    np.testing.assert_allclose(whitened, np.tile(np.eye(n), (n_matrices, 1, 1)), atol=1e-8)
    expected = np.linalg.inv(np.linalg.cholesky(covariances)).swapaxes(1, 2)
    np.testing.assert_allclose(factors, expected, rtol=1e-7, atol=1e-9)


def test_matrices_that_are_not_positive_definite_are_told():
    bad = [-1.0, 0.0, np.nan, np.inf]
    covariances = np.tile(np.eye(3), (6, 1, 1))
    for k, value in enumerate(bad):
        covariances[k + 1, 1, 1] = value
    covariances[5] = 1.0  # of rank one
    _, definite = factor_inverses(covariances)
    np.testing.assert_array_equal(definite, [True] + 5 * [False])


@pytest.mark.parametrize("condition", [1e4, 1e12])
def test_ill_conditioned_matrices_as_lapack_factors_them(condition):
    rng = np.random.default_rng(0)
    Q = np.linalg.qr(rng.normal(size=(6, 6)))[0]
    covariance = (Q * np.geomspace(1, condition, 6)) @ Q.T
    factors, definite = factor_inverses(covariance[np.newaxis])
    assert definite.all()
    expected = np.linalg.inv(np.linalg.cholesky(covariance)).T
    np.testing.assert_allclose(factors[0], expected, rtol=1e-15 * condition, atol=1e-15 * condition)
