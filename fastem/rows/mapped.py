"""Files mapped into memory, read ahead of the kernels that pass over them."""

import ctypes
import mmap
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import numpy as np

from fastem.kernels.runtime.parallel import runs_beside

# So far ahead, in bytes, and so many at a time.
_AHEAD = 1 << 26
_BLOCK = 1 << 22
# Pages whose presence stands for that of all.
_N_SAMPLES = 64

# Linux and macOS have it. It says of other users' files that all is there.
_mincore = getattr(ctypes.CDLL(None), "mincore", None) if hasattr(mmap, "MADV_NORMAL") else None


def is_mapped(X: Any) -> bool:
    """Whether rows are a file mapped into memory."""
    owner = X
    while isinstance(owner, (np.ndarray, memoryview)):
        owner = owner.base if isinstance(owner, np.ndarray) else owner.obj
    return isinstance(owner, mmap.mmap)


def read_ahead(X: Any) -> AbstractContextManager[None]:
    """A context in which kernels find mapped rows read.

    Threads that take chunks in turn fault in each other's way, and the system takes their reading
    for random: 1.0 to 1.4 GB/s where one thread that touches page after page had 2.4 to 2.7 of the
    disk's 3.
    """
    return runs_beside(_beside) if is_mapped(X) else nullcontext()


@contextmanager
def _beside(tickets, n_chunks, args) -> Iterator[None]:
    """A run beside which a thread reads what the run gets of a mapped file, if it isn't there."""
    pages = next((arg for arg in args if is_mapped(arg) and arg.flags.c_contiguous), None)
    pages = None if pages is None else pages.reshape(-1).view(np.uint8)
    if pages is None or not is_missing(pages):
        yield
        return
    ended = threading.Event()
    thread = threading.Thread(
        target=touch, args=(pages, lambda: tickets[0] / n_chunks, ended), name="fastem-read-ahead"
    )
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def is_missing(pages: np.ndarray) -> bool:
    """Whether some of a mapped file's pages aren't in memory, by a sample."""
    if _mincore is None or len(pages) < _BLOCK:
        return False
    first, there = pages.ctypes.data, ctypes.c_ubyte()
    for offset in range(0, len(pages), len(pages) // _N_SAMPLES):
        address = (first + offset) // mmap.PAGESIZE * mmap.PAGESIZE
        known = _mincore(ctypes.c_void_p(address), ctypes.c_size_t(1), ctypes.byref(there)) == 0
        if known and not there.value & 1:
            return True
    return False


def touch(pages, share_done, ended) -> None:
    """Read pages in turn, up to so far ahead of what is done, until that ends.

    Who needs no page leaves this behind, and nothing is read that no one asked for.
    """
    position = 0
    while position < len(pages) and not ended.is_set():
        done = int(share_done() * len(pages))
        position = max(position, done)
        if position > done + _AHEAD:
            time.sleep(1e-3)
            continue
        pages[position : position + _BLOCK : mmap.PAGESIZE].max(initial=0)
        position += _BLOCK
