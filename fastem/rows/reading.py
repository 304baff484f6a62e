"""Rows that memory doesn't hold: which are these, and blocks read one ahead of their turn."""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from fastem.rows.mapped import is_mapped
from fastem.rows.memory import memory

# To have a thread read a block costs this process some 50 microseconds: not worth it for one that
# is there sooner.
_SOON = 2e-4


class ReadAhead:
    """Reads blocks, in turn as a rule; at most two are in memory.

    The next one is read by a thread, unless it took no time when it was read before.

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
        self._seconds = [float("inf")] * len(readers)  # what each took; many at first

    def __call__(self, number: int) -> Any:
        """A block; that behind it, or the first behind the last, begins to be read."""
        if number != self._number:
            self._number, self._block = -1, None  # before another one is read
            expected, future = self._next
            self._next = -1, None
            if future is not None and expected == number:
                block = future.result()
            else:
                block = self._read(number)
            self._number, self._block = number, block
            following = (number + 1) % len(self._readers)
            if following != number and self._seconds[following] > _SOON:
                self._next = following, self._thread.submit(self._read, following)
        return self._block

    def _read(self, number):
        begin = time.perf_counter()
        block = self._readers[number]()
        self._seconds[number] = time.perf_counter() - begin
        return block


def outgrows_memory(part: Any) -> bool:
    """Whether a part's rows are read anew in each pass since they would be too much, as a step.

    They are if they are a file mapped into memory that is larger than the memory, or streamed: only
    what is too large is.
    """
    if not part.in_memory:
        return True
    return is_mapped(part.X) and bool(part.X.nbytes > memory())
