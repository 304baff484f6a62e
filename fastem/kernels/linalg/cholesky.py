"""Cholesky factors of small matrices, for Python and for a user's compiled code."""

import math

import numpy as np
from numba import types
from numba.core.errors import TypingError
from numba.extending import overload

from fastem.kernels.runtime.arrays import large_empty, read_only
from fastem.kernels.runtime.compiling import kernel
from fastem.kernels.runtime.inputs import check_numbers, convert
from fastem.kernels.runtime.linking import linked
from fastem.kernels.runtime.parallel import next_chunk


@kernel
def _factored(A, L):
    """Whether A is definite; then L is its factor.

    The outer-product form, whose inner loop runs along rows: Golub and Van Loan, section 4.2.
    """
    n = len(A)
    U = np.empty((n, n))
    for i in range(n):
        for j in range(i, n):
            U[i, j] = A[j, i]
    for i in range(n):
        pivot = U[i, i]
        if not pivot > 0.0:  # nor for NaN
            return False
        root = math.sqrt(pivot)
        for j in range(i, n):
            U[i, j] /= root
        for r in range(i + 1, n):
            factor = U[i, r]
            for j in range(r, n):
                U[r, j] -= factor * U[i, j]
        for j in range(n):
            L[j, i] = U[i, j] if j >= i else 0.0
    return True


@kernel
def _factor(A, L):
    if not _factored(A, L):
        raise np.linalg.LinAlgError("Matrix is not positive definite")


@kernel
def factor_pass(tickets, n_chunks, A, L, definite):
    """Factor a stack of matrices, one a chunk, and tell which are definite."""
    while True:
        chunk = next_chunk(tickets)
        if chunk >= n_chunks:
            return
        definite[chunk] = _factored(A[chunk], L[chunk])


@kernel
def _factor_all(A, L):
    for k in range(len(A)):
        _factor(A[k], L[k])


def as_matrices(A):
    """One or several square matrices as Python passes them, in a dtype of the kernels."""
    A = np.asarray(A)
    if A.dtype.kind not in "biuf":
        raise ValueError(f"A must hold real numbers, not {A.dtype}")
    if A.ndim not in (2, 3) or A.shape[-1] != A.shape[-2]:
        raise ValueError(f"A must be a square matrix or a stack of them, got shape {A.shape}")
    return read_only(np.ascontiguousarray(A, np.float32 if A.dtype == np.float32 else np.float64))


def cholesky(A: np.ndarray) -> np.ndarray:
    """Cholesky factor of a symmetric positive definite matrix, or of each in a stack.

    Callable from Python and from functions under ``@njit``; it runs on the calling thread. Up to
    some hundred rows it spares what a call of LAPACK costs.

    Parameters
    ----------
    A : array-like of shape (n, n) or (n_matrices, n, n)
        As for ``numpy.linalg.cholesky``, only the diagonal and what is below it are used.

    Returns
    -------
    L : ndarray of the same shape
        Lower triangular, with ``L @ L.T`` equal to ``A``; float32 if ``A`` is, else float64.

    Raises
    ------
    numpy.linalg.LinAlgError
        If a matrix is not positive definite. It is a ``ValueError``, also in compiled code.
    ValueError
        If ``A`` is not square, or not of real numbers.
    """
    A = as_matrices(A)
    L = np.empty_like(A)
    if A.ndim == 2:
        _factor(A, L)
    else:
        _factor_all(A, L)
    return L


@kernel
def _cholesky_of_one(A):
    if A.shape[0] != A.shape[1]:
        raise ValueError("A must be a square matrix or a stack of them")
    L = np.empty(A.shape, A.dtype)
    _factor(A, L)
    return L


@kernel
def _cholesky_of_all(A):
    if A.shape[1] != A.shape[2]:
        raise ValueError("A must be a square matrix or a stack of them")
    L = large_empty(A.shape, A.dtype)
    _factor_all(A, L)
    return L


def compiled_as(function, of_one, of_all):
    """Let compiled code that calls ``function(A)`` run these kernels, for a matrix and a stack."""
    call_one, call_all = linked(of_one), linked(of_all)

    @overload(function)
    def implementation(A):
        if not isinstance(A, types.Array) or A.ndim not in (2, 3):
            raise TypingError(f"{function.__name__} takes a 2-D or 3-D array, not {A}")
        check_numbers(function, A)
        if A.ndim == 2:
            return lambda A: call_one((convert(A, A),))
        return lambda A: call_all((convert(A, A),))


compiled_as(cholesky, _cholesky_of_one, _cholesky_of_all)
