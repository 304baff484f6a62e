"""Rows in one array, a memory-mapped file or a CSR matrix."""

from typing import Any

import numpy as np

from fastem.rows.local import LocalRows
from fastem.rows.part import Part


def array_rows(X: Any, sample_weight: np.ndarray | None = None) -> LocalRows:
    """Rows of one array, in one part and without a copy.

    Parameters
    ----------
    X : ndarray, memmap or CSR matrix of shape (n_rows, n_features), float32 or float64
        Dense rows are C-contiguous. A memory-mapped file is read in place.
    sample_weight : None or ndarray of shape (n_rows,), float64

    Returns
    -------
    LocalRows
    """
    if isinstance(X, np.ndarray):
        X = np.asarray(X)
    return LocalRows([Part(X, sample_weight)])
