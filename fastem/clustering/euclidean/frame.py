"""The coordinates a fit works in, and what it must know of the data's spread."""

import math
from typing import Any, NamedTuple

import numpy as np

from fastem.clustering.scaling import inverse_power, middle_of
from fastem.kernels.clusters import Frame
from fastem.kernels.columns.moments import (
    Moments,
    combine,
    dense_moments,
    sparse_moments,
    sparse_squares,
    weighted_squares,
)
from fastem.rows.blocks import dense

# Squares of values between these powers of two neither overflow nor vanish in float64.
_SMALLEST, _LARGEST = 2.0**-400, 2.0**400
# New rows may be so large: their squares may overflow.
_MOST_OF_ROWS = 2.0**1000

# Some rows, fewer if they are long, tell where the smallest tenth of a column's values lies. A mean
# so many times larger, since a few values are far away, would swallow their digits.
_LEAST_SAMPLE, _MOST_SAMPLE, _SAMPLE_VALUES, _FAR = 9, 33, 1 << 17, 2.0**12

# A column whose standard deviation is a smaller share of its mean may have none but for rounding.
_ALL_BUT_CONSTANT = 2.0**-40
_BLOCK_VALUES = 1 << 16


class EuclideanSpread(NamedTuple):
    """Location and spread of all rows.

    Parameters
    ----------
    frame : Frame
        Its origin is the mean in the data's dtype, unless few values far away would pull it beyond
        all others; zero for sparse rows, which can't be shifted.
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
    moments = _moments(rows)
    total = float(moments.squares.sum())
    if not _SMALLEST**2 < total < _LARGEST**2:
        factor = range_factor(max(rows.map(_magnitude)))
        if factor != 1.0:
            rows = rows.scaled(factor)
            moments = _moments(rows)
            total = float(moments.squares.sum())
    origin = np.zeros(rows.n_features) if rows.sparse else _origin(rows, moments.mean)
    squares = total + rows.n_rows * float(((moments.mean - origin) ** 2).sum())
    scale = inverse_power(math.sqrt(squares / rows.n_rows), rows.dtype)
    if rows.weighted:
        squares = rows.reduce(_weighted_squares, origin)
    variance = total / (rows.n_rows * rows.n_features)
    return rows, EuclideanSpread(Frame(origin, scale), variance, squares, factor)


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
    return Frame(origin, inverse_power(float(np.abs(centers - origin).max()), dtype))


def bring_in_range(X: Any, centers: np.ndarray) -> tuple[Any, np.ndarray, float]:
    """New rows and centres, multiplied by a power of two by which the centres' squares are safe.

    Parameters
    ----------
    X : ndarray or CSR matrix of shape (n_rows, n_features), float32 or float64
    centers : ndarray of shape (n_clusters, n_features), float64

    Returns
    -------
    X, centers
        As given, or copies in float64.
    factor : float
    """
    factor = range_factor(float(np.abs(centers).max()))
    if factor > 1.0:  # which must not take rows out of float64's range
        most = inverse_power(_magnitude_of(X), np.float64)
        factor = min(factor, _MOST_OF_ROWS * most) if most < 1.0 else factor
    if factor == 1.0:
        return X, centers, factor
    return X.astype(np.float64) * factor, centers * factor, factor


def range_factor(magnitude: float) -> float:
    """A power of two for values of this magnitude; 1 if their squares are safe anyway.

    It brings small values near one, and large ones as near as their squares allow: others may be
    much smaller.
    """
    if magnitude == 0 or _SMALLEST < magnitude < _LARGEST:
        return 1.0
    factor = inverse_power(magnitude, np.float64)
    return factor * _LARGEST if magnitude > 1 else factor


def _origin(rows, mean):
    """Where sums are taken from: near the rows, so that these keep their digits."""
    origin = mean.astype(rows.dtype).astype(np.float64)
    size = min(max(_SAMPLE_VALUES // rows.n_features, _LEAST_SAMPLE), _MOST_SAMPLE)
    sample = rows.take(np.arange(size) * (rows.n_rows - 1) // (size - 1))
    sizes = np.abs(sample)
    small = sizes * _FAR < np.abs(origin)
    if not small.any():  # as nearly always
        return origin
    far = np.count_nonzero(small & (sizes > 0), axis=0) > size // 10
    if far.any():
        sizes = np.where(sizes > 0, sizes, np.inf)[:, far]
        sizes.partition(size // 10, axis=0)
        middle = np.partition(sample[:, far], size // 2, axis=0)[size // 2]
        origin[far] = np.where(np.abs(middle) > sizes[size // 10] * _FAR, 0.0, middle)
    return origin


def _moments(rows):
    moments = combine(rows.map(_moments_of_part))
    blurred = moments.squares <= moments.n_rows * (_ALL_BUT_CONSTANT * moments.mean) ** 2
    suspects = np.flatnonzero(blurred & (moments.mean != 0)) if blurred.any() else ()
    if len(suspects):
        # Among large equal values the mean's rounding would pass for a spread.
        near = rows.take([0])[0, suspects].astype(np.float64)
        about = combine(rows.map(_moments_about, suspects, near))
        moments.squares[suspects] = about.squares
        moments.mean[suspects] = near + about.mean
    return moments


def _moments_of_part(part):
    return dense_moments(part.X) if isinstance(part.X, np.ndarray) else sparse_moments(part.X)


def _moments_about(part, columns, near):
    """The moments of some columns less values that are near theirs."""
    step = max(1, _BLOCK_VALUES // part.X.shape[1])
    blocks = []
    for start in range(0, part.n_rows, step):
        deviations = dense(part, slice(start, start + step))[:, columns] - near
        mean = deviations.mean(axis=0)
        blocks.append(Moments(float(len(deviations)), mean, ((deviations - mean) ** 2).sum(axis=0)))
    return combine(blocks)


def _weighted_squares(part, origin):
    if isinstance(part.X, np.ndarray):
        return weighted_squares(part.X, part.sample_weight, origin)
    return sparse_squares(part.X, part.sample_weight)


def _magnitude(part):
    return _magnitude_of(part.X)


def _magnitude_of(X):
    values = X if isinstance(X, np.ndarray) else X.data
    return max(float(values.max()), -float(values.min())) if values.size else 0.0
