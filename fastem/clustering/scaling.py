"""Powers of two that bring values into a range where nothing overflows or vanishes."""

import math

import numpy as np


def inverse_power(value, dtype):
    """The normal power of two by which a positive value comes nearest one; 1 for zero."""
    limit = np.finfo(dtype).maxexp - 2
    return math.ldexp(1.0, min(max(-math.frexp(value)[1], -limit), limit)) if value > 0 else 1.0
