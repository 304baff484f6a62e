"""The coordinates a K-medians fit works in, and what it must know of the data's spread.

All of it is robust: rows far away must neither blur the comparisons in float32 nor loosen ``tol``.
"""

from typing import Any, NamedTuple

import numpy as np

from fastem.clustering.scaling import inverse_power, middle_of
from fastem.kernels.clusters import Frame
from fastem.kernels.columns.magnitude import largest_magnitude

_SAMPLE = 1024
_BLOCK_VALUES = 1 << 18

# Sums over features, rows and weights of values up to this power of two don't overflow in float64.
_LARGEST = 2.0**900


class ManhattanSpread(NamedTuple):
    """Location and spread of most rows.

    Parameters
    ----------
    frame : Frame
        Its origin is the coordinate-wise median of up to 1024 rows evenly spaced.
    spread : float
        The median of these rows' L1 distances from the origin, divided by the number of features.
    factor : float
        What the rows were multiplied by, a power of two: 1 unless sums could overflow.
    """

    frame: Frame
    spread: float
    factor: float


def measure_spread(rows: Any, others: np.ndarray | None = None) -> tuple[Any, ManhattanSpread]:
    """Look at some rows for their spread; of a scaled copy if sums could overflow.

    Parameters
    ----------
    rows : rows as in :mod:`fastem.rows`
    others : None or ndarray
        Points that the rows are compared with.

    Returns
    -------
    rows : rows as in :mod:`fastem.rows`
        The rows themselves, or as multiplied by ``spread.factor``.
    spread : ManhattanSpread
    """
    factor = range_factor(rows, others)
    rows = rows.scaled(factor)
    indices = np.unique(np.linspace(0, rows.n_rows - 1, _SAMPLE).astype(np.intp))
    origin = _medians(rows, indices)
    distance = float(np.median(np.concatenate(rows.map(_distances, indices, origin))))
    frame = Frame(origin, inverse_power(distance, rows.dtype))
    return rows, ManhattanSpread(frame, distance / rows.n_features, factor)


def _medians(rows, indices):
    """The coordinate-wise medians of some rows; of few features at a time, as these may be many."""
    origin = np.empty(rows.n_features)
    width = max(1, _BLOCK_VALUES // len(indices))
    for start in range(0, rows.n_features, width):
        block = slice(start, start + width)
        origin[block] = np.median(np.concatenate(rows.map(_columns, indices, block)), axis=0)
    return origin


def _own(part, indices):
    return indices[(indices >= part.offset) & (indices < part.offset + part.n_rows)] - part.offset


def _columns(part, indices, block):
    return part.X[:, block][_own(part, indices)]


def _distances(part, indices, origin):
    own = _own(part, indices)
    distances = np.empty(len(own))
    step = max(1, _BLOCK_VALUES // len(origin))
    for start in range(0, len(own), step):
        block = slice(start, start + step)
        distances[block] = np.abs(part.X[own[block]] - origin).sum(axis=1)
    return distances


def range_factor(rows: Any, others: np.ndarray | None) -> float:
    """A power of two by which no sums overflow; parameters as for :func:`measure_spread`."""
    magnitude = max(rows.map(_magnitude))
    if others is not None:
        magnitude = max(magnitude, float(np.abs(others).max()))
    if magnitude <= min(float(np.finfo(rows.dtype).max) / (8 * rows.n_features), _LARGEST):
        return 1.0
    return inverse_power(magnitude, rows.dtype)


def frame_of_centers(centers: np.ndarray, dtype: np.dtype) -> Frame:
    """A frame for rows that are compared with centres only once.

    Parameters
    ----------
    centers : ndarray of shape (n_clusters, n_features), float64
    dtype : dtype
        Of the rows.

    Returns
    -------
    Frame
    """
    origin = middle_of(centers, dtype)
    distances = np.abs(centers - origin).sum(axis=1)
    return Frame(origin, inverse_power(float(np.median(distances) or distances.max()), dtype))


def _magnitude(part):
    return largest_magnitude(part.X)
