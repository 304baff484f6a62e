"""What K-medians does with clusters that no row is nearest to: they get the farthest rows."""

from typing import Any

import numpy as np

from fastem.clustering.model import ALGORITHM

_BLOCK_VALUES = 1 << 16


def farthest_rows(rows: Any, centers: np.ndarray, count: int) -> np.ndarray:
    """The rows of positive weight that are farthest from their own centres in L1 distance.

    Parameters
    ----------
    rows : rows as in :mod:`fastem.rows`
        Labelled by the nearest of ``centers``.
    centers : ndarray of shape (n_clusters, n_features), float64
    count : int

    Returns
    -------
    ndarray of shape (n, n_features), n <= count
        The farthest first, the first of equally far ones; none that lies on its centre.
    """
    found = rows.map(_farthest, centers, count)
    distances, indices = (np.concatenate(column) for column in zip(*found, strict=True))
    order = np.argsort(-distances, kind="stable")[:count]
    return rows.take(indices[order])


def _farthest(part, centers, count):
    labels = part.kept(ALGORITHM).labels
    distances = np.empty(part.n_rows)
    step = max(1, _BLOCK_VALUES // part.X.shape[1])
    for start in range(0, part.n_rows, step):
        block = slice(start, start + step)
        distances[block] = np.abs(part.X[block] - centers[labels[block]]).sum(axis=1)
    if part.sample_weight is not None:
        distances[part.sample_weight == 0] = 0.0
    order = np.argsort(-distances, kind="stable")[:count]
    order = order[distances[order] > 0]
    return distances[order], part.offset + order
