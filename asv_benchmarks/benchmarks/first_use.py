"""What a user waits for at first: the import, and the first fit with and without a cache."""

import os
import statistics
import subprocess
import sys
import tempfile
import time

from . import measure

IMPORT = """
import time
import numpy
begin = time.perf_counter()
import fastem
print(time.perf_counter() - begin)
"""
FIT = """
import numpy as np
from {module} import {model}
X = np.random.default_rng(0).normal(size=(10_000, 8))
{model}(8, n_init=1, random_state=0).fit(X)
"""
SKLEARN = FIT.format(module="sklearn.cluster", model="KMeans")
MODELS = ("KMeans", "KMedians", "GaussianMixture", "BernoulliMixture")


def run(script: str, cache: str) -> tuple[float, str]:
    """Run a script in a new process; return its time and what it printed."""
    environment = {**os.environ, "NUMBA_CACHE_DIR": cache}
    begin = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True
    )
    return time.perf_counter() - begin, done.stdout


def wanted(repeats: int) -> int:
    """Return how often to run a script."""
    return 1 if measure.QUICK else repeats


def fit_seconds(model: str, cold: bool, repeats: int = 5) -> list[float]:
    """Return the times of processes that import fastem and fit once."""
    script = FIT.format(module="fastem", model=model)
    seconds = []
    with tempfile.TemporaryDirectory() as warm:
        if not cold:
            run(script, warm)
        for _ in range(wanted(repeats)):
            with tempfile.TemporaryDirectory() as empty:
                seconds.append(run(script, empty if cold else warm)[0])
    return seconds


class Import:
    def track_over_numpy(self):
        with tempfile.TemporaryDirectory() as cache:
            times = (float(run(IMPORT, cache)[1]) for _ in range(wanted(7)))
            return statistics.median(times)

    track_over_numpy.unit = "s"


class FirstFit:
    """A process that imports fastem and fits 10,000 x 8 once."""

    params = measure.some(MODELS)
    param_names = ("model",)
    timeout = 600

    def track_cold(self, model):
        """Nothing is compiled yet."""
        return statistics.median(fit_seconds(model, cold=True, repeats=3))

    def track_warm(self, model):
        """All kernels are on disk."""
        return statistics.median(fit_seconds(model, cold=False))

    def track_compile_time(self, model):
        """What the kernels take to compile."""
        cold = min(fit_seconds(model, cold=True, repeats=3))
        return cold - min(fit_seconds(model, cold=False, repeats=3))

    track_cold.unit = track_warm.unit = track_compile_time.unit = "s"


class FirstFitOverSklearn:
    """By how much the process of a first K-means fit is longer than scikit-learn's."""

    params = measure.some(["warm", "cold"])
    param_names = ("cache",)
    timeout = 600

    def track_extra(self, cache):
        theirs = []
        with tempfile.TemporaryDirectory() as empty:
            for _ in range(wanted(5)):
                theirs.append(run(SKLEARN, empty)[0])
        ours = fit_seconds("KMeans", cold=cache == "cold", repeats=5)
        return statistics.median(ours) - statistics.median(theirs)

    track_extra.unit = "s"
