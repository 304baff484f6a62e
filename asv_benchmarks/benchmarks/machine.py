"""What this machine can do: the limits that kernels are measured by.

Both are taken in the process that measures a kernel, with as many threads, so that a share of them
means something on any machine and while others use it.
"""

import functools
import itertools
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numba
import numpy as np

from . import measure

# Multiplications and additions from a load to a store: so few that several chains are under way at
# once, as each waits for its own results, and so many that loads and stores don't count.
_CHAIN = 10


class Work(NamedTuple):
    """What a call needs at least: floating-point operations, and bytes read and written."""

    flops: float = 0.0
    bytes: float = 0.0

    def share_of_limit(self, seconds: float, dtype: str) -> float:
        """Return the least time that the machine's peak and bandwidth allow over the time taken."""
        least = self.bytes / bandwidth()
        if self.flops:
            least = max(least, self.flops / peak(dtype))
        return least / seconds


def least_time(run: Callable[[], object], repeats: int = 5) -> float:
    """Return the shortest time of some runs after a first one."""
    run()
    times = []
    for _ in range(repeats):
        begin = time.perf_counter()
        run()
        times.append(time.perf_counter() - begin)
    return min(times)


@functools.cache
def peak(dtype: str) -> float:
    """Return the flops per second of NumPy's matrix product, or of a plain loop if that has more.

    BLAS libraries choose their code by the CPU's name, and may take an old one's for a new CPU (or
    be told to, as by OPENBLAS_CORETYPE): a matrix product is then no limit.
    """
    return max(matmul_peak(dtype), loop_peak(dtype))


@functools.cache
def matmul_peak(dtype: str, size: int = 1536) -> float:
    """Return the flops per second of NumPy's matrix product."""
    A, B = np.random.default_rng(0).standard_normal((2, size, size)).astype(dtype)
    with measure.threads():
        return 2 * size**3 / least_time(lambda: A @ B)


@functools.cache
def loop_peak(dtype: str, size: int = 1024, repeats: int = 50_000) -> float:
    """Return the flops per second of a plain loop of multiplications and additions."""
    factor = np.dtype(dtype).type(0.5)
    values = np.ones((measure.N_THREADS, size), dtype)
    seconds = _least_time_in_threads(lambda part: _multiply_add(part, factor, repeats), values)
    return 2 * _CHAIN * repeats * values.size / seconds


@numba.njit(fastmath={"contract"}, nogil=True, cache=True)
def _multiply_add(values, factor, repeats):
    """Polynomials of many values, which stay in the first-level cache."""
    addend = values.dtype.type(0.001)
    for _ in range(repeats):
        for i in range(values.size):
            value = values[i]
            for _ in range(_CHAIN):
                value = value * factor + addend
            values[i] = value


@functools.cache
def bandwidth(size: int = 1 << 24) -> float:
    """Return the bytes per second that dot products read from arrays that no cache holds."""
    arrays = np.ones((2, measure.N_THREADS, size // measure.N_THREADS))
    parts = list(zip(*arrays, strict=True))
    with measure.threads(1):
        return arrays.nbytes / _least_time_in_threads(lambda pair: np.dot(*pair), parts)


def _least_time_in_threads(run, parts):
    """The shortest time to run a function on each part, in a thread each, on a CPU of its own.

    Left to the system, all may wake on one CPU, and the limit would be that of one.
    """
    place = None
    if hasattr(os, "sched_setaffinity"):
        cpus = itertools.cycle(sorted(os.sched_getaffinity(0)))

        def place():
            os.sched_setaffinity(0, {next(cpus)})

    with ThreadPoolExecutor(len(parts), initializer=place) as pool:
        return least_time(lambda: list(pool.map(run, parts)))
