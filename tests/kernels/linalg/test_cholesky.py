import numpy as np
import pytest
from numba import njit
from numba.core.errors import TypingError

from fastem.kernels import cholesky

SIZES = [1, 2, 3, 7, 16, 33, 65, 129]


def positive_definite(n, condition=100.0, seed=0):
    rng = np.random.default_rng(seed)
    Q = np.linalg.qr(rng.normal(size=(n, n)))[0]
    return (Q * np.geomspace(1, condition, n)) @ Q.T


@njit
def compiled(A):
    return cholesky(A)


@pytest.mark.parametrize("function", [cholesky, compiled])
@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("condition", [1.0, 1e3, 1e12])
def test_against_numpy(function, n, condition):
    A = positive_definite(n, condition)
    L = function(A)
    assert L.dtype == np.float64
    np.testing.assert_array_equal(L, np.tril(L))
    np.testing.assert_allclose(L @ L.T, A, rtol=0, atol=1e-14 * n * condition)
    expected = np.linalg.cholesky(A)
    np.testing.assert_allclose(L, expected, rtol=0, atol=1e-15 * n * condition * np.sqrt(condition))


@pytest.mark.parametrize("function", [cholesky, compiled])
def test_stack(function):
    A = np.stack([positive_definite(5, seed=seed) for seed in range(4)])
    np.testing.assert_allclose(function(A), np.linalg.cholesky(A), rtol=1e-10, atol=1e-12)
    np.testing.assert_array_equal(function(A)[2], function(A[2]))


@pytest.mark.parametrize("function", [cholesky, compiled])
def test_only_what_is_not_above_the_diagonal_is_used(function):
    A = positive_definite(6)
    np.testing.assert_array_equal(function(A + np.triu(np.full((6, 6), np.nan), 1)), function(A))


@pytest.mark.parametrize("function", [cholesky, compiled])
def test_float32_and_other_types_and_layouts(function):
    A = positive_definite(9)
    L = function(A.astype(np.float32))
    assert L.dtype == np.float32
    np.testing.assert_allclose(L, np.linalg.cholesky(A), rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(function(np.asfortranarray(A)), function(A))
    np.testing.assert_array_equal(function(np.repeat(A, 2, axis=0)[::2]), function(A))
    np.testing.assert_array_equal(function(np.array([[4, 2], [2, 10]])), [[2, 0], [1, 3]])


@pytest.mark.parametrize("function", [cholesky, compiled])
@pytest.mark.parametrize(
    "A",
    [
        np.zeros((2, 2)),
        -np.eye(3),
        np.array([[1.0, 2.0], [2.0, 1.0]]),
        np.full((2, 2), np.nan),
        np.stack([np.eye(3), np.diag([1.0, 0.0, 1.0])]),
    ],
)
def test_not_positive_definite(function, A):
    with pytest.raises(np.linalg.LinAlgError, match="not positive definite"):
        function(A)


def test_input_stays_as_it_is():
    A = positive_definite(4)
    before = A.copy()
    cholesky(A)
    np.testing.assert_array_equal(A, before)


def test_nothing():
    assert cholesky(np.empty((0, 0))).shape == (0, 0)
    assert cholesky(np.empty((0, 3, 3))).shape == (0, 3, 3)


def test_bad_input():
    for shape in [(3,), (2, 3), (2, 3, 4), (2, 2, 2, 2)]:
        with pytest.raises(ValueError, match="square"):
            cholesky(np.ones(shape))
    with pytest.raises(ValueError, match="real numbers"):
        cholesky(np.eye(2, dtype=complex))
    with pytest.raises(ValueError, match="square"):
        compiled(np.ones((2, 3)))
    with pytest.raises(ValueError, match="square"):
        compiled(np.ones((2, 2, 3)))
    with pytest.raises(TypingError, match="2-D or 3-D"):
        compiled(np.ones(3))
    with pytest.raises(TypingError, match="real numbers"):
        compiled(np.eye(2, dtype=complex))
