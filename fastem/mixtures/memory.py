"""What fits of the same rows share: results of functions that are called with the same arguments.

A search fits many mixtures to the same rows. Where these start depends on the rows, the number of
components and the random stream, but not on what else is searched.
"""

from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from threading import Lock
from typing import Any, TypeVar

import joblib
import numpy as np

from fastem.rows import LocalRows, Rows

_Function = TypeVar("_Function", bound=Callable[..., Any])

_memory: ContextVar["Memory | None"] = ContextVar("memory", default=None)


class Memory:
    """Results by their functions' names and arguments, for one search and its threads."""

    def __init__(self):
        self.results: dict[Hashable, Any] = {}
        self._arrays: list[np.ndarray] = []
        self._lock = Lock()

    def key(self, value: Any) -> Hashable:
        """The same for equal values only."""
        if isinstance(value, np.ndarray):
            return self._number(value)
        if isinstance(value, np.random.RandomState):
            return joblib.hash(value.get_state(legacy=False))  # of any bit generator
        if isinstance(value, LocalRows):
            return tuple(self.key((part.X, part.sample_weight)) for part in value.parts)
        if isinstance(value, tuple):
            return type(value), *map(self.key, value)
        return joblib.hash(value)

    def _number(self, array):
        """Which of the different arrays so far it is.

        They are kept: comparing with one of the same place or values takes less than a digest does.
        """
        with self._lock:
            for number, known in enumerate(self._arrays):
                if _same(array, known):
                    return number
            self._arrays.append(array)
            return len(self._arrays) - 1


@contextmanager
def sharing(memory: Memory) -> Iterator[None]:
    """Let this thread's remembered functions use a memory; other threads may use it, too."""
    token = _memory.set(memory)
    try:
        yield
    finally:
        _memory.reset(token)


def is_shared(rows: Rows) -> bool:
    """Whether what is learnt of these rows is remembered: only of such in this process."""
    return _memory.get() is not None and isinstance(rows, LocalRows)


def remembered(function: _Function) -> _Function:
    """Call a function once for the same arguments, as long as a memory is shared.

    Arguments are compared by their values, and those by keyword not at all: they are what is known
    of the others. A ``RandomState`` goes on from where the call has left it, so that nothing tells
    a remembered result from one of its own. Results may not be changed.
    """

    @wraps(function)
    def call(*args, **known):
        memory = _memory.get()
        elsewhere = any(isinstance(arg, Rows) and not is_shared(arg) for arg in args)
        if memory is None or elsewhere:
            return function(*args, **known)
        streams = [arg for arg in args if isinstance(arg, np.random.RandomState)]
        key = function.__qualname__, memory.key(args)
        if key not in memory.results:
            result = function(*args, **known)
            memory.results[key] = result, [stream.get_state(legacy=False) for stream in streams]
        result, states = memory.results[key]
        for stream, state in zip(streams, states, strict=True):
            stream.set_state(state)
        return result

    return call  # type: ignore[return-value]


def _same(array, other):
    """Whether arrays are equal to the bit."""
    if array.shape != other.shape or array.dtype != other.dtype:
        return False
    if array.ctypes.data == other.ctypes.data and array.strides == other.strides:
        return True
    return np.array_equal(_bytes(array), _bytes(other))


def _bytes(array):
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8)
