import gc
import os
import signal
import threading
import time
import weakref
from types import SimpleNamespace

import numpy as np
import pytest
from processes import interruptible, run_script

from fastem.kernels.runtime import parallel
from fastem.kernels.runtime.compiling import kernel
from fastem.kernels.runtime.parallel import next_chunk, run


@kernel
def take(tickets, n_chunks, taken):
    while True:
        chunk = next_chunk(tickets)
        if chunk >= n_chunks:
            return
        taken[chunk] += 1


@kernel
def fail_at(tickets, n_chunks, taken, bad):
    while True:
        chunk = next_chunk(tickets)
        if chunk >= n_chunks:
            return
        if chunk == bad:
            raise ValueError("a bad chunk")
        taken[chunk] += 1


@pytest.fixture
def threads(monkeypatch):
    """Sets how many threads a run takes, whatever the machine has; with a pool of its own."""
    monkeypatch.setattr(parallel, "_pool", parallel._Pool())

    def use(n_threads):
        monkeypatch.setattr(parallel, "get_num_threads", lambda: n_threads)

    return use


class Meeting:
    """A body, in Python, that goes on only when the given number of threads are in it."""

    def __init__(self, n_threads):
        self.barrier = threading.Barrier(n_threads)
        self.names = []

    def __call__(self, tickets, n_chunks):
        self.names.append(threading.current_thread().name)
        self.barrier.wait(30)


@pytest.mark.parametrize("n_threads", [1, 2, 3, 8])
@pytest.mark.parametrize("n_chunks", [0, 1, 2, 3, 7, 1000])
def test_each_chunk_once(threads, n_threads, n_chunks):
    threads(n_threads)
    taken = np.zeros(n_chunks + 1, np.int64)
    for _ in range(20):
        run(take, n_chunks, taken)
    np.testing.assert_array_equal(taken, [20] * n_chunks + [0])


@pytest.fixture
def cpus(monkeypatch):
    """A machine whose CPUs are ``allowed``; ``at`` is the caller's, ``places`` the workers'."""
    machine = SimpleNamespace(at=0, allowed={0, 1, 2}, places={}, n_calls=0)

    def place(thread, allowed):
        machine.places[thread] = set(allowed)
        machine.n_calls += 1

    monkeypatch.setattr(parallel, "_current_cpu", lambda: machine.at)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(machine.allowed), raising=False)
    monkeypatch.setattr(os, "sched_setaffinity", place, raising=False)
    return machine


def test_workers_wake_where_the_caller_is_not(threads, cpus):
    threads(3)
    for at, others in ((0, {1, 2}), (2, {0, 1}), (1, {0, 2})):
        cpus.at = at
        run(Meeting(3), 3)
        assert len(cpus.places) == 2
        assert threading.get_native_id() not in cpus.places
        assert all(place == others for place in cpus.places.values())
    n_calls = cpus.n_calls
    run(Meeting(3), 3)
    assert cpus.n_calls == n_calls  # nobody has moved
    threads(4)
    run(Meeting(4), 4)
    assert len(cpus.places) == 3  # the new worker, too


def test_workers_stay_where_there_is_one_cpu(threads, cpus):
    threads(2)
    cpus.allowed = {0}
    run(Meeting(2), 2)
    assert cpus.n_calls == 0


def test_workers_that_cannot_be_placed(threads, cpus, monkeypatch):
    def refuse(thread, allowed):
        raise OSError("no such thread")

    monkeypatch.setattr(os, "sched_setaffinity", refuse)
    threads(2)
    run(Meeting(2), 2)


def test_one_cpu_is_enough():
    output = run_script(
        """
        import os
        if hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        import numba
        import numpy as np
        from fastem.kernels import nearest
        numba.set_num_threads(2)
        X = np.random.default_rng(0).normal(size=(50_000, 3))
        print(nearest(X, X[:20])[0][:20].tolist() == list(range(20)))
        """,
        NUMBA_NUM_THREADS=2,
    )
    assert output.split() == ["True"]


@pytest.mark.parametrize(("n_threads", "n_chunks"), [(1, 9), (2, 9), (5, 9), (9, 4)])
def test_number_of_threads(threads, n_threads, n_chunks):
    threads(n_threads)
    meeting = Meeting(min(n_threads, n_chunks))
    run(meeting, n_chunks)
    assert len(meeting.names) == min(n_threads, n_chunks)
    assert meeting.names.count(threading.current_thread().name) == 1


def test_the_pool_grows_and_threads_are_reused(threads):
    names = set()
    for n_threads in (2, 4, 3, 4):
        threads(n_threads)
        meeting = Meeting(n_threads)
        run(meeting, 100)
        names.update(meeting.names)
        assert len(meeting.names) == n_threads
    assert parallel._pool._n_workers == 3


@pytest.mark.parametrize("bad", [0, 1, 50, 99])
def test_exceptions_reach_the_caller(threads, bad):
    threads(3)
    taken = np.zeros(100, np.int64)
    with pytest.raises(ValueError, match="a bad chunk"):
        run(fail_at, 100, taken, bad)
    assert taken[bad] == 0
    # The pool is as good as before.
    taken[:] = 0
    run(fail_at, 100, taken, -1)
    assert taken.min() == taken.max() == 1


def test_exception_on_a_worker_alone(threads):
    threads(2)
    caller = threading.current_thread()
    barrier = threading.Barrier(2)

    def body(tickets, n_chunks):
        barrier.wait(30)
        if threading.current_thread() is not caller:
            raise ValueError("on a worker")

    with pytest.raises(ValueError, match="on a worker"):
        run(body, 2)


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_the_caller_waits_for_its_workers(threads, error):
    threads(2)
    caller = threading.current_thread()
    barrier = threading.Barrier(2)
    written = []

    def body(tickets, n_chunks):
        barrier.wait(30)
        if threading.current_thread() is caller:
            raise error("on the caller")
        time.sleep(0.2)
        # No further chunk is taken.
        written.append(int(tickets[0]))

    with pytest.raises(error, match="on the caller"):
        run(body, 2)
    assert len(written) == 1
    assert written[0] > 2**60


def test_interrupts_while_waiting(threads):
    # Real signals, most of which arrive while the caller waits for its worker.
    threads(2)
    caller = threading.current_thread()
    barrier = threading.Barrier(2)
    written = []

    def body(tickets, n_chunks):
        barrier.wait(30)
        if threading.current_thread() is not caller:
            for _ in range(5):
                time.sleep(0.03)
                signal.pthread_kill(caller.ident, signal.SIGINT)
            time.sleep(0.1)
            written.append(True)

    with interruptible(), pytest.raises(KeyboardInterrupt):
        run(body, 2)
    assert written == [True]


def test_interrupt_on_the_way_into_waiting(threads, monkeypatch):
    threads(2)
    caller = threading.current_thread()
    barrier = threading.Barrier(2)
    written = []
    wait, calls = parallel._wait, []

    def interrupted(*args):
        calls.append(args)
        if len(calls) == 1:
            raise KeyboardInterrupt
        wait(*args)

    def body(tickets, n_chunks):
        barrier.wait(30)
        if threading.current_thread() is not caller:
            time.sleep(0.2)
            written.append(True)

    monkeypatch.setattr(parallel, "_wait", interrupted)
    with interruptible(), pytest.raises(KeyboardInterrupt):
        run(body, 2)
    assert written == [True]


@pytest.mark.parametrize("taken", [False, True])
def test_waiting_again_after_an_interrupt(taken):
    # Wherever an interrupt strikes, the caller asks again.
    calls = []
    task = parallel._Task(calls.append, np.zeros(1, np.int64), ())
    if taken:
        task.work()
    task.withdraw_or_wait()
    task.withdraw_or_wait()
    if not taken:
        task.work()
    assert len(calls) == taken


def test_busy_workers_are_not_waited_for(threads):
    threads(2)
    release = threading.Event()
    barrier = threading.Barrier(3)

    def hold(tickets, n_chunks):
        barrier.wait(30)
        release.wait(30)

    holder = threading.Thread(target=run, args=(hold, 2))
    holder.start()
    barrier.wait(30)
    try:
        taken = np.zeros(100, np.int64)
        run(take, 100, taken)
        assert taken.min() == taken.max() == 1
        assert not release.is_set()
    finally:
        release.set()
        holder.join()


def test_nested(threads):
    threads(3)
    totals = []

    def body(tickets, n_chunks):
        taken = np.zeros(100, np.int64)
        for _ in range(50):
            run(take, 100, taken)
        totals.append(int(taken.sum()))

    run(body, 3)
    assert totals
    assert set(totals) == {5000}


def test_arrays_are_released(threads):
    threads(4)

    def leave():
        taken = np.zeros(1000, np.int64)
        run(take, 1000, taken)
        return weakref.ref(taken)

    gc.disable()
    try:
        assert [leave()() for _ in range(20)] == [None] * 20
    finally:
        gc.enable()


@pytest.mark.parametrize("error", [RuntimeError("can't start new thread"), MemoryError()])
def test_no_thread_to_be_had(threads, monkeypatch, error):
    threads(4)

    def refuse(thread):
        raise error

    monkeypatch.setattr(threading.Thread, "start", refuse)
    taken = np.zeros(100, np.int64)
    run(take, 100, taken)
    assert taken.min() == taken.max() == 1


def test_compiled_before_threads_start(threads, monkeypatch):
    threads(2)

    @kernel
    def fresh(tickets, n_chunks, taken):
        while True:
            chunk = next_chunk(tickets)
            if chunk >= n_chunks:
                return
            taken[chunk] += 1

    compiled = []
    submit = parallel._Pool.submit
    monkeypatch.setattr(
        parallel._Pool,
        "submit",
        lambda pool, task: (compiled.append(len(fresh.overloads)), submit(pool, task)),
    )
    taken = np.zeros(10, np.int64)
    run(fresh, 10, taken)
    assert compiled == [1]
    assert taken.min() == taken.max() == 1


def test_a_forked_child_has_threads_of_its_own():
    # Also if another thread held the pool's lock.
    output = run_script(
        """
        import os, threading
        from fastem.kernels.runtime import parallel

        def meet(n_threads):
            parallel.get_num_threads = lambda: n_threads
            barrier = threading.Barrier(n_threads)
            parallel.run(lambda tickets, n_chunks: barrier.wait(30), n_threads)

        meet(2)
        with parallel._pool._lock:
            pid = os.fork()
        if pid == 0:
            status = 1
            try:
                meet(2)
                meet(3)
                status = 0
            finally:
                os._exit(status)
        print(os.waitpid(pid, 0)[1])
        meet(3)
        """
    )
    assert output == "0\n"


def test_shutdown_and_idleness():
    # In atexit handlers there may be no new threads, and a daemon thread may be in the middle of
    # a run when the interpreter ends. Threads without work must not use the processor.
    output = run_script(
        """
        import atexit, threading, time
        import numpy as np
        from fastem.kernels.runtime import parallel
        from fastem.kernels.runtime.compiling import kernel
        from fastem.kernels.runtime.parallel import next_chunk, run

        @kernel
        def take(tickets, n_chunks, taken):
            while True:
                chunk = next_chunk(tickets)
                if chunk >= n_chunks:
                    return
                taken[chunk] += 1

        def check(name, n_threads):
            parallel.get_num_threads = lambda: n_threads
            taken = np.zeros(100, np.int64)
            run(take, 100, taken)
            print(name, taken.min(), taken.max(), flush=True)

        atexit.register(check, "atexit", 5)
        check("main", 3)
        threading.Thread(target=check, args=("daemon", 4), daemon=True).start()
        time.sleep(0.2)
        start = time.process_time()
        time.sleep(0.5)
        print("idle", time.process_time() - start < 0.1)

        def forever():
            while True:
                taken = np.zeros(100, np.int64)
                run(take, 100, taken)

        threading.Thread(target=forever, daemon=True).start()
        time.sleep(0.1)
        """
    )
    expected = ["main 1 1", "daemon 1 1", "idle True", "atexit 1 1"]
    assert output.splitlines() == expected
