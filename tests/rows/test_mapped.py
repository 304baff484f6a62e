"""Mapped files are read ahead of the kernels, and only where they aren't in memory."""

import ctypes
import mmap
import os
import threading
from contextlib import nullcontext

import numpy as np
import pytest

from fastem.kernels.runtime.parallel import run, runs_beside
from fastem.rows import mapped

pytestmark = pytest.mark.skipif(mapped._mincore is None, reason="the system has no mincore")

N_BYTES = 1 << 25


@pytest.fixture
def X(tmp_path):
    """A mapped file that has just been written."""
    path = tmp_path / "rows.npy"
    np.save(path, np.random.default_rng(0).normal(size=(N_BYTES // 64, 8)))
    return np.load(path, mmap_mode="r")


def forget(X):
    """Have the system drop the pages of a mapped file from memory, if it likes to."""
    X._mmap.madvise(mmap.MADV_DONTNEED)
    with open(X.filename, "rb+") as file:
        os.fsync(file)
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def share_there(X):
    """How many of all pages are in memory."""
    first = X.ctypes.data // mmap.PAGESIZE * mmap.PAGESIZE
    n_pages = -(-(X.ctypes.data + X.nbytes - first) // mmap.PAGESIZE)
    there = np.empty(n_pages, np.uint8)
    size = ctypes.c_size_t(n_pages * mmap.PAGESIZE)
    known = ctypes.CDLL(None).mincore(
        ctypes.c_void_p(first), size, ctypes.c_void_p(there.ctypes.data)
    )
    assert known == 0
    return np.mean(there & 1)


def as_bytes(X):
    return X.reshape(-1).view(np.uint8)


@pytest.mark.skipif(not hasattr(os, "posix_fadvise"), reason="the system forgets no pages")
def test_what_is_missing_is_seen_and_read(X):
    forget(X)
    missing = share_there(X) < 0.5  # unless the files are in memory themselves
    assert mapped.is_missing(as_bytes(X)) == missing
    mapped.touch(as_bytes(X), lambda: 1e-9, threading.Event())
    assert share_there(X) == 1.0
    assert not mapped.is_missing(as_bytes(X))


def test_little_is_never_missing(X):
    assert not mapped.is_missing(as_bytes(X)[:1000])


class _Pages:
    """Notes which pages are asked for."""

    def __init__(self, n_bytes):
        self._n_bytes = n_bytes
        self.asked = []

    def __len__(self):
        return self._n_bytes

    def __getitem__(self, pages):
        self.asked.append(pages.start)
        return np.zeros(1, np.uint8)


def test_reading_waits_for_the_kernels_within_a_window(monkeypatch):
    pages, ended = _Pages(10 * mapped._AHEAD), threading.Event()
    naps = []

    def nap(seconds):
        naps.append(pages.asked[-1])
        if len(naps) == 5:
            ended.set()

    monkeypatch.setattr(mapped.time, "sleep", nap)
    mapped.touch(pages, lambda: 0.1 * (len(naps) > 2), ended)
    assert naps[0] <= mapped._AHEAD < naps[0] + 2 * mapped._BLOCK
    assert naps[-1] <= 2 * mapped._AHEAD < naps[-1] + 2 * mapped._BLOCK
    assert pages.asked == list(range(0, naps[-1] + 1, mapped._BLOCK))


def test_what_the_kernels_have_left_behind_is_not_read():
    pages = _Pages(10 * mapped._BLOCK)
    mapped.touch(pages, lambda: 0.0 if not pages.asked else 0.8, threading.Event())
    assert pages.asked == [0, 8 * mapped._BLOCK, 9 * mapped._BLOCK]


def test_reading_ends_when_the_kernels_do():
    pages, ended = _Pages(10 * mapped._BLOCK), threading.Event()
    ended.set()
    mapped.touch(pages, lambda: 0.0, ended)
    assert pages.asked == []


def count(tickets, n_chunks, X, fail):
    """A kernel in plain Python."""
    while tickets[0] < n_chunks:
        tickets[0] += 1
        if fail:
            raise ZeroDivisionError


@pytest.mark.parametrize("fail", [False, True])
def test_a_thread_reads_beside_the_run_and_ends_with_it(X, monkeypatch, fail):
    monkeypatch.setattr(mapped, "is_missing", lambda pages: True)
    seen = []

    def touch(pages, share_done, ended):
        seen.append((len(pages), share_done()))
        ended.wait()
        seen.append(share_done())

    monkeypatch.setattr(mapped, "touch", touch)
    with mapped.read_ahead(X):
        if fail:
            with pytest.raises(ZeroDivisionError):
                run(count, 4, X, fail, most_threads=1)
        else:
            run(count, 4, X, fail, most_threads=1)
    (n_bytes, begun), done = seen
    assert n_bytes == X.nbytes
    assert 0.0 <= begun <= done <= 1.0
    assert done == (0.25 if fail else 1.0)
    assert all(thread.name != "fastem-read-ahead" for thread in threading.enumerate())


@pytest.mark.parametrize("there", ["in memory", "not in it, but no row either"])
def test_no_thread_where_there_is_nothing_to_read(X, monkeypatch, there):
    monkeypatch.setattr(mapped, "is_missing", lambda pages: there != "in memory")
    monkeypatch.setattr(mapped, "touch", lambda *args: pytest.fail("reads"))
    rows = X if there == "in memory" else np.array(X)
    with mapped.read_ahead(X):
        run(count, 4, rows, False, most_threads=1)


def test_rows_in_memory_are_not_watched(X):
    told = []
    with mapped.read_ahead(np.array(X)):
        run(count, 4, X, False)
    with runs_beside(lambda *args: told.append(args) or nullcontext()):
        with mapped.read_ahead(np.array(X)):
            run(count, 4, X, False, most_threads=1)
        run(count, 1, X, False)  # of a single chunk
    assert len(told) == 1
    run(count, 4, X, False, most_threads=1)
    assert len(told) == 1
