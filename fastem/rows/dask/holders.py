"""What happens on a cluster's workers: each part has a holder, which makes up for what is lost."""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from threading import Lock
from typing import Any, NamedTuple
from weakref import WeakValueDictionary

import numba
import numpy as np
from distributed import Status, get_worker

from fastem.rows.part import Part, fill
from fastem.rows.stream import StreamedPart


class Call(NamedTuple):
    """A step to be made on all parts, scaled by a factor."""

    step: Any
    args: tuple
    factor: float

    def on(self, part: Any) -> Any:
        """The step's result for a part."""
        if self.factor != 1.0:
            part = part.scaled(self.factor)
        return part.call(self.step, *self.args)


def fill_block(block: Any, values: np.ndarray) -> Any:
    """A block of rows, or a function that reads it, with values of the columns in place of NaN."""
    return partial(_read_filled, block, values) if callable(block) else fill(block, values)


def _read_filled(read, values):
    return fill(read(), values)


class Asked(NamedTuple):
    """What a holder is asked for: the result of the last of some calls in a row.

    Parameters
    ----------
    calls : sequence of Call
    number : int
        Of the last one, among all calls of the fit.
    complete : bool
        Whether no call before these has left a trace.
    """

    calls: Sequence[Call]
    number: int
    complete: bool

    @property
    def first(self) -> int:
        """The first one's number."""
        return self.number + 1 - len(self.calls)


class Behind(NamedTuple):
    """An answer of a holder that has to hear of earlier calls first.

    Parameters
    ----------
    n_calls : int
        How many it knows.
    """

    n_calls: int


class Answer(NamedTuple):
    """The result of a call.

    Parameters
    ----------
    value : object
    error : Exception or None
        What the step raised.
    keeps : bool
        Whether the part keeps anything for later calls.
    """

    value: Any
    error: Exception | None
    keeps: bool


class Holder:
    """One part of the rows on a worker, and how many calls it has seen.

    A copy that Dask sends elsewhere holds nothing until it is asked, and one that Dask has made
    again, since a worker is lost, has seen no calls. Both say what they have missed. So whatever a
    part keeps follows from the same calls. A call made twice, since Dask has lost the result,
    counts once.

    Parameters
    ----------
    X : ndarray or CSR matrix, or callable, or None
        The part's rows; a callable reads them; None for a holder that is given them when asked.
    sample_weight : None or ndarray of shape (n_rows,), float64
    n_rows, offset, number
        As of :class:`fastem.rows.Part`.
    exponent : int
        The weights are multiplied by two to this.
    crew : str
        Whose holder it is.
    """

    def __init__(
        self, X, sample_weight, n_rows: int, offset: int, number: int, exponent: int, crew: str
    ):
        self._place = n_rows, offset, number, exponent, crew
        self.number, self.crew = number, crew
        self._part = None if X is None else self._make_part(X, sample_weight)
        self._n_calls = 0
        self._last: Any = None
        self._lock = Lock()  # Dask may run a task anew while it still runs

    def __reduce__(self):
        return Holder, (None, None, *self._place)

    def _make_part(self, X, sample_weight):
        n_rows, offset, number, exponent, _ = self._place
        if callable(X):
            part: Any = StreamedPart(X, n_rows, sample_weight, offset, number)
        else:
            part = Part(X, sample_weight, offset, number)
        return part.fresh(exponent) if exponent else part

    def ask(self, asked: Asked, X: Any, sample_weight: np.ndarray | None) -> Answer | Behind:
        """The result of a call, or what is missing for it; the rows are for an empty holder."""
        with self._lock:
            if self._part is None:
                self._part = self._make_part(X, sample_weight)
            if self._n_calls < asked.first:
                if not asked.complete:
                    return Behind(self._n_calls)
                self._part = self._part.fresh()
                self._n_calls = asked.first
            for call in asked.calls[self._n_calls - asked.first :]:
                self._last = self._answer(call)
                self._n_calls += 1
            return self._last

    def _answer(self, call):
        try:
            value, error = call.on(self._part), None
        except Exception as raised:
            value, error = None, raised
        return Answer(value, error, bool(self._part.keeps))


# The holders that have been asked in this process, as long as Dask keeps them: by their worker's
# address, their crew and their number.
_HERE: WeakValueDictionary[tuple[str, str, int], Holder] = WeakValueDictionary()
_HERE_LOCK = Lock()


def ask_holders(holders: list[Holder], asked: Asked, rows: list, weights: list) -> list:
    """Ask a worker's holders, one after another, as a task."""
    worker = get_worker()
    with _HERE_LOCK:
        _HERE.update({(worker.address, holder.crew, holder.number): holder for holder in holders})
    with _threads_of(worker):
        return [
            holder.ask(asked, X, weight)
            for holder, X, weight in zip(holders, rows, weights, strict=True)
        ]


async def ask_directly(crew: str, asked: Asked, dask_worker: Any = None) -> dict:
    """Ask a crew's holders that have been asked on this worker, which spares the scheduler a task.

    They still wait for one of the threads that the worker's tasks run on. A worker that is paused
    or leaves answers for none.

    Returns
    -------
    dict of Answer or Behind
        By the holders' numbers.
    """
    with _HERE_LOCK:
        found = [
            holder
            for (address, whose, _), holder in _HERE.items()
            if address == dask_worker.address and whose == crew
        ]
    if not found or dask_worker.status != Status.running:
        return {}
    ask = partial(_ask_here, sorted(found, key=lambda holder: holder.number), asked, dask_worker)
    loop = asyncio.get_running_loop()
    return await loop.run_in_executor(dask_worker.executors["default"], ask)


def _ask_here(holders, asked, worker):
    with _threads_of(worker):
        return {holder.number: holder.ask(asked, None, None) for holder in holders}


@contextmanager
def _threads_of(worker) -> Iterator[None]:
    """As many threads for the kernels as the worker has."""
    before = numba.get_num_threads()
    numba.set_num_threads(min(worker.state.nthreads, numba.config.NUMBA_NUM_THREADS))
    try:
        yield
    finally:
        numba.set_num_threads(before)


def collect_from(holder: Holder, asked: Asked, X: Any, sample_weight: Any) -> Any:
    """A holder's result itself, for a task whose result stays on the worker."""
    answer: Any = holder.ask(asked, X, sample_weight)  # all calls are there
    if answer.error is not None:
        raise answer.error
    return answer.value
