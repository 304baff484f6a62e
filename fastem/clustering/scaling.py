"""Powers of two that bring values into a range where nothing overflows or vanishes."""

import math

import numpy as np

from fastem.rows import Rows

# Weights between these powers of two are safe; others are brought to where the greatest is this.
_SMALLEST_WEIGHT, _LARGEST_WEIGHT = 2.0**-100, 2.0**100


def inverse_power(value, dtype):
    """The normal power of two by which a positive value comes nearest one; 1 for zero."""
    limit = np.finfo(dtype).maxexp - 2
    return math.ldexp(1.0, min(max(-math.frexp(value)[1], -limit), limit)) if value > 0 else 1.0


def weights_in_range(sample_weight: np.ndarray | None) -> tuple[np.ndarray | None, int]:
    """Weights whose sums and products neither overflow nor vanish.

    Returns
    -------
    sample_weight : None or ndarray of shape (n_rows,), float64
    exponent : int
        Of the power of two that the weights were multiplied by: 0 unless they are far from one.
    """
    if sample_weight is None:
        return None, 0
    exponent = _exponent([_extremes(sample_weight)])
    return (sample_weight if exponent == 0 else np.ldexp(sample_weight, exponent)), exponent


def rows_in_range(rows: Rows) -> tuple[Rows, int]:
    """As :func:`weights_in_range`, for rows wherever they are; in a home of their own."""
    exponent = _exponent(rows.map(_extremes_of_part)) if rows.weighted else 0
    return rows.fresh(exponent), exponent


def _exponent(extremes):
    least, greatest = min(low for low, _ in extremes), max(high for _, high in extremes)
    if least >= _SMALLEST_WEIGHT and greatest <= _LARGEST_WEIGHT:
        return 0
    return math.frexp(_LARGEST_WEIGHT)[1] - math.frexp(greatest)[1]


def _extremes(sample_weight):
    """The least positive weight and the greatest."""
    greatest, least = float(sample_weight.max()), float(sample_weight.min())
    if least == 0.0:
        least = float(sample_weight.min(where=sample_weight > 0, initial=np.inf))
    return least, greatest


def _extremes_of_part(part):
    return _extremes(part.sample_weight)


def exponent_of(factor: float) -> int:
    """The exponent of a power of two."""
    return math.frexp(factor)[1] - 1


def divided_by_power(value: float, exponent: int) -> float:
    """A value less a power of two, in one step: it is infinite only if the result is."""
    if exponent == 0:  # as nearly always, for each value of a history
        return float(value)
    with np.errstate(over="ignore"):
        return float(np.ldexp(value, -exponent))


def middle_of(points: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """A coordinate-wise median of points, as float64 that are exact in ``dtype``."""
    half = len(points) // 2
    middle = np.partition(points, half, axis=0)[half]
    if dtype == np.float32:  # which may not hold it
        middle = np.where(np.abs(middle) < np.finfo(dtype).max / 4, middle, 0.0).astype(dtype)
    return middle.astype(np.float64)
