"""The coordinates a fit works in, and what it must know of the data's spread."""

import math
from typing import Any, NamedTuple

import numpy as np

from fastem.clustering.scaling import inverse_power
from fastem.kernels.columns.moments import (
    combine,
    dense_moments,
    sparse_moments,
    sparse_squares,
    weighted_squares,
)
from fastem.kernels.kmeans import Frame

# Squares of values between these powers of two neither overflow nor vanish in float64.
_SMALLEST, _LARGEST = 2.0**-400, 2.0**400


class EuclideanSpread(NamedTuple):
    """Location and spread of all rows.

    Parameters
    ----------
    frame : Frame
        Its origin is the mean in the data's dtype; zero for sparse rows, which can't be shifted.
    variance : float
        Mean of the columns' variances; the weights play no part, as in scikit-learn. It is finite
        if and only if all rows are.
    squares : float
        Sum of ``w * |x - origin|**2``.
    factor : float
        What the rows were multiplied by, a power of two: 1 unless their squares would overflow or
        vanish.
    """

    frame: Frame
    variance: float
    squares: float
    factor: float


@np.errstate(over="ignore", invalid="ignore")
def measure_spread(rows: Any) -> tuple[Any, EuclideanSpread]:
    """Pass over the rows for their spread; if their magnitude is extreme, that of a scaled copy.

    Parameters
    ----------
    rows : rows as in :mod:`fastem.rows`

    Returns
    -------
    rows : rows as in :mod:`fastem.rows`
        The rows themselves, or as multiplied by ``spread.factor``.
    spread : EuclideanSpread
    """
    factor = 1.0
    moments = combine(rows.map(_moments))
    total = float(moments.squares.sum())
    if not _SMALLEST**2 < total < _LARGEST**2:
        factor = range_factor(max(rows.map(_magnitude)))
        if factor != 1.0:
            rows = rows.scaled(factor)
            moments = combine(rows.map(_moments))
            total = float(moments.squares.sum())
    if rows.sparse:
        origin = np.zeros(rows.n_features)
    else:
        origin = moments.mean.astype(rows.dtype).astype(np.float64)
    squares = total + rows.n_rows * float(((moments.mean - origin) ** 2).sum())
    scale = inverse_power(math.sqrt(squares / rows.n_rows), rows.dtype)
    if rows.weighted:
        squares = rows.reduce(_weighted_squares, origin)
    variance = total / (rows.n_rows * rows.n_features)
    return rows, EuclideanSpread(Frame(origin, scale), variance, squares, factor)


def frame_of_centers(centers: np.ndarray, origin: np.ndarray, dtype: np.dtype) -> Frame:
    """A frame for rows that are compared with centres only once.

    Parameters
    ----------
    centers : ndarray of shape (n_clusters, n_features), float64
        Relative to the origin.
    origin : ndarray of shape (n_features,), float64
    dtype : dtype
        Of the rows.

    Returns
    -------
    Frame
    """
    return Frame(origin, inverse_power(float(np.abs(centers).max()), dtype))


def range_factor(magnitude: float) -> float:
    """What brings values of this magnitude near one, or 1 if their squares are safe anyway."""
    if magnitude == 0 or _SMALLEST < magnitude < _LARGEST:
        return 1.0
    return inverse_power(magnitude, np.float64)


def _moments(part):
    return dense_moments(part.X) if isinstance(part.X, np.ndarray) else sparse_moments(part.X)


def _weighted_squares(part, origin):
    if isinstance(part.X, np.ndarray):
        return weighted_squares(part.X, part.sample_weight, origin)
    return sparse_squares(part.X, part.sample_weight)


def _magnitude(part):
    values = part.X if isinstance(part.X, np.ndarray) else part.X.data
    return max(float(values.max()), -float(values.min())) if values.size else 0.0
