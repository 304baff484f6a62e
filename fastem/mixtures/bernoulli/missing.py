"""Bernoulli mixtures of rows of which entries were not observed."""

from typing import Any

import numpy as np

from fastem.mixtures.missing import blocks_of, check_columns, drawn_components
from fastem.rows import Part


def filled_by_majority(rows: Any, threshold: float) -> Any:
    """Rows to start from: each gap is one or zero, whichever is the more frequent in its column.

    Parameters
    ----------
    rows : rows as in :mod:`fastem.rows`
    threshold : float
        Greater values are ones; not negative.

    Raises
    ------
    ValueError
        If a column was never observed.
    """
    seen, ones = rows.reduce(_observed, threshold)
    check_columns(seen)
    # No threshold is below 0, and none has to be rounded to the rows' dtype.
    return rows.filled(np.where(2.0 * ones > seen, np.inf, 0.0))


def _observed(part: Part, threshold):
    """By column, the weights of the rows in which it was observed, and in which it is one."""
    seen, ones = np.zeros(part.X.shape[1]), np.zeros(part.X.shape[1])
    for block in blocks_of(part.X):
        x = part.X[block]
        weight = np.ones(len(x)) if part.sample_weight is None else part.sample_weight[block]
        seen += weight @ ~np.isnan(x)
        ones += weight @ (x > threshold)
    return seen, ones


def fill_gaps(
    X: np.ndarray,
    probabilities: np.ndarray,
    responsibilities: np.ndarray,
    random_state: np.random.RandomState | None,
) -> None:
    """Put probabilities of ones where rows have no value, or zeros and ones drawn by them."""
    for block in blocks_of(X):
        x, shares = X[block], responsibilities[block]
        if random_state is None:
            values = shares @ probabilities
        else:
            chances = probabilities[drawn_components(shares, random_state)]
            values = random_state.random_sample(x.shape) < chances
        np.copyto(x, values.astype(x.dtype), where=np.isnan(x))
