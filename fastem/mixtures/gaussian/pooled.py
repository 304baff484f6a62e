"""The mean and scatter of all rows together."""

from functools import partial
from typing import Any, NamedTuple

import numpy as np

from fastem.kernels.gaussian import PASSES


class Pooled(NamedTuple):
    """Of all rows, with their weights.

    Parameters
    ----------
    weight : float
    mean : ndarray of shape (n_features,)
    scatter : ndarray of shape (n_features, n_features) or (n_features,)
        The sum of products of differences from the mean, or of their squares alone.
    """

    weight: float
    mean: np.ndarray
    scatter: np.ndarray


def pooled(rows: Any, matrices: bool) -> Pooled:
    """What all rows have together, with a matrix as their scatter or a diagonal."""
    make_pass = partial(PASSES["full" if matrices else "diag"], n_components=1)
    mean = np.zeros(rows.n_features)
    for _ in range(2):  # the second time about the mean
        statistics = rows.reduce(_statistics_about, make_pass, mean)
        mean = mean + statistics.sums[0] / statistics.counts[0]
    return Pooled(statistics.counts[0], mean, statistics.scatter[0])


def _statistics_about(part, make_pass, center):
    one = make_pass(part.X, part.sample_weight)
    return one.from_labels(np.zeros(part.n_rows, np.int32), center[np.newaxis])
