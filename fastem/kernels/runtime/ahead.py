"""Kernels that are needed later, compiled by a thread beside what comes first."""

import contextlib
import threading
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

try:
    import resource
except ImportError:  # Windows, without such limits
    resource = None  # type: ignore[assignment]

from fastem.kernels.runtime.compiling import cache, compiling_shared
from fastem.kernels.runtime.threads import get_num_threads


@contextlib.contextmanager
def compiled_ahead(kernel: Any, *rehearsals: Callable[[], Any]) -> Iterator[None]:
    """A context at whose end kernels are compiled that the caller needs from then on.

    Parameters
    ----------
    kernel : dispatcher
        The one among them that takes longest: where it has been compiled, here or on disk, so have
        the others, and nothing is done.
    *rehearsals : callables
        They call the kernels, with arguments of the types to come; what takes longest first. Called
        without arguments by a thread of its own, unless there is to be but one thread, and what is
        left of them at the end by the caller. Whatever they raise is left for him to meet.
    """
    if not _pays(kernel):
        yield
        return
    left = deque(rehearsals)
    with contextlib.ExitStack() as ending:
        # Not a daemon, which must not be within LLVM when the process ends.
        thread = threading.Thread(target=_rehearse, args=(left,), name="fastem compiler")
        started = False
        with contextlib.suppress(RuntimeError, MemoryError):  # the system's limit
            thread.start()
            started = True
            ending.callback(thread.join)
            ending.callback(left.clear)
        with compiling_shared():
            yield
            if started:
                _rehearse(left)


def _rehearse(left):
    """Call what is left, which others do, too."""
    with compiling_shared(), contextlib.suppress(IndexError):
        while True:
            rehearsal = left.popleft()
            with contextlib.suppress(Exception):
                rehearsal()


def _pays(kernel):
    if kernel.overloads or get_num_threads() < 2:
        return False
    if threading.stack_size():  # so small, perhaps, that LLVM would overflow it
        return False
    if resource and resource.getrlimit(resource.RLIMIT_AS)[0] != resource.RLIM_INFINITY:
        return False  # LLVM ends a process that has no memory for it, of which two take more
    return cache is None or not cache.has_entry(kernel.py_func)
