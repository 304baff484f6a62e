"""Runs a kernel's chunks of work on several threads.

A kernel is a serial function that takes chunk numbers from a shared counter until none is left, and
every thread runs the same machine code. Numba's ``prange`` would need one of its threading layers,
which abort the process after a fork (GNU OpenMP) or under concurrent and nested use (workqueue).
"""

import contextlib
import ctypes
import os
import threading
from collections.abc import Callable, Iterator
from queue import SimpleQueue
from typing import Any

import numpy as np
from numba import types
from numba.extending import intrinsic

from fastem.kernels.runtime.threads import get_num_threads


@intrinsic
def next_chunk(typingctx, tickets):
    """Take the next chunk's number: an atomic ``tickets[0]++``.

    Parameters
    ----------
    tickets : array of int64, shape (1,)
        What :func:`run` passes to a kernel.

    Returns
    -------
    chunk : int
        Counts up from 0 and goes on past the last chunk.
    """
    sig = types.intp(tickets)

    def codegen(context, builder, signature, args):
        array = context.make_array(signature.args[0])(context, builder, args[0])
        one = context.get_constant(types.int64, 1)
        return builder.atomic_rmw("add", array.data, one, "monotonic")

    return sig, codegen


class _Task:
    """One helper's part in a run, done by a worker unless the caller withdraws it first.

    Every step of the caller may be interrupted by Ctrl-C and then be repeated, hence who has the
    task is told by one atomic ``setdefault`` instead of a lock that is taken but not noted.
    """

    __slots__ = ("_args", "_body", "_done", "_finished", "_owner", "_tickets", "error")

    def __init__(self, body, tickets, args):
        self._body, self._tickets, self._args = body, tickets, args
        self.error = None
        self._owner = {}
        self._done = False
        self._finished = threading.Lock()  # held until the worker is done
        self._finished.acquire()

    def work(self):
        if self._owner.setdefault("is", "worker") != "worker":
            return
        try:
            self._body(self._tickets, *self._args)
        except BaseException as error:
            self.error = error
            _stop(self._tickets)
        finally:
            self._forget()
            self._done = True
            self._finished.release()

    def withdraw_or_wait(self):
        """Return when no worker is at it, nor ever will be."""
        if self._owner.setdefault("is", "caller") == "caller":
            self._forget()
            return
        while not self._done:
            self._finished.acquire()

    def _forget(self):
        # Withdrawn tasks stay in the queue for a while: don't keep the caller's arrays.
        self._body = self._tickets = self._args = None


class _Pool:
    """Threads that take tasks from a queue, asleep when there are none."""

    def __init__(self):
        self._tasks = SimpleQueue()
        self._lock = threading.Lock()
        self._n_workers = 0
        self._ids = []
        self._avoided = None

    def submit(self, task):
        self._tasks.put(task)

    def grow(self, n_workers):
        """Have at least so many workers, or as many as the system grants."""
        if self._n_workers >= n_workers:
            return
        with self._lock:
            while self._n_workers < n_workers:
                # Daemons, as nobody could tell them to end before the interpreter waits for them.
                # They are idle then: whoever runs a kernel waits for its helpers.
                try:
                    worker = threading.Thread(
                        target=_work, args=(self._tasks,), name="fastem", daemon=True
                    )
                    worker.start()
                except (RuntimeError, MemoryError):
                    # The system's limit, or the interpreter is shutting down: go on with what
                    # threads there are.
                    return
                self._n_workers += 1
                self._ids.append(worker.native_id)
                self._avoided = None

    def make_way(self):
        """Have the workers wake on other CPUs than the caller's.

        Linux takes a virtual machine's halted CPUs for busy and wakes a thread where its waker
        runs, which then does all the work before the thread gets its turn: after a pause of a
        millisecond hardly any run of half a millisecond was shared. The workers may still run
        wherever else the caller may.
        """
        cpu = _current_cpu()
        if cpu == self._avoided:
            return
        self._avoided = cpu
        others = os.sched_getaffinity(0) - {cpu}
        if not others:
            return
        for worker in self._ids:
            # It may be gone, or the CPUs may have been taken from the process.
            with contextlib.suppress(OSError):
                os.sched_setaffinity(worker, others)


def _no_cpu():
    return None


# Not everywhere; Python has no function for it. PyDLL keeps the GIL: the call takes 50 ns.
_current_cpu = _no_cpu
if hasattr(os, "sched_setaffinity"):
    _current_cpu = getattr(ctypes.PyDLL(None), "sched_getcpu", _no_cpu)


def _work(tasks):
    while True:
        tasks.get().work()


_pool = _Pool()


def _new_pool():
    global _pool
    _pool = _Pool()


if hasattr(os, "register_at_fork"):
    # Threads don't survive a fork, and another thread may have held the pool's lock.
    os.register_at_fork(after_in_child=_new_pool)


def _stop(tickets):
    """Leave no chunk for the others to take."""
    tickets[0] = np.iinfo(np.int64).max // 2


class _Watch(threading.local):
    """What this thread's runs are beside, if anything."""

    beside: Callable | None = None


_watch = _Watch()


@contextlib.contextmanager
def runs_beside(beside: Callable) -> Iterator[None]:
    """A context in which every run of this thread happens inside another one.

    Parameters
    ----------
    beside : callable
        Called as ``beside(tickets, n_chunks, args)`` for a context manager around the run, whose
        chunks below ``tickets[0]`` have begun; not for runs of a single chunk.
    """
    before, _watch.beside = _watch.beside, beside
    try:
        yield
    finally:
        _watch.beside = before


def run(body: Callable, n_chunks: int, *args: Any, most_threads: int | None = None) -> None:
    """Call ``body(tickets, n_chunks, *args)`` on several threads until all chunks are done.

    As many threads as Numba would use take part, among them the caller, but never more than there
    are chunks. Callable from any thread, also nested.

    Parameters
    ----------
    body : kernel
        Compiled function without the GIL that takes ``chunk = next_chunk(tickets)`` and works on
        that chunk, until ``chunk >= n_chunks``. A call that gets no chunk must change nothing.
    n_chunks : int
        Number of chunks.
    *args
        Passed to ``body`` behind the number of chunks.
    most_threads : int or None
        So many threads at the most are worth their while; None for as many as there are chunks.

    Raises
    ------
    BaseException
        What ``body`` raises on any thread, once it has ended on all. The chunks not begun by then
        are left out.
    """
    tickets = np.zeros(1, np.int64)
    if n_chunks <= 1:  # small data, where a look at the threads would count
        body(tickets, n_chunks, *args)
        return
    most = n_chunks if most_threads is None else min(most_threads, n_chunks)
    if _watch.beside is None:
        _share(body, tickets, n_chunks, args, most)
        return
    with _watch.beside(tickets, n_chunks, args):
        _share(body, tickets, n_chunks, args, most)


def _share(body, tickets, n_chunks, args, most):
    """Have at most so many threads take the chunks."""
    args = n_chunks, *args
    n_helpers = min(get_num_threads(), most) - 1 if most > 1 else 0
    if n_helpers <= 0:
        body(tickets, *args)
        return
    if not getattr(body, "overloads", True):
        # Compile before the helpers start, by a call that gets no chunk.
        exhausted = np.empty(1, np.int64)
        _stop(exhausted)
        body(exhausted, *args)
    pool = _pool
    pool.grow(n_helpers)
    pool.make_way()
    tasks = [_Task(body, tickets, args) for _ in range(n_helpers)]
    try:
        try:
            for task in tasks:
                pool.submit(task)
            body(tickets, *args)
        except BaseException:
            _stop(tickets)
            raise
        finally:
            _wait(tasks, tickets)
    except BaseException:
        # Ctrl-C may also arrive on the way into the first _wait.
        _wait(tasks, tickets)
        raise
    for task in tasks:
        if task.error is not None:
            raise task.error


def _wait(tasks, tickets):
    """Wait for all helpers, whatever interrupts: they write to the caller's arrays."""
    interrupt = None
    waiting = True
    while waiting:
        try:
            for task in tasks:
                task.withdraw_or_wait()
            waiting = False
        except BaseException as error:
            interrupt = error
            _stop(tickets)
    if interrupt is not None:
        raise interrupt
