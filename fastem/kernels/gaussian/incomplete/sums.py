"""What passes over incomplete rows sum up, whichever kernel takes the rows."""

from typing import NamedTuple

import numpy as np


class CompletedSums(NamedTuple):
    """Sums over rows as they are expected to be without gaps and errors, about the means.

    Parameters
    ----------
    objective : float
        As of ``GaussianStatistics``.
    counts : ndarray of shape (n_components,)
    observed : ndarray of shape (n_components, n_features)
        Sums of ``w * gamma`` over the rows in which the feature was observed.
    sums : ndarray of shape (n_components, n_features)
    scatter : ndarray of shape (n_components, n_features, n_features)
    """

    objective: float
    counts: np.ndarray
    observed: np.ndarray
    sums: np.ndarray
    scatter: np.ndarray
