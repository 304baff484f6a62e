"""What K-means does with clusters that no row is nearest to: the same as scikit-learn."""

from typing import Any

import numpy as np

from fastem.clustering.model import ALGORITHM
from fastem.rows.blocks import dense, weights_of

_BLOCK_VALUES = 1 << 16

# NumPy's ``add.at`` takes six times as long for rows of 768 features as a loop.
_LONG = 256

# Coordinates of a row and of the mean of its copies differ by no more roundings than this.
_ROUNDINGS = 8


def relocate(
    rows: Any,
    sums: np.ndarray,
    weights: np.ndarray,
    centers: np.ndarray,
    origin: np.ndarray,
    dtype: np.dtype,
) -> tuple[np.ndarray, np.ndarray]:
    """Move the rows farthest from their centres into the empty clusters.

    The labels stay as they are: the next assignment sees the moved centres. Rows that only rounding
    keeps from their centres are not moved: there are more clusters than different rows.

    Parameters
    ----------
    rows : rows as in :mod:`fastem.rows`
        After an assignment to ``centers``.
    sums : ndarray of shape (n_clusters, n_features), float64
        Relative to the origin.
    weights : ndarray of shape (n_clusters,), float64
        Statistics of the clusters. A cluster of weight zero is empty.
    centers : ndarray of shape (n_clusters, n_features), float64
        In the rows' coordinates.
    origin : ndarray of shape (n_features,), float64
    dtype : dtype
        To which the centres are rounded.

    Returns
    -------
    sums, weights : ndarray
        After the moves, as copies.
    """
    empty = np.flatnonzero(weights == 0)
    found = rows.map(_farthest, centers, len(empty), np.finfo(dtype).eps)
    distances, labels, indices, moved_weights = map(np.concatenate, zip(*found, strict=True))
    if len(found) > 1:
        # From three on, one part's own order depends on all distances. Which cluster gets which row
        # is but a question of names.
        order = np.argsort(-distances, kind="stable")[: len(empty)]
        labels, indices, moved_weights = labels[order], indices[order], moved_weights[order]
    if len(indices) == 0:
        return sums, weights
    filled = empty[: len(indices)]
    # What is left of their clusters is summed anew: differences of sums would have few digits, or
    # none where nothing is left.
    sources = np.unique(labels)
    sums, weights = sums.copy(), weights.copy()
    sums[sources], weights[sources] = rows.reduce(_remaining, sources, indices, origin)
    weights[filled] = moved_weights
    sums[filled] = (rows.take(indices) - origin) * moved_weights[:, np.newaxis]
    return sums, weights


def _largest(distances, count):
    # Several farthest rows come in the order that scikit-learn takes them in.
    count = min(count, len(distances))
    return np.argpartition(distances, -count)[: -count - 1 : -1]


def _farthest(part, centers, count, eps):
    """The part's ``count`` farthest rows that aren't on their centres but for rounding.

    Their squared distances, labels, indices among all rows, and weights.
    """
    algorithm = part.kept(ALGORITHM)
    labels, distances = algorithm.labels, algorithm.own_distances(centers)
    chosen = _largest(distances, count)
    rows, own = dense(part, chosen), centers[labels[chosen]]
    blurred = ((_ROUNDINGS * eps * np.maximum(np.abs(rows), np.abs(own))) ** 2).sum(axis=1)
    chosen = chosen[((rows - own) ** 2).sum(axis=1) > blurred]
    weights = np.ones(len(chosen)) if part.sample_weight is None else part.sample_weight[chosen]
    return distances[chosen], labels[chosen], part.offset + chosen, weights


def _add_rows(sums, to, rows):
    """Add each row to one of the sums, one after the other."""
    if rows.shape[1] < _LONG:
        np.add.at(sums, to, rows)
        return
    for place, row in zip(to, rows, strict=True):
        sums[place] += row


def _remaining(part, sources, moved, origin):
    """Sums and weights of some clusters without the rows that are moved."""
    labels = part.kept(ALGORITHM).labels
    stay = np.isin(labels, sources)
    local = moved - part.offset
    stay[local[(local >= 0) & (local < part.n_rows)]] = False
    sums, weights = np.zeros((len(sources), part.X.shape[1])), np.zeros(len(sources))
    stay = np.flatnonzero(stay)
    step = max(1, _BLOCK_VALUES // part.X.shape[1])
    for start in range(0, len(stay), step):
        block = stay[start : start + step]
        weight = weights_of(part, block)
        to = np.searchsorted(sources, labels[block])
        _add_rows(sums, to, (dense(part, block) - origin) * weight[:, np.newaxis])
        np.add.at(weights, to, weight)
    return sums, weights
