"""Rows of numbers as bits: dense rows packed eight features to a byte, CSR rows without values."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from fastem.kernels.runtime.chunks import ceil_div

# Numbers that are turned into bits at a time.
_BLOCK_SIZE = 1 << 17


def _blocks(X: np.ndarray) -> Iterator[slice]:
    size = max(1, _BLOCK_SIZE // X.shape[1])
    for start in range(0, X.shape[0], size):
        yield slice(start, start + size)


def first_other(X: Any) -> Any:
    """The first value of dense or CSR rows that is neither 0 nor 1, nor NaN, or None."""
    values = X if isinstance(X, np.ndarray) else X.data[:, np.newaxis]
    if values.dtype != bool:
        for block in _blocks(values):
            rows = values[block]
            others = rows[(rows != 0) & (rows != 1)]
            others = others[others == others]
            if len(others):
                return others[0]
    return None


def packed_bits(X: np.ndarray, threshold: float) -> np.ndarray:
    """Dense rows as bits: 1 where a value is greater than the threshold.

    Parameters
    ----------
    X : ndarray of shape (n_rows, n_features), bool or numbers
        Read in blocks; bool and uint8 without conversion if the threshold is below 1.
    threshold : float
        Not negative.

    Returns
    -------
    bits : ndarray of shape (n_rows, ceil(n_features / 8)), uint8, C-contiguous
        Feature 8 i + j is bit j, from the lowest, of byte i; the bits behind the last are zeros.
    """
    bits = np.empty((X.shape[0], ceil_div(X.shape[1], 8)), np.uint8)
    is_bytes = X.dtype in (np.bool_, np.uint8) and threshold < 1
    for block in _blocks(X):
        rows = X[block] if is_bytes else X[block] > threshold
        bits[block] = np.packbits(rows, axis=1, bitorder="little")
    return bits


def unpacked_bits(bits: np.ndarray, n_features: int) -> np.ndarray:
    """Packed rows as zeros and ones, uint8."""
    return np.unpackbits(bits, axis=1, count=n_features, bitorder="little")


def sparse_bits(X: Any, threshold: float) -> tuple[np.ndarray, np.ndarray]:
    """CSR rows as bits: the indices of values greater than the threshold.

    Parameters
    ----------
    X : CSR matrix of shape (n_rows, n_features), in canonical format
    threshold : float
        Not negative.

    Returns
    -------
    indices, indptr : ndarray
        As in a CSR matrix; those of ``X`` itself if all its values are ones.
    """
    zeros = np.flatnonzero(X.data <= threshold)
    if len(zeros) == 0:
        return X.indices, X.indptr
    return np.delete(X.indices, zeros), X.indptr - np.searchsorted(zeros, X.indptr)
