import threading

import numba
import pytest
from processes import run_script
from threadpoolctl import threadpool_info, threadpool_limits

from fastem.kernels.runtime.threads import get_num_threads

N_THREADS = numba.config.NUMBA_NUM_THREADS


def on_another_thread():
    seen = []
    thread = threading.Thread(target=lambda: seen.append(get_num_threads()))
    thread.start()
    thread.join()
    return seen[0]


@pytest.fixture
def numbas_own():
    yield
    numba.set_num_threads(N_THREADS)


def test_numbas_setting_counts_for_the_thread_that_made_it(numbas_own):
    assert get_num_threads() == N_THREADS
    numba.set_num_threads(1)
    assert get_num_threads() == 1
    assert on_another_thread() == N_THREADS
    numba.set_num_threads(N_THREADS)
    assert get_num_threads() == N_THREADS


def test_threadpoolctls_limit_counts():
    output = run_script(
        """
        import numba, numpy as np, threading
        from threadpoolctl import threadpool_limits
        from fastem.kernels.runtime.parallel import run
        from fastem.kernels.runtime.threads import get_num_threads

        def n_threads():
            names = set()
            meeting = threading.Barrier(get_num_threads())
            def body(tickets, n_chunks):
                names.add(threading.get_ident())
                meeting.wait(30)
            run(body, 100)
            return len(names)

        print(n_threads())
        with threadpool_limits(2):
            print(n_threads())
            with threadpool_limits(1):
                print(n_threads())
            with threadpool_limits({"fastem": 3}):
                print(n_threads())
            numba.set_num_threads(1)
            print(n_threads())
            numba.set_num_threads(5)
        with threadpool_limits(1, user_api="blas"):  # of others
            print(n_threads())
        print(n_threads())
        """,
        NUMBA_NUM_THREADS=5,
    )
    assert output.split() == ["5", "2", "1", "3", "1", "5", "5"]


def test_a_limit_is_the_threads_own():
    with threadpool_limits(1):
        assert get_num_threads() == 1
        assert on_another_thread() == N_THREADS
    assert get_num_threads() == N_THREADS


def test_threadpoolctl_tells_of_fastem_once():
    (info,) = [info for info in threadpool_info() if info["user_api"] == "fastem"]
    assert info["num_threads"] == N_THREADS
