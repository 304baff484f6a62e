import threading

import pytest
from processes import run_script

from fastem.kernels.runtime import ahead, cache
from fastem.kernels.runtime.ahead import compiled_ahead
from fastem.kernels.runtime.compiling import kernel


@pytest.fixture
def two_threads(monkeypatch):
    monkeypatch.setattr(ahead, "get_num_threads", lambda: 2)


def doubling():
    return kernel(lambda value: 2 * value)


def test_kernels_are_compiled_by_a_thread_that_has_ended(two_threads):
    compiled, threads = doubling(), []

    def rehearse():
        threads.append(threading.current_thread())
        compiled(1)

    with compiled_ahead(compiled, rehearse):
        assert kernel(lambda value: 3 * value)(1) == 3
    assert len(compiled.overloads) == 1
    assert threads[0] is not threading.current_thread()
    assert not threads[0].is_alive()


def test_the_caller_does_what_is_left(two_threads):
    begun, done, threads = threading.Event(), threading.Event(), []

    def first():
        threads.append(threading.current_thread())
        begun.set()
        assert done.wait(60)

    def second():
        threads.append(threading.current_thread())
        done.set()

    with compiled_ahead(doubling(), first, second):
        assert begun.wait(60)
    assert threads[0] is not threading.current_thread()
    assert threads[1] is threading.current_thread()


def test_nothing_more_is_done_after_an_error(two_threads, monkeypatch):
    begun, leave, done, join = threading.Event(), threading.Event(), [], threading.Thread.join

    def leave_and_join(thread):
        leave.set()
        join(thread)

    def first():
        begun.set()
        assert leave.wait(60)

    monkeypatch.setattr(threading.Thread, "join", leave_and_join)
    with (
        pytest.raises(ZeroDivisionError),
        compiled_ahead(doubling(), first, lambda: done.append(0)),
    ):
        assert begun.wait(60)
        raise ZeroDivisionError
    assert leave.is_set()
    assert done == []


def test_nothing_is_done_for_what_is_compiled(two_threads):
    compiled = doubling()
    compiled(1)
    with compiled_ahead(compiled, lambda: pytest.fail("called")):
        assert compiled(2) == 4


def test_nothing_is_done_for_what_is_on_disk(two_threads, monkeypatch):
    monkeypatch.setattr(cache, "has_entry", lambda function: True)
    calls = []
    with compiled_ahead(doubling(), lambda: calls.append(0)):
        pass
    assert calls == []


@pytest.mark.parametrize("size", [0, 1 << 20])
def test_threads_of_small_stacks_compile_nothing(two_threads, size):
    calls, before = [], threading.stack_size(size)
    try:
        with compiled_ahead(doubling(), lambda: calls.append(0)):
            pass
    finally:
        threading.stack_size(before)
    assert calls == ([] if size else [0])


@pytest.mark.skipif(ahead.resource is None, reason="no limits")
def test_nothing_is_done_where_memory_is_limited(two_threads, monkeypatch):
    calls = []
    for limit in (1 << 33, ahead.resource.RLIM_INFINITY):
        monkeypatch.setattr(ahead.resource, "getrlimit", lambda which, limit=limit: (limit, limit))
        with compiled_ahead(doubling(), lambda limit=limit: calls.append(limit)):
            pass
    assert calls == [ahead.resource.RLIM_INFINITY]


def test_nothing_is_done_for_a_single_thread(monkeypatch):
    monkeypatch.setattr(ahead, "get_num_threads", lambda: 1)
    calls = []
    with compiled_ahead(doubling(), lambda: calls.append(0)):
        pass
    assert calls == []


def test_errors_of_the_rehearsal_are_left(two_threads):
    compiled = doubling()
    done = []
    with compiled_ahead(compiled, lambda: 1 / 0, lambda: done.append(0)):
        assert compiled(2) == 4
    assert done == [0]


def test_errors_of_the_caller_wait_for_the_thread(two_threads):
    done = []
    with pytest.raises(ZeroDivisionError), compiled_ahead(doubling(), lambda: done.append(0)):
        raise ZeroDivisionError
    assert done == [0]


def test_no_thread_is_no_error(two_threads, monkeypatch):
    def fail(self):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", fail)
    with compiled_ahead(doubling(), lambda: pytest.fail("called")):
        pass


_FIRST_FIT = """
import hashlib, sys, threading
from numba.core import event

compiled, threads = [], set()

class Listener(event.Listener):
    def on_start(self, found):
        pass

    def on_end(self, found):
        compiled.append(str((found.data["dispatcher"].py_func.__qualname__, found.data["args"])))
        threads.add(threading.current_thread())

event.register("numba:compile", Listener())
import numpy as np
import fastem

X = np.random.default_rng(0).normal(size=(12_000, 16))
model = getattr(fastem, sys.argv[1])(8, random_state=0).fit(X)
found = model.cluster_centers_ if sys.argv[1] == "KMeans" else model.precisions_cholesky_
print(len(threads), len(compiled) == len(set(compiled)))
print(sorted(compiled), hashlib.sha256(found.tobytes()).hexdigest())
"""


@pytest.mark.parametrize(("model", "n_compiling"), [("KMeans", 2), ("GaussianMixture", 3)])
def test_a_first_fit_compiles_the_same_by_several_threads(model, n_compiling, tmp_path):
    folders = {n: tmp_path / str(n) for n in (1, 2)}
    alone, together = (
        run_script(_FIRST_FIT, model, NUMBA_CACHE_DIR=folder, NUMBA_NUM_THREADS=n).splitlines()
        for n, folder in folders.items()
    )
    assert alone[0] == "1 True"
    assert together[0] == f"{n_compiling} True"
    assert together[1] == alone[1]
    assert {entry.name for entry in folders[1].rglob("*.kernel")} == {
        entry.name for entry in folders[2].rglob("*.kernel")
    }
    again = run_script(_FIRST_FIT, model, NUMBA_CACHE_DIR=folders[2], NUMBA_NUM_THREADS=2)
    assert again.splitlines()[0] == "0 True"


def test_an_entry_is_found_by_the_kernels_name(tmp_path, monkeypatch):
    monkeypatch.setattr(cache, "entry_folders", lambda: [tmp_path / "none", tmp_path])
    function = doubling().py_func
    function.__name__ = "doubling"
    assert not cache.has_entry(function)
    (tmp_path / "doubling_more-00.kernel").touch()
    assert not cache.has_entry(function)
    (tmp_path / "doubling-00.kernel").touch()
    assert cache.has_entry(function)
