"""What K-means does with clusters that no row is nearest to: the same as scikit-learn."""

from typing import Any

import numpy as np

from fastem.clustering.base import ALGORITHM

_BLOCK_VALUES = 1 << 16


def relocate(
    rows: Any, sums: np.ndarray, weights: np.ndarray, centers: np.ndarray, origin: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Move the rows farthest from their centres into the empty clusters.

    The labels stay as they are: the next pass sees the moved centres.

    Parameters
    ----------
    rows : rows as in :mod:`fastem.rows`
        After an assignment to ``centers``.
    sums : ndarray of shape (n_clusters, n_features), float64
    weights : ndarray of shape (n_clusters,), float64
        Statistics of the clusters. A cluster of weight zero is empty.
    centers : ndarray of shape (n_clusters, n_features), float64
        Relative to ``origin``, as are the sums.
    origin : ndarray of shape (n_features,), float64

    Returns
    -------
    sums, weights : ndarray
        After the moves, as copies.
    """
    empty = np.flatnonzero(weights == 0)
    found = rows.map(_farthest, centers, origin, len(empty))
    if max(part[0] for part in found) == 0:
        # More clusters than different rows.
        return sums, weights
    if len(found) == 1:
        _, _, old, moved, moved_weights = found[0]
    else:
        distances, old, moved, moved_weights = (
            np.concatenate(column) for column in list(zip(*found, strict=True))[1:]
        )
        order = _largest(distances, len(empty))
        old, moved, moved_weights = old[order], moved[order], moved_weights[order]
    sums, weights = sums.copy(), weights.copy()
    for new, source, row, weight in zip(empty, old, moved, moved_weights, strict=True):
        sums[source] -= row * weight
        sums[new] = row * weight
        weights[new] = weight
        weights[source] -= weight
    return sums, weights


def _largest(distances, count):
    # Several farthest rows come in the order that scikit-learn takes them in.
    count = min(count, len(distances))
    return np.argpartition(distances, -count)[: -count - 1 : -1]


def _farthest(part, centers, origin, count):
    """The part's farthest distance, and its ``count`` farthest rows.

    These as squared distances, labels, rows relative to the origin, and weights.
    """
    labels = part.kept(ALGORITHM).labels
    distances = np.empty(part.n_rows)
    step = max(1, _BLOCK_VALUES // part.X.shape[1])
    for start in range(0, part.n_rows, step):
        block = slice(start, start + step)
        rows = _centered(part.X[block], origin)
        rows -= centers[labels[block]]
        distances[block] = (rows**2).sum(axis=1)
    chosen = _largest(distances, count)
    weights = np.ones(len(chosen)) if part.sample_weight is None else part.sample_weight[chosen]
    rows = _centered(part.X[chosen], origin)
    return distances.max(), distances[chosen], labels[chosen], rows, weights


def _centered(X, origin):
    return (X if isinstance(X, np.ndarray) else X.toarray()) - origin
