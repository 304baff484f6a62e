"""How much a fit adds to the memory that the data take."""

import subprocess
import sys
import tempfile

# Rows are made in place and the library is warmed up on a few of them, so that before the fit the
# process has never held more than it holds then.
FIT = """
import sys

import numpy as np
import psutil

if sys.argv[1] == "fastem":
    from fastem import KMeans
else:
    from sklearn.cluster import KMeans


def peak():
    if sys.platform == "linux":  # getrusage would tell the parent's peak, if that was higher
        with open("/proc/self/status") as file:
            return next(int(line.split()[1]) for line in file if line.startswith("VmHWM")) * 1024
    if sys.platform == "win32":
        return psutil.Process().memory_info().peak_wset
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


X = np.empty((int(sys.argv[2]), 16))
rng = np.random.default_rng(0)
rng.standard_normal(out=X)
X[:, 0] += 4 * rng.integers(4, size=1000).repeat(-(-len(X) // 1000))[: len(X)]
model = KMeans(8, n_init=1, random_state=0, max_iter=20)
model.fit(X[:5000])
before = psutil.Process().memory_info().rss
model.fit(X)
print(max(0, peak() - before) / X.nbytes)
"""


def added(library: str, rows: int) -> float:
    """Return the peak memory that a default fit adds, as a share of the data's size."""
    with tempfile.TemporaryDirectory() as folder:
        script = f"{folder}/fit.py"
        with open(script, "w") as file:
            file.write(FIT)
        command = [sys.executable, script, library, str(rows)]
        # the first run compiles and caches what a fit of this size needs
        for _ in range(2):
            done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(done.stdout)


class KMeansMemory:
    """Rows x 16 float64, k-means++ included."""

    params = (["fastem", "scikit-learn"], [1_500_000])
    param_names = ("library", "rows")
    timeout = 600

    def track_added_share(self, library, rows):
        return added(library, rows)

    track_added_share.unit = "of the data's size"
