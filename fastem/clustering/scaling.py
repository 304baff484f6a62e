"""Powers of two that bring values into a range where nothing overflows or vanishes."""

import math

import numpy as np


def inverse_power(value, dtype):
    """The normal power of two by which a positive value comes nearest one; 1 for zero."""
    limit = np.finfo(dtype).maxexp - 2
    return math.ldexp(1.0, min(max(-math.frexp(value)[1], -limit), limit)) if value > 0 else 1.0


def exponent_of(factor: float) -> int:
    """The exponent of a power of two."""
    return math.frexp(factor)[1] - 1


def wide_enough(X: np.ndarray, centers: np.ndarray) -> np.ndarray:
    """Dense rows, in float64 if their own dtype would round the centres.

    Distances between near rows may be of the order of these roundings.
    """
    return X if (centers.astype(X.dtype) == centers).all() else X.astype(np.float64)


def middle_of(points: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """A coordinate-wise median of points, as float64 that are exact in ``dtype``."""
    half = len(points) // 2
    middle = np.partition(points, half, axis=0)[half]
    if dtype == np.float32:  # which may not hold it
        middle = np.where(np.abs(middle) < np.finfo(dtype).max / 4, middle, 0.0).astype(dtype)
    return middle.astype(np.float64)
