"""Kernels that are needed later, compiled by a thread beside what comes first."""

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any

try:
    import resource
except ImportError:  # Windows, without such limits
    resource = None  # type: ignore[assignment]

from fastem.kernels.runtime.apart import compiling_shared
from fastem.kernels.runtime.compiling import cache
from fastem.kernels.runtime.threads import get_num_threads


@contextlib.contextmanager
def compiled_ahead(kernel: Any, rehearse: Callable[[], Any]) -> Iterator[None]:
    """A context at whose end kernels are compiled that the caller needs from then on.

    Parameters
    ----------
    kernel : dispatcher
        The one among them that takes longest: where it has been compiled, here or on disk, so have
        the others, and nothing is done.
    rehearse : callable
        Calls the kernels, with arguments of the types to come. Called without arguments by a
        thread of its own, unless there is to be but one thread; whatever it raises is left for the
        caller to meet.
    """
    if not _pays(kernel):
        yield
        return
    with contextlib.ExitStack() as ending:
        # Not a daemon, which must not be within LLVM when the process ends.
        thread = threading.Thread(target=_try, args=(rehearse,), name="fastem compiler")
        with contextlib.suppress(RuntimeError, MemoryError):  # the system's limit
            thread.start()
            ending.callback(thread.join)
        with compiling_shared():
            yield


def _try(rehearse):
    with compiling_shared(), contextlib.suppress(Exception):
        rehearse()


def _pays(kernel):
    if kernel.overloads or get_num_threads() < 2:
        return False
    if threading.stack_size():  # so small, perhaps, that LLVM would overflow it
        return False
    if resource and resource.getrlimit(resource.RLIMIT_AS)[0] != resource.RLIM_INFINITY:
        return False  # LLVM ends a process that has no memory for it, of which two take more
    return cache is None or not cache.has_entry(kernel.py_func)
