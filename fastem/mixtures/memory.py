"""What fits of the same rows share: results of functions that are called with the same arguments.

A search fits many mixtures to the same rows. Where these start depends on the rows, the number of
components and the random stream, but not on what else is searched.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from typing import Any, TypeVar

import joblib
import numpy as np

_Function = TypeVar("_Function", bound=Callable[..., Any])

_memory: ContextVar[dict | None] = ContextVar("memory", default=None)


@contextmanager
def sharing(memory: dict) -> Iterator[None]:
    """Let this thread's remembered functions use a memory; other threads may use it, too."""
    token = _memory.set(memory)
    try:
        yield
    finally:
        _memory.reset(token)


def remembered(function: _Function) -> _Function:
    """Call a function once for the same arguments, as long as a memory is shared.

    Arguments are compared by their values. A ``RandomState`` goes on from where the call has left
    it, so that nothing tells a remembered result from one of its own. Results may not be changed.
    """

    @wraps(function)
    def call(*args):
        memory = _memory.get()
        if memory is None:
            return function(*args)
        streams = [arg for arg in args if isinstance(arg, np.random.RandomState)]
        states = [stream.get_state() for stream in streams]
        values = [arg for arg in args if not isinstance(arg, np.random.RandomState)]
        key = function.__qualname__, joblib.hash((values, states))
        if key not in memory:
            result = function(*args)
            memory[key] = result, [stream.get_state() for stream in streams]
        result, states = memory[key]
        for stream, state in zip(streams, states, strict=True):
            stream.set_state(state)
        return result

    return call  # type: ignore[return-value]
