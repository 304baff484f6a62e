"""Timing, threads and the machine's name."""

import contextlib
import importlib.metadata
import importlib.util
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import date
from functools import partial

import numpy as np
import psutil
from threadpoolctl import threadpool_limits

from . import blas

N_THREADS = int(os.environ.get("FASTEM_BENCHMARK_THREADS", 0)) or os.cpu_count()

# What CI and a first look run: a few of each benchmark's parameters, on fewer rows.
QUICK = bool(os.environ.get("FASTEM_BENCHMARK_QUICK"))

# Other libraries' threads go on spinning for a while after their work, on the next one's CPUs.
PAUSE = 0.1


def some(values: Iterable, count: int = 1) -> list:
    """Return all values of a parameter, in the quick pass the first few."""
    values = list(values)
    return values[:count] if QUICK else values


def fewer(rows: int) -> int:
    """Return a number of rows, in the quick pass a tenth of it."""
    return rows // 10 if QUICK else rows


def installed(package: str) -> bool:
    """Whether a package can be imported."""
    return importlib.util.find_spec(package) is not None


def pin_threads(count: int = N_THREADS) -> threadpool_limits:
    """Hold every library to `count` threads from now on: for set-ups, as it takes milliseconds."""
    import numba

    numba.set_num_threads(count)
    if installed("daal4py"):
        import daal4py

        daal4py.daalinit(count)  # oneDAL brings its own pool, which threadpoolctl doesn't see
    if installed("faiss"):
        import faiss

        faiss.omp_set_num_threads(count)
    return threadpool_limits(count)


@contextlib.contextmanager
def threads(count: int = N_THREADS) -> Iterator[None]:
    """Hold every library to `count` threads."""
    with pin_threads(count):
        yield


def wanted_repeats(first_time: float, longest: float = 20.0) -> int:
    """Return how often to time something that took `first_time` seconds at first.

    Once, if that is more than ``longest`` seconds.
    """
    if first_time > longest:
        return 1
    return int(np.clip(2 / first_time, 3, 50))


def in_turns(
    runs: dict[str, Callable[[], object]],
    repeats: int | None = None,
    pause: float = 0.0,
    longest: float = 20.0,
) -> dict[str, tuple[list[float], object]]:
    """Time functions in turns, so that a slow minute of the machine hits all of them.

    Returns for each its times and what it last returned. Before each, wait for ``pause`` seconds.
    ``repeats`` and ``longest`` are as for the report's ``--repeats`` and :func:`wanted_repeats`.
    """
    wanted = dict.fromkeys(runs, 1)
    times: dict[str, list[float]] = {name: [] for name in runs}
    results: dict[str, object] = {}
    while waiting := [name for name in runs if len(times[name]) < wanted[name]]:
        for name in waiting:
            time.sleep(pause)
            begin = time.perf_counter()
            results[name] = runs[name]()
            times[name].append(time.perf_counter() - begin)
            if len(times[name]) == 1:
                wanted[name] = repeats or wanted_repeats(times[name][0], longest)
    return {name: (times[name], results[name]) for name in runs}


def seconds_an_iteration(
    fits: dict[str, tuple[Callable[..., object], int, int]], repeats: int | None = None
) -> dict[str, float]:
    """Return how long an iteration of each takes, from its fastest fits.

    A fit is a function of ``max_iter``; with it go two numbers of iterations. A fit of the first
    number is subtracted from one of as many more as the second says: what a fit begins and ends
    with doesn't count.
    """
    runs = {
        (name, extra): partial(fit, max_iter=first + extra)
        for name, (fit, first, more) in fits.items()
        for extra in (0, more)
    }
    for run in runs.values():
        run()  # compiles, loads libraries, starts threads
    timed = in_turns(runs, repeats, PAUSE)
    least = {key: min(times) for key, (times, _) in timed.items()}
    seconds = {}
    for name, (_, first, more) in fits.items():
        difference = least[name, more] - least[name, 0]
        # On so few rows, or so busy a machine, that it is lost in noise: an upper bound.
        seconds[name] = difference / more if difference > 0 else least[name, more] / (first + more)
    return seconds


class OthersLoad:
    """The share of the machine that other processes took since this object was made.

    A neighbour hurts libraries unequally: an OpenMP pool that spins at its barriers can become many
    times slower when one of its CPUs is taken, so such figures must not be published.
    """

    def __init__(self) -> None:
        self._begin = self._read()

    @staticmethod
    def _read() -> tuple[float, float, float]:
        spent = psutil.cpu_times()
        idle = spent.idle + getattr(spent, "iowait", 0.0)
        guest = getattr(spent, "guest", 0.0) + getattr(spent, "guest_nice", 0.0)  # in user, too
        total = sum(spent) - guest
        own = psutil.Process().cpu_times()
        return total, total - idle, own.user + own.system

    def share(self) -> float:
        """Return the share, from 0 to 1."""
        total, busy, own = (b - a for a, b in zip(self._begin, self._read(), strict=True))
        return max(0.0, (busy - own) / total) if total > 0 else 0.0


def median(times: list[float]) -> float:
    """Return the median time."""
    return statistics.median(times)


def machine(n_threads: int) -> dict[str, str]:
    """Describe what a table was measured on."""
    names = (
        *("fastem", "numpy", "numba", "scikit-learn", "scikit-learn-intelex", "faiss-cpu"),
        *("mlpack", "pomegranate", "pyclustering", "stepmix", "bkmeans", "flspp"),
    )
    versions = []
    for name in names:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions.append(f"{name} {importlib.metadata.version(name)}")
    return {
        "cpu": _cpu_name(),
        "cpus": str(os.cpu_count()),
        "threads": str(n_threads),
        "system": f"{platform.system()} {platform.machine()}",
        "versions": ", ".join([f"Python {platform.python_version()}", *versions]),
        "blas": blas.kernels(),
        "date": date.today().isoformat(),
    }


def _cpu_name() -> str:
    """Return LLVM's name of the CPU, and the maker's where the system tells it."""
    import llvmlite.binding as llvm

    name = llvm.get_host_cpu_name()
    with contextlib.suppress(OSError), open("/proc/cpuinfo") as file:
        for line in file:
            if line.startswith("model name"):
                return f"{line.split(':', 1)[1].strip()} ({name})"
    return name
