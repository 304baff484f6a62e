"""How much a fit adds to the memory that the data take."""

import json
import subprocess
import sys
import tempfile

import scipy.sparse as sp

from . import data, measure
from .texts import MODEL, SHAPES, Texts, fits, make_texts

PEAK = """
import importlib
import json
import sys
import warnings

import numpy as np
import psutil

warnings.simplefilter("ignore")  # the iterations end early


def peak():
    if sys.platform == "linux":  # getrusage would tell the parent's peak, if that was higher
        with open("/proc/self/status") as file:
            return next(int(line.split()[1]) for line in file if line.startswith("VmHWM")) * 1024
    if sys.platform == "win32":
        return psutil.Process().memory_info().peak_wset
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
"""

# Rows are made in place and the library is warmed up on a few of them, so that before the fit the
# process has never held more than it holds then.
FIT = f"""{PEAK}
module, name, rows, options = sys.argv[1:]
estimator = getattr(importlib.import_module(module), name)
X = np.empty((int(rows), 16))
rng = np.random.default_rng(0)
rng.standard_normal(out=X)
X[:, 0] += 4 * rng.integers(4, size=1000).repeat(-(-len(X) // 1000))[: len(X)]
model = estimator(n_init=1, random_state=0, **json.loads(options))
model.fit(X[:5000])
before = psutil.Process().memory_info().rss
model.fit(X)
print(max(0, peak() - before) / X.nbytes)
"""

# Of a few columns, too: with all of them and many clusters the centres take more than the rows.
FIT_TEXTS = f"""{PEAK}
import scipy.sparse as sp
from fastem import KMeans

path, n_clusters, options = sys.argv[1:]
X = sp.load_npz(path)
model = KMeans(int(n_clusters), **json.loads(options))
model.fit(X[: 2 * model.n_clusters, :500])
before = psutil.Process().memory_info().rss
model.fit(X)
print(max(0, peak() - before))
"""

FITS = {
    "KMeans": {"n_clusters": 8, "max_iter": 20},
    "KMedians": {"n_clusters": 8, "max_iter": 20},
    "GaussianMixture": {"n_components": 32, "max_iter": 10},
    "BernoulliMixture": {"n_components": 8, "max_iter": 20},
}
SKLEARN = {"KMeans": "sklearn.cluster", "GaussianMixture": "sklearn.mixture"}


def added(library: str, model: str, rows: int) -> float:
    """Return the peak memory that a fit with its seeding adds, as a share of the data's size."""
    module = "fastem" if library == "fastem" else SKLEARN[model]
    with tempfile.TemporaryDirectory() as folder:
        script = f"{folder}/fit.py"
        with open(script, "w") as file:
            file.write(FIT)
        command = [sys.executable, script, module, model, str(rows), json.dumps(FITS[model])]
        # the first run compiles and caches what a fit of this size needs
        for _ in range(2):
            done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(done.stdout)


def added_to_texts(X: sp.csr_matrix, n_clusters: int) -> int:
    """Return the bytes that a K-means fit of CSR rows adds at its peak.

    Such a fit must have been done before, which compiles and caches what it needs.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/rows.npz"
        sp.save_npz(path, X, compressed=False)
        command = [sys.executable, "-c", FIT_TEXTS, path, str(n_clusters), json.dumps(MODEL)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    return int(done.stdout)


def texts_bytes(X: sp.csr_matrix) -> int:
    """Return what the arrays of CSR rows take."""
    return X.data.nbytes + X.indices.nbytes + X.indptr.nbytes


def needs_sklearn(model):
    """Have airspeed velocity skip what scikit-learn doesn't have."""
    if model not in SKLEARN:
        raise NotImplementedError("scikit-learn has none")


class Memory:
    """1.5 million x 16 float64."""

    params = measure.some(FITS)
    param_names = ("model",)
    timeout = 1800

    def track_added_share(self, model):
        return added("fastem", model, measure.fewer(1_500_000))

    def track_added_share_by_sklearn(self, model):
        return added("scikit-learn", model, measure.fewer(1_500_000))

    track_added_share.unit = track_added_share_by_sklearn.unit = "of the data's size"
    track_added_share_by_sklearn.setup = needs_sklearn


class MemoryOfTexts:
    """CSR rows, beside which their centres take little where there are many rows."""

    params = (measure.some(SHAPES), measure.some(data.DTYPES))
    param_names = ("shape", "dtype")
    timeout = 1800

    def setup(self, shape, dtype):
        self.X = make_texts(Texts(*shape), dtype)
        fits(self.X, shape[3])["fastem"]()

    def track_added_share(self, shape, dtype):
        return added_to_texts(self.X, shape[3]) / texts_bytes(self.X)

    track_added_share.unit = "of the CSR arrays' size"
