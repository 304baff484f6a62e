"""What a user waits for at first: the import, and the first fit with and without a cache."""

import os
import statistics
import subprocess
import sys
import tempfile
import time

IMPORT = """
import time
import numpy
begin = time.perf_counter()
import fastem
print(time.perf_counter() - begin)
"""
FIT = """
import numpy as np
from {module} import KMeans
X = np.random.default_rng(0).normal(size=(10_000, 8))
KMeans(8, n_init=1, random_state=0).fit(X)
"""


def run(script: str, cache: str) -> tuple[float, str]:
    """Run a script in a new process; return its time and what it printed."""
    environment = {**os.environ, "NUMBA_CACHE_DIR": cache}
    begin = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True
    )
    return time.perf_counter() - begin, done.stdout


def over_sklearn(cold: bool, repeats: int = 5) -> float:
    """Return by how much the process of a first fit is longer than scikit-learn's."""
    ours, theirs = FIT.format(module="fastem"), FIT.format(module="sklearn.cluster")
    extra = []
    with tempfile.TemporaryDirectory() as warm:
        run(ours, warm)
        run(theirs, warm)
        for _ in range(repeats):
            with tempfile.TemporaryDirectory() as empty:
                extra.append(run(ours, empty if cold else warm)[0] - run(theirs, warm)[0])
    return statistics.median(extra)


class FirstUse:
    timeout = 600

    def track_import_over_numpy(self):
        with tempfile.TemporaryDirectory() as cache:
            return statistics.median(float(run(IMPORT, cache)[1]) for _ in range(7))

    def track_first_fit_over_sklearn_cold(self):
        return over_sklearn(cold=True, repeats=3)

    def track_first_fit_over_sklearn_warm(self):
        return over_sklearn(cold=False)

    track_import_over_numpy.unit = "s"
    track_first_fit_over_sklearn_cold.unit = "s"
    track_first_fit_over_sklearn_warm.unit = "s"
