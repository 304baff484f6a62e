"""The interface between a fit and its rows."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import numpy as np

T = TypeVar("T")


class Slot(Generic[T]):
    """The name of one kind of thing that a part keeps from one call to the next.

    Parameters
    ----------
    name : str
        Different for each slot.
    """

    def __init__(self, name: str):
        self.name = name


@dataclass(slots=True)
class _Kept:
    things: dict[str, Any] = field(default_factory=dict)
    n_calls: int = 0


@dataclass(slots=True)
class Part:
    """Consecutive rows that live in one process, and what is kept with them between calls.

    All that is kept follows from the rows and the calls so far, whose number is known. So a home of
    rows that logs its calls can lose a part and replay them on the same rows.

    Parameters
    ----------
    X : ndarray or CSR matrix of shape (n_rows, n_features), float32 or float64
    sample_weight : None or ndarray of shape (n_rows,), float64
        None stands for ones.
    offset : int
        Index of the first row among all rows.
    """

    X: Any
    sample_weight: np.ndarray | None = None
    offset: int = 0
    _kept: _Kept = field(default_factory=_Kept, repr=False)

    @property
    def n_rows(self) -> int:
        return self.X.shape[0]

    @property
    def n_calls(self) -> int:
        """How many calls have led to what is kept."""
        return self._kept.n_calls

    @property
    def keeps(self) -> set[str]:
        """The names of what is kept. Where that is nothing, earlier calls need no replay."""
        return set(self._kept.things)

    def call(self, step: Callable, *args: Any) -> Any:
        """The step's result for this part; the call counts."""
        result = step(self, *args)
        self._kept.n_calls += 1
        return result

    def replay(self, calls: Iterable[tuple[Callable, tuple]]) -> None:
        """Catch up with a log of all calls: those that this part hasn't seen are made again."""
        for step, args in list(calls)[self.n_calls :]:
            self.call(step, *args)

    def keep(self, slot: Slot[T], thing: T) -> T:
        """Keep a thing, in the place of the one before."""
        self._kept.things[slot.name] = thing
        return thing

    def kept(self, slot: Slot[T], make: Callable[..., T] | None = None, *args: Any) -> T:
        """What is kept; ``make(*args)`` if there is nothing yet."""
        if make is not None and slot.name not in self._kept.things:
            return self.keep(slot, make(*args))
        return self._kept.things[slot.name]

    def drop(self, *slots: Slot) -> None:
        """Keep these no longer, if they are there."""
        for slot in slots:
            self._kept.things.pop(slot.name, None)

    def scaled(self, factor: float) -> "Part":
        """The rows multiplied by a factor, in a copy, with the same things kept."""
        return Part(self.X * factor, self.sample_weight, self.offset, self._kept)


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
        return [part.call(step, *args) for part in self.parts]

    def reduce(self, step: Callable, *args: Any) -> Any:
        """The sum of the step's results over the parts, added in the parts' order."""
        first, *others = self.parts
        total = first.call(step, *args)
        for part in others:
            total = add(total, part.call(step, *args))
        return total

    def collect(self, step: Callable, *args: Any) -> np.ndarray:
        """Per-row results of a step, put together in the rows' order."""
        results = self.map(step, *args)
        return results[0] if len(results) == 1 else np.concatenate(results)

    def scaled(self, factor: float) -> "LocalRows":
        """The rows multiplied by a factor, in a copy unless that is 1.

        What parts keep is shared with the copy, whose lifetime is the caller's concern.
        """
        return self if factor == 1.0 else LocalRows([part.scaled(factor) for part in self.parts])

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
