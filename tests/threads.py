"""Calls on several numbers of threads."""

from collections.abc import Callable, Iterable
from typing import Any

import numba


def on_threads(numbers: Iterable[int], call: Callable[[], Any]) -> list[Any]:
    """What a call returns on each of these numbers of threads, or as many as there can be."""
    before = numba.get_num_threads()
    results = []
    try:
        for n_threads in numbers:
            numba.set_num_threads(min(n_threads, numba.config.NUMBA_NUM_THREADS))
            results.append(call())
    finally:
        numba.set_num_threads(before)
    return results
