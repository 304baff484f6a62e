"""Distances to centres, also where their squares overflow or vanish."""

from typing import Any

import numpy as np

from fastem.clustering.scaling import wide_enough
from fastem.kernels.distances.pairwise import squared_euclidean
from fastem.kernels.distances.sparse import sparse_distances

_BLOCK_VALUES = 1 << 16

# Squared distances below have lost digits of squares that vanish.
_LEAST_SQUARE = {np.dtype(np.float32): 2.0**-100, np.dtype(np.float64): 2.0**-960}


@np.errstate(over="ignore", invalid="ignore")
def euclidean_distances(X: Any, centers: np.ndarray) -> np.ndarray:
    """The distance of every row to every centre.

    Parameters
    ----------
    X : ndarray or CSR matrix of shape (n_rows, n_features), float32 or float64
    centers : ndarray of shape (n_clusters, n_features), float32 or float64

    Returns
    -------
    ndarray of shape (n_rows, n_clusters)
        In the rows' dtype.
    """
    dtype = X.dtype
    if isinstance(X, np.ndarray):
        X = wide_enough(X, centers)
        distances = squared_euclidean(X, centers.astype(X.dtype))
    else:
        distances = sparse_distances(X, centers.astype(np.float64))
    safe = (distances >= _LEAST_SQUARE[X.dtype]) & (distances < np.inf)
    np.sqrt(distances, out=distances)
    centers = centers.astype(np.float64)
    for block in _blocks(np.flatnonzero(~safe.all(axis=1)), X.shape[1]):
        rows = X[block] if isinstance(X, np.ndarray) else X[block].toarray()
        for j, center in enumerate(centers):
            differences = np.abs(rows - center)
            greatest = differences.max(axis=1)
            differences /= np.where(greatest > 0, greatest, 1.0)[:, np.newaxis]
            distances[block, j] = greatest * np.sqrt((differences**2).sum(axis=1))
    return distances.astype(dtype, copy=False)


def _blocks(rows, n_features):
    step = max(1, _BLOCK_VALUES // n_features)
    return (rows[start : start + step] for start in range(0, len(rows), step))
