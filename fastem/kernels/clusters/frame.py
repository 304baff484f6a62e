"""The coordinates that clusters are found in."""

from typing import NamedTuple

import numpy as np


class Frame(NamedTuple):
    """The coordinates a fit works in.

    Parameters
    ----------
    origin : ndarray of shape (n_features,), float64
        Sums, and rows and centres in float32, are relative to it; float64 compares rows and centres
        as they are, so that who is nearest doesn't depend on it. Exact in the data's dtype.
    scale : float
        A power of two that brings the rows' root mean square near one, so that squares neither
        overflow nor vanish in float32. Used inside kernels only.
    """

    origin: np.ndarray
    scale: float
