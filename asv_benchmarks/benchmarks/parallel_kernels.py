"""The public kernels on Numba's threads, and called by a user's compiled code, beside Python's."""

import time
from collections.abc import Callable

import numpy as np

from . import measure

DTYPES = ("float64", "float32")


def _rows(random, n, d, dtype):
    return random.standard_normal((n, d)).astype(dtype)


def _distances(n):
    def arguments(random, dtype):
        return _rows(random, measure.fewer(n), 64, dtype), _rows(random, 1000, 64, dtype)

    return arguments


def _medians(random, dtype):
    X = _rows(random, measure.fewer(1_000_000), 8, dtype)
    return X, random.integers(64, size=len(X), dtype=np.int32), 64


def _full(random, dtype):
    X, means = (_rows(random, n, 16, dtype) for n in (measure.fewer(200_000), 32))
    return X, means.astype(np.float64), np.tile(1.5 * np.eye(16), (32, 1, 1)), "full"


def _diag(random, dtype):
    X, means, _, _ = _full(random, dtype)
    return X, means, random.uniform(0.5, 2.0, (32, 16)), "diag"


def _bernoulli(random, dtype):
    X = (_rows(random, measure.fewer(200_000), 16, dtype) > 0).astype(dtype)
    return X, random.uniform(0.1, 0.9, (32, 16))


# What is measured: a kernel's name, and its arguments.
PROBLEMS: dict[str, tuple[str, Callable]] = {
    "nearest": ("nearest", _distances(200_000)),
    "squared_euclidean": ("squared_euclidean", _distances(200_000)),
    "cluster_medians": ("cluster_medians", _medians),
    "gaussian_log_density, full": ("gaussian_log_density", _full),
    "gaussian_log_density, diag": ("gaussian_log_density", _diag),
    "bernoulli_log_density": ("bernoulli_log_density", _bernoulli),
}


def _from_python(name):
    from fastem import kernels

    return getattr(kernels, name)


def _parallel(name):
    from fastem.kernels import parallel

    return getattr(parallel, name)


def _wrapped(function):
    """A user's line of compiled code around a kernel."""
    from numba import njit

    return njit(lambda arguments: function(*arguments))


class ParallelKernels:
    """By how many times a call takes longer than the same from Python, all on as many threads."""

    params = (list(PROBLEMS), measure.some(DTYPES))
    param_names = ("kernel", "dtype")
    timeout = 300

    def setup(self, problem, dtype):
        measure.pin_threads()
        self.name, arguments = PROBLEMS[problem]
        self.arguments = arguments(np.random.default_rng(0), dtype)

    def _over_python(self, call):
        python = _from_python(self.name)
        runs = {"python": lambda: python(*self.arguments), "other": call}
        for run in runs.values():
            run()  # compiles
        with measure.threads():
            timed = measure.in_turns(runs)
        return min(timed["other"][0]) / min(timed["python"][0])

    def track_parallel(self, problem, dtype):
        function = _parallel(self.name)
        return self._over_python(lambda: function(*self.arguments))

    def track_wrapped(self, problem, dtype):
        function = _wrapped(_parallel(self.name))
        return self._over_python(lambda: function(self.arguments))

    track_parallel.unit = track_wrapped.unit = "of Python's time"

    def track_compile_time(self, problem, dtype):
        """What a user's line takes to compile, of one that runs serially and one that doesn't.

        The kernels are compiled by then.
        """
        from numba import typeof

        times = []
        for function in (_from_python(self.name), _parallel(self.name)):
            _wrapped(function)(self.arguments)
            begin = time.perf_counter()
            _wrapped(function).compile((typeof(self.arguments),))
            times.append(time.perf_counter() - begin)
        return max(times)

    track_compile_time.unit = "s"
