"""What a fit asks of its rows, wherever they live."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from functools import reduce
from typing import Any

import numpy as np
import scipy.sparse

from fastem.rows.blocks import dense
from fastem.rows.part import Part, add
from fastem.rows.reading import outgrows_memory


class Rows(ABC):
    """A home of rows: all rows of a fit, in parts, and passes over these.

    A step is a module-level function ``step(part, *args)``, run where the part is; steps and their
    arguments can be pickled. Fits see nothing of the rows but what steps return. A home has no
    empty parts unless it has no rows at all, so that steps needn't think of these.

    Attributes
    ----------
    n_rows, n_features : int
    n_parts : int
        Parts that have rows.
    dtype : dtype
        float32 or float64.
    sparse : bool
        Whether the rows are CSR matrices.
    weighted : bool
        Whether the rows have weights.
    feature_names : None or ndarray of str
        As estimators keep them.
    """

    n_rows: int
    n_features: int
    n_parts: int
    dtype: np.dtype
    sparse: bool
    weighted: bool
    feature_names: np.ndarray | None = None

    # What every home writes.

    @abstractmethod
    def each(self, step: Callable, *args: Any) -> Iterator[Any]:
        """The step's result for each part, in the parts' order, as soon as it is there.

        The whole iterator is used.
        """

    @abstractmethod
    def collect(self, step: Callable, *args: Any) -> Any:
        """Per-row results of a step in the rows' order, in a container that suits the home."""

    @abstractmethod
    def fresh(self, exponent: int = 0) -> "Rows":
        """The same rows for another fit: the parts keep nothing yet.

        The weights, if there are any, are multiplied by two to the ``exponent``.
        """

    @abstractmethod
    def scaled(self, factor: float) -> "Rows":
        """The rows multiplied by a factor, in a copy unless that is 1.

        What parts keep is shared with the copy, whose lifetime is the caller's concern.
        """

    @abstractmethod
    def filled(self, values: np.ndarray) -> "Rows":
        """The dense rows with these values of the columns in place of NaN.

        A copy where there is any; nothing of what parts keep is kept with it.
        """

    # What follows from that; a home may have a better way.

    def __array__(self, *args: Any, **options: Any) -> np.ndarray:
        raise TypeError(
            f"Rows in parts ({type(self).__name__}) are no array, and only fit, predict and other "
            "methods with a result for each row take them"
        )

    def map(self, step: Callable, *args: Any) -> list:
        """The step's result for each part, in the parts' order."""
        return list(self.each(step, *args))

    def reduce(self, step: Callable, *args: Any) -> Any:
        """The sum of the step's results over the parts, added in the parts' order."""
        return reduce(add, self.each(step, *args))

    def take(self, indices: np.ndarray) -> np.ndarray:
        """Rows by their index among all rows, dense and in the rows' dtype.

        Parameters
        ----------
        indices : array-like of shape (n,), int

        Returns
        -------
        ndarray of shape (n, n_features)
        """
        indices = np.asarray(indices, np.intp)
        taken = np.empty((len(indices), self.n_features), self.dtype)
        for places, rows in self.each(take_from, indices):
            taken[places] = rows
        return taken

    def pick(self, indices: np.ndarray) -> Any:
        """As :meth:`take`, but CSR rows as a CSR matrix, which is small where columns are many."""
        if not self.sparse:
            return self.take(indices)
        found = [each for each in self.each(pick_from, indices) if len(each[0])]
        order = np.argsort(np.concatenate([places for places, _ in found]))
        return scipy.sparse.vstack([rows for _, rows in found], "csr")[order]

    def outgrow_memory(self) -> bool:
        """Whether a pass reads the rows from where they are stored, since memory doesn't hold them.

        Then few passes count for more than the best start.
        """
        return any(self.map(outgrows_memory))

    # What only homes in several processes have to do, of which each runs the fit.

    def agree(self, value: Any) -> Any:
        """One process's value for all; the value itself where there is but one process."""
        return value

    def together(self, estimator: Any = None) -> AbstractContextManager[None]:
        """A context that fails everywhere if it fails anywhere, or if the estimators differ."""
        return nullcontext()


def take_from(part: Part, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which of the indices are this part's, and these rows."""
    places, local = _places(part, indices)
    if len(places) == 0:  # these rows needn't be read
        return places, np.empty((0, 1))
    return places, dense(part, local)


def pick_from(part: Part, indices: np.ndarray) -> tuple[np.ndarray, Any]:
    """As :func:`take_from`, but rows as the part has them, None for none."""
    places, local = _places(part, indices)
    return places, part.X[local] if len(places) else None


def _places(part, indices):
    local = indices - part.offset
    places = np.flatnonzero((local >= 0) & (local < part.n_rows))
    return places, local[places]
