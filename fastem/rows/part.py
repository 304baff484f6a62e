"""The interface between a fit and its rows."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass(slots=True)
class Part:
    """Consecutive rows that live in one process.

    Parameters
    ----------
    X : ndarray or CSR matrix of shape (n_rows, n_features), float32 or float64
    sample_weight : None or ndarray of shape (n_rows,), float64
        None stands for ones.
    offset : int
        Index of the first row among all rows.
    state : dict
        Stays with the rows between passes: labels, bounds, whatever has a value for each row.
    """

    X: Any
    sample_weight: np.ndarray | None = None
    offset: int = 0
    state: dict[str, Any] = field(default_factory=dict)

    @property
    def n_rows(self) -> int:
        return self.X.shape[0]


def add(left: Any, right: Any) -> Any:
    """The statistics of two parts together: tuples are added field by field."""
    if isinstance(left, tuple):
        fields = [add(a, b) for a, b in zip(left, right, strict=True)]
        return type(left)(*fields) if hasattr(left, "_fields") else tuple(fields)
    return left + right


class LocalRows:
    """Rows in parts of this process.

    Another home of rows (several processes, say) offers the same attributes and methods. A step is
    a module-level function ``step(part, *args)``; steps and their arguments can be pickled.

    Parameters
    ----------
    parts : sequence of Part
        In the order of their offsets, without gaps.

    Attributes
    ----------
    n_rows, n_features : int
    dtype : dtype
        float32 or float64.
    sparse : bool
        Whether the rows are CSR matrices.
    weighted : bool
        Whether the rows have weights.
    """

    def __init__(self, parts: Sequence[Part]):
        self.parts = list(parts)
        X = self.parts[0].X
        self.n_rows = sum(part.n_rows for part in self.parts)
        self.n_features = X.shape[1]
        self.dtype = X.dtype
        self.sparse = not isinstance(X, np.ndarray)
        self.weighted = self.parts[0].sample_weight is not None

    def map(self, step: Callable, *args: Any) -> list:
        """The step's result for each part, in the parts' order."""
        return [step(part, *args) for part in self.parts]

    def reduce(self, step: Callable, *args: Any) -> Any:
        """The sum of the step's results over the parts, added in the parts' order."""
        first, *others = self.parts
        total = step(first, *args)
        for part in others:
            total = add(total, step(part, *args))
        return total

    def collect(self, step: Callable, *args: Any) -> np.ndarray:
        """Per-row results of a step, put together in the rows' order."""
        results = self.map(step, *args)
        return results[0] if len(results) == 1 else np.concatenate(results)

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
        if len(self.parts) == 1:
            return _dense_rows(self.parts[0].X, indices)
        taken = np.empty((len(indices), self.n_features), self.dtype)
        for part in self.parts:
            local = indices - part.offset
            here = (local >= 0) & (local < part.n_rows)
            taken[here] = _dense_rows(part.X, local[here])
        return taken


def _dense_rows(X, indices):
    rows = X[indices]
    return rows if isinstance(rows, np.ndarray) else rows.toarray()
