"""Consecutive rows in one process, and what a fit keeps with them."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np

from fastem.rows.mapped import read_ahead

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
    number : int
        Which part it is, empty ones counted, for messages.
    """

    #: Whether the rows stay in memory from one call to the next.
    in_memory: ClassVar[bool] = True

    X: Any
    sample_weight: np.ndarray | None = None
    offset: int = 0
    number: int = 0
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
        with read_ahead(self.X):
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

    def kept(
        self, slot: Slot[T], make: Callable[..., T] | None = None, *args: Any, reads: bool = True
    ) -> T:
        """What is kept; ``make(*args)`` if there is nothing yet.

        A step that ``reads`` no rows by it says so: where they aren't in memory, that spares a
        reading.
        """
        things, name = self._kept.things, slot.name
        if make is not None and name not in things:
            things[name] = make(*args)
        return things[name]

    def drop(self, *slots: Slot) -> None:
        """Keep these no longer, if they are there."""
        for slot in slots:
            self._kept.things.pop(slot.name, None)

    def scaled(self, factor: float) -> "Part":
        """The rows multiplied by a factor, in a copy, with the same things kept."""
        return replace(self, X=self.X * factor)

    def fresh(self, exponent: int = 0) -> "Part":
        """The rows with nothing kept, and with weights times two to the exponent."""
        weight = self.sample_weight
        if weight is not None and exponent != 0:
            weight = np.ldexp(weight, exponent)
        return Part(self.X, weight, self.offset, self.number)

    def filled(self, values: np.ndarray) -> "Part":
        """The dense rows with these values of the columns in place of NaN, copied if there is any.

        Nothing of what is kept is kept with them.
        """
        return Part(fill(self.X, values), self.sample_weight, self.offset, self.number)


def fill(X: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Rows with these values of the columns in place of NaN, copied if there is any."""
    filled = X
    for f, value in enumerate(values):
        missing = np.isnan(X[:, f])
        if missing.any():
            filled = np.array(X) if filled is X else filled
            filled[missing, f] = value
    return filled


def add(left: Any, right: Any) -> Any:
    """The statistics of two parts together: tuples are added field by field."""
    if isinstance(left, tuple):
        fields = [add(a, b) for a, b in zip(left, right, strict=True)]
        return type(left)(*fields) if hasattr(left, "_fields") else tuple(fields)
    return left + right
