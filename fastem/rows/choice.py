"""Random rows, drawn as ``numpy.random.RandomState.choice`` draws them.

The same random state picks the same rows, but from rows in parts and without NumPy's arrays of a
probability for each row.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from fastem.rows.part import Part

_BLOCK_ROWS = 1 << 16
_EPS = 2.0**-52


def choose_rows(rows: Any, random_state: np.random.RandomState, size: int) -> np.ndarray:
    """Draw different rows with probabilities proportional to their weights.

    Parameters
    ----------
    rows : rows as in :mod:`fastem.rows`
    random_state : RandomState
    size : int
        Number of rows.

    Returns
    -------
    ndarray of shape (size,), int
        The rows' indices.

    Raises
    ------
    ValueError
        If fewer rows have a positive weight.
    """
    total = rows.reduce(_weight)
    if rows.reduce(count_positive) < size:
        raise ValueError("Fewer non-zero entries in p than size")
    found: list[int] = []
    while len(found) < size:
        values = random_state.random_sample(size - len(found))
        drawn = None if rows.weighted or found else _equal_steps(rows.n_rows, values)
        if drawn is None:
            drawn = _invert(rows, total, np.array(found, np.intp), values)
        found.extend(dict.fromkeys(drawn.tolist()))  # the different ones, in their order
    return np.array(found, np.intp)


def count_positive(part: Part) -> int:
    """The number of a part's rows of positive weight, as a step."""
    weight = part.sample_weight
    return part.n_rows if weight is None else int(np.count_nonzero(weight > 0))


def _weight(part):
    return float(part.n_rows if part.sample_weight is None else part.sample_weight.sum())


def _equal_steps(n_rows, values):
    """Invert a distribution of equal steps, or None if rounding could matter.

    The cumulative sums of 1 / n that NumPy searches are off by less than ``margin`` steps.
    """
    steps = values * n_rows
    margin = 4 * _EPS * n_rows**2
    if np.abs(steps - np.rint(steps)).min() > margin:
        return steps.astype(np.intp)
    return None


def _invert(rows, total, excluded, values):
    """The rows at which the cumulative distribution first exceeds the values."""
    starts, running = {}, 0.0
    for offset, part_sum in rows.map(_cumulate, total, excluded):
        starts[offset] = running
        running += part_sum
    found = rows.map(_search, total, excluded, values, starts, running)
    return np.min(found, axis=0)


def _probabilities(part: Part, total, excluded) -> Iterator[tuple[int, np.ndarray]]:
    for start in range(0, part.n_rows, _BLOCK_ROWS):
        stop = min(start + _BLOCK_ROWS, part.n_rows)
        if part.sample_weight is None:
            probabilities = np.full(stop - start, 1.0 / total)
        else:
            probabilities = part.sample_weight[start:stop] / total
        local = excluded - (part.offset + start)
        probabilities[local[(local >= 0) & (local < stop - start)]] = 0.0
        yield start, probabilities


def _cumulate(part, total, excluded):
    running = 0.0
    for _, probabilities in _probabilities(part, total, excluded):
        probabilities[0] += running
        running = np.cumsum(probabilities)[-1]
    return part.offset, running


def _search(part, total, excluded, values, starts, end):
    found = np.full(len(values), np.iinfo(np.intp).max)
    running = starts[part.offset]
    for start, probabilities in _probabilities(part, total, excluded):
        probabilities[0] += running
        cumulated = np.cumsum(probabilities)
        running = cumulated[-1]
        cumulated /= end
        local = np.searchsorted(cumulated, values, side="right")
        inside = local < len(cumulated)
        np.minimum(found, part.offset + start + local, out=found, where=inside)
    return found
