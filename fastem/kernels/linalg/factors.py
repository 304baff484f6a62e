"""What is computed of small matrices between two passes over the rows.

LAPACK and BLAS would do, but where they use threads of their own, these still wait for work when
the next pass begins, and take a third of the processors' time from it.
"""

import math

import numpy as np

from fastem.kernels.runtime.compiling import inline, kernel
from fastem.kernels.runtime.memory import aligned_array
from fastem.kernels.runtime.parallel import next_chunk, run

# Multiplications that are worth a thread.
_WORK = 1 << 21


def product(A: np.ndarray, B: np.ndarray) -> np.ndarray:
    """``A @ B`` of matrices or stacks of them."""
    return np.einsum("...ij,...jk->...ik", A, B)


def factor_inverses(
    covariances: np.ndarray, factors: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Upper triangular P with ``P @ P.T`` the inverse of each covariance matrix.

    Parameters
    ----------
    covariances : ndarray of shape (n_matrices, n, n), float64
        Of each, only the diagonal and what is above it are used.
    factors : None or ndarray of the same shape
        Receives the factors; None for a new array.

    Returns
    -------
    factors : ndarray of shape (n_matrices, n, n)
    definite : ndarray of shape (n_matrices,), bool
        Whether a covariance matrix is positive definite; if not, its factor means nothing.
    """
    n_matrices, n, _ = covariances.shape
    factors = np.empty(covariances.shape) if factors is None else factors
    definite = np.empty(n_matrices, np.bool_)
    n_chunks = max(1, min(n_matrices, n_matrices * n**3 // _WORK))
    # Writeable, as they are where kernels call the one compiled for that.
    covariances = np.require(covariances, np.float64, ["C", "W"])
    run(factor_chunk, n_chunks, covariances, factors, definite)
    return factors, definite


@kernel
def factor_chunk(tickets, n_chunks, covariances, factors, definite):
    """Factor each matrix as L @ L.T, and invert L.T: Golub and Van Loan, section 4.2."""
    n_matrices, n, _ = covariances.shape
    row = aligned_array(n, np.float64)
    while True:
        chunk = next_chunk(tickets)
        if chunk >= n_chunks:
            return
        for k in range(chunk * n_matrices // n_chunks, (chunk + 1) * n_matrices // n_chunks):
            definite[k] = _factor(covariances[k], factors[k])
            if definite[k]:
                _invert(factors[k], row)


@inline
def _factor(A, U):
    """Upper triangular U with ``U.T @ U`` equal to A; whether there is one."""
    n = len(A)
    for i in range(n):
        for j in range(n):
            U[i, j] = A[i, j] if j >= i else 0.0
    for i in range(n):
        pivot = U[i, i]
        if not (pivot > 0.0 and pivot < math.inf):
            return False
        reciprocal = 1.0 / math.sqrt(pivot)
        for j in range(i, n):
            U[i, j] *= reciprocal
        for r in range(i + 1, n):
            factor = U[i, r]
            for j in range(r, n):
                U[r, j] -= factor * U[i, j]
    return True


@inline
def _invert(U, row):
    """Invert an upper triangular matrix in place, from its last row to its first."""
    n = len(U)
    for i in range(n - 1, -1, -1):
        reciprocal = 1.0 / U[i, i]
        for j in range(i + 1, n):
            row[j] = U[i, j] * reciprocal
            U[i, j] = 0.0
        U[i, i] = reciprocal
        for r in range(i + 1, n):
            factor = row[r]
            for j in range(r, n):
                U[i, j] -= factor * U[r, j]
