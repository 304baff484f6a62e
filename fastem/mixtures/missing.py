"""Rows of which entries were not observed, for any mixture whose kernels take them."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import check_random_state

from fastem.rows import Part, Rows
from fastem.rows.collections import blockwise

# A component has lost a feature if that was observed in less than this share of a row.
_LEAST_OBSERVED = 1e-6
# Values in a block of rows that are looked at together.
_BLOCK_VALUES = 1 << 18


class MissingMixin(ABC):
    """Gives a mixture ``missing="em"``, under which NaN says that an entry was not observed."""

    missing: str
    _check_new: Callable[[Any], Any]

    # What the mixture has.

    @abstractmethod
    def _fill(self, X: np.ndarray, random_state: Any) -> None:
        """Put values where rows have none: conditional means, or drawn with a random state."""

    # What it is given.

    @property
    def _gaps(self) -> bool:
        return self.missing == "em"

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()  # type: ignore[misc]
        tags.input_tags.allow_nan = self._gaps
        return tags

    def impute(
        self, X: Any, draw: bool = False, random_state: Any = None
    ) -> NDArray[np.floating[Any]]:
        """Fill in what was not observed, given what was.

        Parameters
        ----------
        X : array-like or Dask collection of shape (n_samples, n_features), or ``fastem.rows``
            With NaN where nothing was observed, if ``missing="em"``.

        draw : bool, default=False
            Whether to draw the values from their joint distribution given the row, component and
            all, as multiple imputation wants it. Else they are their means, over all components.

        random_state : int, RandomState instance or None, default=None
            Determines what is drawn.

        Returns
        -------
        filled : ndarray of shape (n_samples, n_features)
            A copy of the rows, in their dtype.

        Raises
        ------
        TypeError
            For sparse rows, of which all entries are known.
        """
        if not draw:
            return self._impute_means(X)
        if isinstance(X, Rows):
            raise TypeError("'draw' is for rows in one array")
        return self._imputed(X, check_random_state(random_state))

    @blockwise(lambda self, rows: rows.dtype, lambda self: self.n_features_in_)
    def _impute_means(self, X):
        return self._imputed(X, None)

    def _imputed(self, X, random_state):
        X = self._check_new(X)
        if not isinstance(X, np.ndarray):
            raise TypeError("'impute' is for dense rows: of sparse ones all entries are known")
        filled = np.array(X)
        if has_gaps(filled):
            self._fill(filled, random_state)
        return filled


def has_gaps(X: Any) -> bool:
    """Whether any value of dense rows is NaN."""
    if not isinstance(X, np.ndarray):
        return False
    with np.errstate(over="ignore", invalid="ignore"):
        if np.isfinite(X.sum()):
            return False
    return any(np.isnan(X[block]).any() for block in blocks_of(X))


def gaps_in(rows: Any) -> bool:
    """Whether any value of all rows is NaN."""
    return any(rows.map(_has_gaps))


def _has_gaps(part):
    return has_gaps(part.X)


def blocks_of(X: np.ndarray, size: int = 1) -> Any:
    """Slices of the rows, of which ``size`` copies take little memory."""
    step = max(1, _BLOCK_VALUES // (X.shape[1] * size))
    return (slice(start, start + step) for start in range(0, len(X), step))


def drawn_components(
    responsibilities: np.ndarray, random_state: np.random.RandomState
) -> np.ndarray:
    """A component for each row, drawn by its responsibilities."""
    steps = np.cumsum(responsibilities, axis=1)
    drawn = random_state.random_sample((len(steps), 1)) * steps[:, -1:]
    return np.minimum((steps <= drawn).sum(axis=1), steps.shape[1] - 1)


class Columns:
    """What is known of each column from the rows in which it was observed.

    Parameters
    ----------
    rows : rows as in :mod:`fastem.rows`

    Attributes
    ----------
    means, variances : ndarray of shape (n_features,)
    missing : ndarray of shape (n_features,)
        The share of the rows, by weight, in which the column was not observed.

    Raises
    ------
    ValueError
        If a column was never observed.
    """

    def __init__(self, rows: Any):
        total, seen, sums = rows.reduce(_sums, np.zeros(rows.n_features))
        check_columns(seen)
        self.means = sums / seen
        self.variances = rows.reduce(_squares, self.means) / seen
        self.missing = 1.0 - seen / total


def _sums(part: Part, centers):
    """The rows' weight, and for each column that of its values and their sum."""
    seen, sums, total = np.zeros(len(centers)), np.zeros(len(centers)), 0.0
    for x, there, weight in _blocks(part):
        seen += weight @ there
        sums += weight @ np.where(there, x, 0.0)
        total += weight.sum()
    return total, seen, sums


def _squares(part: Part, centers):
    squares = np.zeros(len(centers))
    for x, there, weight in _blocks(part):
        squares += weight @ np.where(there, x - centers, 0.0) ** 2
    return squares


def _blocks(part):
    for block in blocks_of(part.X):
        x = part.X[block].astype(np.float64)
        weight = np.ones(len(x)) if part.sample_weight is None else part.sample_weight[block]
        yield x, ~np.isnan(x), weight


def check_columns(seen: np.ndarray) -> None:
    """Refuse columns of which the rows in which they were observed have no weight at all.

    Raises
    ------
    ValueError
        If there are such.
    """
    never = np.flatnonzero(seen == 0.0)
    if len(never):
        raise ValueError(
            f"Columns {never.tolist()} of X have no observed value in any row that has a weight"
        )


def check_observed(observed: np.ndarray, counts: np.ndarray, row: float) -> None:
    """Refuse to go on with a component that has lost every observation of a feature.

    Parameters
    ----------
    observed : ndarray of shape (n_components, n_features)
        Sums of responsibilities over the rows in which a feature was observed.
    counts : ndarray of shape (n_components,)
        Sums over all rows.
    row : float
        What a row counts.

    Raises
    ------
    ValueError
        If one has.
    """
    least = _LEAST_OBSERVED * row
    lost = np.argwhere((observed < least) & (counts >= least)[:, np.newaxis])
    if len(lost):
        component, feature = lost[0].tolist()
        raise ValueError(
            f"Component {component} has lost every observation of feature {feature}: none of its "
            "rows has a value there, so that nothing tells where the component is. Try to decrease "
            "the number of components, or another start."
        )
