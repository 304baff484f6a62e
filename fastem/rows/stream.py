"""Rows that are read anew in each pass, a block at a time: more than fit into memory."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, TypeVar

import numpy as np

from fastem.rows.detached import Detached
from fastem.rows.home import Rows
from fastem.rows.memory import memory
from fastem.rows.part import Slot, fill
from fastem.rows.reading import ReadAhead

T = TypeVar("T")


class StreamedPart:
    """As :class:`fastem.rows.Part`, of rows that are in memory during a call only, and if needed.

    What is kept may refer to the rows: it is put aside without them after each call.

    Parameters
    ----------
    read : callable
        ``read()`` returns the rows, the same each time.
    n_rows : int
    sample_weight : None or ndarray of shape (n_rows,), float64
        None stands for ones. In memory all the time.
    offset : int
        Index of the first row among all rows.
    number : int
        Which part it is, empty ones counted, for messages.
    """

    in_memory = False

    def __init__(
        self,
        read: Callable[[], Any],
        n_rows: int,
        sample_weight: np.ndarray | None = None,
        offset: int = 0,
        number: int = 0,
    ):
        self._read = read
        self.n_rows = n_rows
        self.sample_weight = sample_weight
        self.offset = offset
        self.number = number
        self._kept: dict[str, Detached] = {}
        # During a call: the rows, and what is kept, as far as either has been asked for.
        self._X: Any = None
        self._live: dict[str, Any] = {}

    @property
    def X(self) -> Any:
        """The rows, during a call."""
        if self._X is None:
            self._X = self._read()
            if self._X.shape[0] != self.n_rows:
                raise ValueError(
                    f"Partition {self.number} has {self._X.shape[0]} rows, but had {self.n_rows} "
                    "when it was read before"
                )
        return self._X

    @property
    def keeps(self) -> set[str]:
        """The names of what is kept."""
        return set(self._kept)

    def call(self, step: Callable, *args: Any) -> Any:
        """The step's result for this part."""
        try:
            result = step(self, *args)
            for name, thing in self._live.items():
                self._kept[name] = Detached(thing, self._X, self._kept.get(name))
        finally:
            self._X = None
            self._live = {}
        return result

    def keep(self, slot: Slot[T], thing: T) -> T:
        """Keep a thing, in the place of the one before."""
        self._live[slot.name] = thing
        return thing

    def kept(
        self, slot: Slot[T], make: Callable[..., T] | None = None, *args: Any, reads: bool = True
    ) -> T:
        """What is kept; ``make(*args)`` if there is nothing yet.

        Who ``reads`` no rows by it spares their reading.
        """
        if slot.name in self._live:
            return self._live[slot.name]
        if make is not None and slot.name not in self._kept:
            return self.keep(slot, make(*args))
        kept = self._kept[slot.name]
        return self.keep(slot, kept.attach(lambda: self.X) if reads else kept.attach_to_nothing())

    def drop(self, *slots: Slot) -> None:
        """Keep these no longer, if they are there."""
        for slot in slots:
            self._kept.pop(slot.name, None)
            self._live.pop(slot.name, None)

    def scaled(self, factor: float) -> "StreamedPart":
        """The rows multiplied by a factor, with the same things kept."""
        part = self.fresh()
        part._read = lambda: self._read() * factor
        part._kept = self._kept
        return part

    def fresh(self, exponent: int = 0) -> "StreamedPart":
        """The rows with nothing kept, and with weights times two to the exponent."""
        weight = self.sample_weight
        if weight is not None and exponent != 0:
            weight = np.ldexp(weight, exponent)
        return StreamedPart(self._read, self.n_rows, weight, self.offset, self.number)

    def filled(self, values: np.ndarray) -> "StreamedPart":
        """The rows with these values of the columns in place of NaN, and nothing kept."""
        part = self.fresh()
        part._read = lambda: fill(self._read(), values)
        return part


class StreamedRows(Rows):
    """Rows in this process, each block in memory only while it is worked on.

    Parameters
    ----------
    parts : sequence of StreamedPart
        In the order of their offsets, without gaps or empty ones.
    n_features : int
    dtype : dtype
    sparse : bool
    container : callable
        Makes what :meth:`collect` returns of an array.
    """

    def __init__(
        self,
        parts: Sequence[StreamedPart],
        n_features: int,
        dtype: np.dtype,
        sparse: bool,
        container: Callable[[np.ndarray], Any] = np.asarray,
    ):
        self.parts = list(parts)
        self.n_rows = sum(part.n_rows for part in self.parts)
        self.n_features = n_features
        self.n_parts = len(self.parts)
        self.dtype = dtype
        self.sparse = sparse
        self._container = container
        self.weighted = bool(self.parts) and self.parts[0].sample_weight is not None

    def each(self, step: Callable, *args: Any) -> Iterator[Any]:
        return (part.call(step, *args) for part in self.parts)

    def collect(self, step: Callable, *args: Any) -> Any:
        return self._container(np.concatenate(self.map(step, *args)))

    def outgrow_memory(self) -> bool:
        """Whether all dense rows together do; how large matrices are isn't known."""
        nbytes = self.n_rows * self.n_features * self.dtype.itemsize
        return not self.sparse and nbytes > memory()

    def fresh(self, exponent: int = 0) -> "StreamedRows":
        return self._with([part.fresh(exponent) for part in self.parts])

    def scaled(self, factor: float) -> "StreamedRows":
        return self if factor == 1.0 else self._with([part.scaled(factor) for part in self.parts])

    def filled(self, values: np.ndarray) -> "StreamedRows":
        return self._with([part.filled(values) for part in self.parts])

    def _with(self, parts):
        return StreamedRows(
            parts, self.n_features, self.dtype, self.sparse, container=self._container
        )


def streamed_parts(
    readers: Sequence[Callable[[], Any]], lengths: Sequence[int], sample_weight: Any = None
) -> list[StreamedPart]:
    """Parts whose rows are read ahead of their turn.

    Parameters
    ----------
    readers : sequence of callable
        Each returns a block of rows as the kernels take them, the same each time.
    lengths : sequence of int
        The blocks' numbers of rows. Empty ones become no parts.
    sample_weight : None or ndarray of shape (n_rows,), float64

    Returns
    -------
    list of StreamedPart
    """
    numbers = [number for number, length in enumerate(lengths) if length > 0]
    read = ReadAhead([readers[number] for number in numbers])
    ends = np.cumsum([0, *lengths])
    parts = []
    for place, number in enumerate(numbers):
        start, stop = int(ends[number]), int(ends[number + 1])
        weight = None if sample_weight is None else sample_weight[start:stop]
        parts.append(StreamedPart(partial(read, place), stop - start, weight, start, number))
    return parts
