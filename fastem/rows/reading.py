"""Blocks of rows that are read when they are needed, the next one while one is worked on."""

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any


class ReadAhead:
    """Reads blocks, in turn as a rule; at most two are in memory.

    Parameters
    ----------
    readers : sequence of callable
        One for each block, called without arguments.
    """

    def __init__(self, readers: Sequence[Callable[[], Any]]):
        self._readers = readers
        self._number = -1
        self._block: Any = None
        self._next: tuple[int, Future | None] = -1, None
        self._thread = ThreadPoolExecutor(1, "fastem-read-ahead")

    def __call__(self, number: int) -> Any:
        """A block; that behind it, or the first behind the last, begins to be read."""
        if number != self._number:
            self._number, self._block = -1, None  # before another one is read
            expected, future = self._next
            self._next = -1, None
            if future is not None and expected == number:
                block = future.result()
            else:
                block = self._readers[number]()
            self._number, self._block = number, block
            following = (number + 1) % len(self._readers)
            if following != number:
                self._next = following, self._thread.submit(self._readers[following])
        return self._block
