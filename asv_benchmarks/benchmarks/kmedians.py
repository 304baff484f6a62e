"""K-medians: whole fits from given centres beside NumPy's.

scikit-learn has no K-medians. NumPy's takes SciPy's ``cdist`` and ``numpy.median``, in the fastest
way found; pyclustering's is timed on few rows, as it is slower still.
"""

import warnings

import numpy as np
from scipy.spatial.distance import cdist

from . import data, measure

MAX_ITER = 300
TOL = 1e-4
SHAPES = ((200_000, 3, 20), (100_000, 16, 40), (20_000, 128, 20), (1_000_000, 8, 64))
CELLS = {
    f"{cell.shape_name} {cell.dtype}": cell
    for shape in SHAPES
    for cell in (data.Cell(*shape, "overlapping", dtype) for dtype in data.DTYPES)
}
_BLOCK_ROWS = 4096


def numpy_labels(X, centers):
    """Return each row's nearest centre."""
    labels = np.empty(len(X), np.int32)
    for first in range(0, len(X), _BLOCK_ROWS):
        block = slice(first, first + _BLOCK_ROWS)
        labels[block] = cdist(X[block], centers, "cityblock").argmin(axis=1)
    return labels


def numpy_medians(X, labels, n_clusters, empty):
    """Return each cluster's medians; those of clusters without rows are taken from ``empty``."""
    order = np.argsort(labels, kind="stable")
    ends = np.searchsorted(labels[order], np.arange(n_clusters + 1))
    medians = empty.copy()
    for j in range(n_clusters):
        if ends[j] < ends[j + 1]:
            columns = np.ascontiguousarray(X[order[ends[j] : ends[j + 1]]].T)
            medians[j] = np.median(columns, axis=1)
    return medians


def fit_numpy(X, centers, max_iter):
    """Return the centres after iterations until no label changes."""
    labels = None
    for _ in range(max_iter):
        previous, labels = labels, numpy_labels(X, centers)
        if previous is not None and np.array_equal(labels, previous):
            break
        centers = numpy_medians(X, labels, len(centers), centers)
    return centers


def fit_pyclustering(X, centers, max_iter):
    """Return the centres; pyclustering stops by their movement.

    Without its C++ core, which is faster but ends at worse centres than its Python does.
    """
    from pyclustering.cluster.kmedians import kmedians
    from pyclustering.utils.metric import distance_metric, type_metric

    metric = distance_metric(type_metric.MANHATTAN)
    rows, start = X.tolist(), centers.tolist()
    fit = kmedians(rows, start, TOL, itermax=max_iter, ccore=False, metric=metric)
    return np.array(fit.process().get_medians())


def fit_fastem(X, centers, max_iter=MAX_ITER):
    """Return the fitted model."""
    from fastem import KMedians

    model = KMedians(len(centers), init=centers, n_init=1, max_iter=max_iter, tol=TOL)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return model.fit(X)


def inertia(X, centers):
    """Return the sum of the L1 distances to the nearest centres."""
    total = 0.0
    for first in range(0, len(X), _BLOCK_ROWS):
        total += cdist(X[first : first + _BLOCK_ROWS], centers, "cityblock").min(axis=1).sum()
    return float(total)


class KMediansFit:
    """A tenth of the rows: quick enough for every commit."""

    shrink = 10
    repeats = 3
    params = measure.some(CELLS)
    param_names = ("cell",)
    timeout = 600

    def setup(self, name):
        measure.pin_threads()
        cell = CELLS[name]
        cell = cell._replace(rows=measure.fewer(cell.rows // self.shrink))
        self.X = data.make_rows(cell)
        self.init = data.starting_centers(self.X, cell.clusters)
        self.time_fit(name)  # compiles what this fit needs

    def time_fit(self, name):
        return fit_fastem(self.X, self.init)

    def track_ratio_to_numpy(self, name):
        """Both get the number of iterations that fastem needs."""
        with measure.threads():
            n_iter = fit_fastem(self.X, self.init).n_iter_
            runs = {
                "numpy": lambda: fit_numpy(self.X, self.init, n_iter),
                "fastem": lambda: fit_fastem(self.X, self.init, n_iter),
            }
            timed = measure.in_turns(runs, self.repeats)
        return measure.median(timed["numpy"][0]) / measure.median(timed["fastem"][0])

    def track_relative_inertia(self, name):
        """Return the inertia over NumPy's: no speed shall be bought with worse answers."""
        model = fit_fastem(self.X, self.init)
        theirs = fit_numpy(self.X, self.init, model.n_iter_)
        return inertia(self.X, model.cluster_centers_) / inertia(self.X, theirs)

    track_ratio_to_numpy.unit = "x"
    track_relative_inertia.unit = "x"


class KMediansFitFull(KMediansFit):
    """The cells whole: minutes each. Chosen by `--bench Full`."""

    shrink = 1
    repeats = 1
    timeout = 3600


class KMediansPeer:
    """pyclustering at a size that it can bear."""

    timeout = 600

    def setup(self):
        if not measure.installed("pyclustering"):
            raise NotImplementedError("pyclustering is not installed")
        self.X = data.make_rows(data.Cell(2_000, 3, 10, "overlapping", "float64"))
        self.init = data.starting_centers(self.X, 10)

    def track_ratio_to_pyclustering(self):
        n_iter = fit_fastem(self.X, self.init).n_iter_
        runs = {
            "pyclustering": lambda: fit_pyclustering(self.X, self.init, n_iter),
            "fastem": lambda: fit_fastem(self.X, self.init, n_iter),
        }
        timed = measure.in_turns(runs, 3)
        return measure.median(timed["pyclustering"][0]) / measure.median(timed["fastem"][0])

    track_ratio_to_pyclustering.unit = "x"
