"""The rows' weights as a fit takes them: times a power of two where they are far from one."""

import math
from typing import Any, NamedTuple

import numpy as np

from fastem.rows import Rows
from fastem.validation import check_weights

# Weights up to so many powers of two from one are near it, and taken as they are, without a copy.
_NEAR = 32
# Up to so many, float64 sums of products with them neither overflow nor vanish.
_ROOM = 100
# Up to so many, what counts rows (pseudo-counts, a user's M-step) has digits to do so.
_FAR = 256


def rows_near_one(rows: Rows) -> tuple[Rows, float, float]:
    """Rows in a home of their own, with weights as mixtures take them.

    Returns
    -------
    rows : Rows
    total : float
        Of these weights.
    unit : float
        What a weight of one is among them; see :attr:`RowWeights.unit`.
    """
    if not rows.weighted:
        return rows.fresh(), float(rows.n_rows), 1.0
    exponent = _near_one(*_extremes_of_all(rows))
    rows = rows.fresh(-exponent)
    return rows, rows.reduce(_total_weight), _unit(exponent)


def rows_with_room(rows: Rows) -> tuple[Rows, int]:
    """Rows in a home of their own, with weights as sums in float64 take them.

    Returns
    -------
    rows : Rows
    exponent : int
        The weights given are these times two to the exponent; see :meth:`RowWeights.with_room`.
    """
    exponent = _with_room(*_extremes_of_all(rows)) if rows.weighted else 0
    return rows.fresh(-exponent), exponent


def times_power(value: float, exponent: int) -> float:
    """A value times a power of two, in one step: it is infinite only if the result is."""
    if exponent == 0:  # as nearly always, for each value of a history
        return float(value)
    with np.errstate(over="ignore"):
        return float(np.ldexp(value, exponent))


class RowWeights(NamedTuple):
    """The weights of rows, times a power of two if the greatest is far from one.

    So neither their sums nor products with them overflow or vanish; means don't change.

    Parameters
    ----------
    values : None or ndarray of shape (n_rows,), float64
        None stands for ones.
    exponent : int
        The weights are ``values * 2**exponent``.
    total : float
        Of the values.
    """

    values: np.ndarray | None
    exponent: int
    total: float

    @classmethod
    def of(cls, sample_weight: Any, X: Any) -> "RowWeights":
        """The weights, or None, that a user gives for rows; checked."""
        return cls.near_one(check_weights(sample_weight, X), X.shape[0])

    @classmethod
    def near_one(cls, values: np.ndarray | None, n_rows: int) -> "RowWeights":
        """The same of weights that are checked already: the greatest is brought near one."""
        return cls._divided(values, n_rows, _near_one)

    @classmethod
    def with_room(cls, values: np.ndarray | None, n_rows: int) -> "RowWeights":
        """The same for sums in float64 only, where weights much less than others count, too."""
        return cls._divided(values, n_rows, _with_room)

    @classmethod
    def _divided(cls, values, n_rows, choose):
        if values is None:
            return cls(None, 0, float(n_rows))
        exponent = choose(*_extremes(values))
        if exponent != 0:
            values = np.ldexp(values, -exponent)
        return cls(values, exponent, float(values.sum()))

    @property
    def unit(self) -> float:
        """What a weight of one is among the values.

        It is one where the weights are too far from one for a single row to count among them.
        """
        return _unit(self.exponent)

    @property
    def log_total(self) -> float:
        """The logarithm of the weights' sum."""
        return math.log(self.total) + self.exponent * math.log(2.0)

    def sum(self, values: np.ndarray, rows: slice = slice(None)) -> float:
        """The sum over rows of these values times :attr:`values`, in float64.

        A row without weight may have any value.
        """
        if self.values is not None:
            weights = self.values[rows]
            values = np.multiply(weights, values, out=np.zeros(len(weights)), where=weights > 0)
        return float(values.sum(dtype=np.float64))

    def unscaled(self, total: float) -> float:
        """A sum over rows with the weights that were given."""
        return times_power(total, self.exponent)


# Exponents to divide by, from those of the least positive weight and the greatest.


def _near_one(least, greatest):
    return greatest if abs(greatest) > _NEAR else 0


def _with_room(least, greatest):
    return greatest - _ROOM if greatest > _ROOM or least < -_ROOM else 0


def _extremes(weights):
    least = weights.min()
    if least == 0.0:
        least = weights.min(where=weights > 0, initial=np.inf)
    return math.frexp(least)[1], math.frexp(weights.max())[1]


def _extremes_of_all(rows):
    extremes = [extreme for extreme in rows.map(_extremes_of_part) if extreme is not None]
    return min(least for least, _ in extremes), max(greatest for _, greatest in extremes)


# The steps that run where the rows are.


def _extremes_of_part(part):
    """None if no row has any weight, which says nothing of the others'."""
    return _extremes(part.sample_weight) if part.sample_weight.any() else None


def _total_weight(part):
    return float(part.sample_weight.sum())


def _unit(exponent):
    return math.ldexp(1.0, -exponent) if abs(exponent) <= _FAR else 1.0
