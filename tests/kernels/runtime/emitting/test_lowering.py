from typing import NamedTuple

import numpy as np
import pytest
from numba.core.runtime import _nrt_python, rtsys

from fastem.kernels.runtime.compiling import kernel


class Pair(NamedTuple):
    """Arrays beside a number."""

    first: np.ndarray
    number: int
    second: np.ndarray


@kernel
def replaced(n, odd):
    """Variables with and without references get new values in loops and branches."""
    array, total, kept = np.zeros(1), 0, 0.0
    pair = Pair(array, 0, array)
    for i in range(n):
        if i % 2 == odd:
            array = np.full(i + 1, 1.0 * i)
            pair = Pair(array, i, pair.first)
            late = i
        else:
            pair = Pair(pair.second, pair.number + 1, np.ones(i + 1))
            total += len(pair.second)
        kept += pair.first[0] + pair.second[-1] + pair.number
    if n > 1:
        kept += late
    return pair, (array, total), kept


@pytest.fixture
def allocations():
    """Numba's counts of what was allocated and freed."""
    was_counting = _nrt_python.memsys_stats_enabled()
    _nrt_python.memsys_enable_stats()
    yield rtsys.get_allocation_stats
    if not was_counting:
        _nrt_python.memsys_disable_stats()


@pytest.mark.parametrize("odd", [0, 1])
@pytest.mark.parametrize("n", [0, 1, 2, 9])
def test_values_are_python_s_and_nothing_is_lost_or_freed_twice(n, odd, allocations):
    replaced(3, 0)
    before = allocations()
    pair, (array, total), kept = replaced(n, odd)
    wanted, (array_wanted, total_wanted), kept_wanted = replaced.py_func(n, odd)
    assert (total, kept, pair.number) == (total_wanted, kept_wanted, wanted.number)
    np.testing.assert_array_equal(array, array_wanted)
    np.testing.assert_array_equal(pair.first, wanted.first)
    np.testing.assert_array_equal(pair.second, wanted.second)
    del pair, array
    after = allocations()
    assert after.alloc - before.alloc == after.free - before.free
    assert after.mi_alloc - before.mi_alloc == after.mi_free - before.mi_free


def test_an_array_of_the_caller_s_stays_his():
    @kernel
    def passed(array, times):
        found = array
        for _ in range(times):
            found = array if found[0] > 0 else found
        return found

    array = np.ones(3)
    for times in range(3):
        assert passed(array, times) is array
    array[0] = 5.0
    assert passed(array, 1)[0] == 5.0


def test_expressions_of_whole_arrays():
    @kernel
    def whole(a, b):
        return -a + b * 2.0, np.sqrt(b)

    a, b = np.arange(4.0), np.full(4, 4.0)
    summed, roots = whole(a, b)
    np.testing.assert_array_equal(summed, 8.0 - a)
    np.testing.assert_array_equal(roots, np.full(4, 2.0))
