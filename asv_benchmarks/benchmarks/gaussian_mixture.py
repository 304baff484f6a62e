"""Gaussian mixtures beside other libraries: single EM iterations, and whole fits.

An iteration's time is the difference of a longer and a shorter fit from the same start, divided by
the difference of their numbers of iterations. Whole fits have default parameters, K-means for the
start included.
"""

import importlib.metadata
import math
import warnings
from collections.abc import Callable
from functools import partial
from typing import NamedTuple
from unittest import mock

import numpy as np

from . import data, measure, mlpack_peer, pomegranate_peer

# (rows, features, components)
SHAPES = (
    (500_000, 2, 8),
    (200_000, 8, 16),
    (100_000, 32, 16),
    (50_000, 128, 16),
    (200_000, 16, 64),
)
TYPES = ("full", "tied", "diag", "spherical")
# Where most components are negligible for most rows.
SEPARATED = ((200_000, 16, 64), (200_000, 16, 256))
SEPARATED_KINDS = ("separated", "distant")


class Cell(NamedTuple):
    """One mixture to be timed."""

    rows: int
    features: int
    components: int
    kind: str
    covariance_type: str
    dtype: str

    @property
    def shape_name(self) -> str:
        """Short name of rows, features and components, such as ``500k,2,8``."""
        return f"{data.short(self.rows)},{self.features},{self.components}"

    def make_rows(self) -> np.ndarray:
        """Return blobs as in K-means' benchmarks."""
        cell = data.Cell(self.rows, self.features, self.components, self.kind, self.dtype)
        return data.make_rows(cell)

    def start(self, X: np.ndarray) -> dict:
        """Return the parameters of a start.

        Distinct rows and all rows' variance; where clusters are apart, K-means' centres and the
        variance about these, as from other rows it would take EM many iterations to part them.
        """
        k, d = self.components, self.features
        if self.kind in SEPARATED_KINDS:
            from fastem import KMeans

            clusters = KMeans(k, n_init=1, random_state=0).fit(X)
            means = clusters.cluster_centers_
            variance = (X - means[clusters.labels_]).var(axis=0, dtype=np.float64)
        else:
            means = data.starting_centers(X, k)
            variance = X.var(axis=0, dtype=np.float64)
        precisions = 1 / variance
        shapes = {
            "full": np.tile(np.diag(precisions), (k, 1, 1)),
            "tied": np.diag(precisions),
            "diag": np.tile(precisions, (k, 1)),
            "spherical": np.full(k, precisions.mean()),
            "tied_diag": precisions,
            "tied_spherical": precisions.mean(),
        }
        return {
            "weights_init": np.full(k, 1 / k),
            "means_init": means.astype(np.float64).reshape(k, d),
            "precisions_init": shapes[self.covariance_type],
        }


def all_cells() -> list[Cell]:
    """Return the cells whose iterations are compared."""
    cells = [
        Cell(*shape, "overlapping", covariance_type, dtype)
        for dtype in data.DTYPES[::-1]
        for shape in SHAPES
        for covariance_type in TYPES
    ]
    return cells + [
        Cell(*shape, kind, covariance_type, "float64")
        for kind in SEPARATED_KINDS
        for shape in SEPARATED
        for covariance_type in TYPES
    ]


class Fit(NamedTuple):
    """What fits are compared by: the mean log-likelihood that the last iteration began with."""

    n_iter: int
    lower_bound: float


def _fit(estimator, X, cell, max_iter, start):
    options = {} if max_iter is None else {"max_iter": max_iter, "tol": 0.0}
    if start is not None:
        # Cheap, and not used: all parameters are given.
        options |= {"init_params": "random_from_data", **start}
    model = estimator(
        cell.components, covariance_type=cell.covariance_type, random_state=0, **options
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # most end at max_iter
        model.fit(X)
    return Fit(model.n_iter_, model.lower_bound_)


def fit_fastem(X, cell, max_iter=None, start=None) -> Fit:
    """Fit fastem's mixture, with default parameters unless a start is given."""
    from fastem import GaussianMixture

    return _fit(GaussianMixture, X, cell, max_iter, start)


def fit_without_skipping(X, cell, max_iter=None, start=None) -> Fit:
    """Fit fastem's mixture, all components evaluated for all rows."""
    from fastem.mixtures.gaussian.estimator import GaussianModel

    with mock.patch.object(GaussianModel, "skip", False):
        return fit_fastem(X, cell, max_iter, start)


def fit_sklearn(X, cell, max_iter=None, start=None) -> Fit:
    """Fit scikit-learn's mixture."""
    from sklearn.mixture import GaussianMixture

    return _fit(GaussianMixture, X, cell, max_iter, start)


def fit_onedal(X, cell, max_iter=None, start=None) -> Fit:
    """Fit oneDAL's mixture, from a start only."""
    import daal4py

    if start is None:
        raise ValueError("oneDAL's own start is no K-means")
    full = cell.covariance_type == "full"
    precisions = start["precisions_init"]
    covariances = [np.linalg.inv(matrix) if full else 1 / matrix[None] for matrix in precisions]
    model = daal4py.em_gmm(
        cell.components,
        fptype="double" if X.dtype == np.float64 else "float",
        maxIterations=max_iter,
        accuracyThreshold=0.0,
        covarianceStorage="full" if full else "diagonal",
    )
    result = model.compute(X, start["weights_init"][None], start["means_init"], covariances)
    return Fit(int(result.nIterations[0, 0]), float(result.goalFunction[0, 0]) / len(X))


class Library(NamedTuple):
    """A library's mixture, how many iterations are timed, and of how many rows at most.

    The time of fewer rows than a cell has is multiplied: that of an iteration grows with the rows.
    The iterations that are timed come after ``first``.
    """

    distribution: str
    fit: Callable[..., object]
    iterations: int
    types: tuple[str, ...] = TYPES
    dtypes: tuple[str, ...] = data.DTYPES
    most_rows: int | None = None
    kinds: tuple[str, ...] = ("overlapping", *SEPARATED_KINDS)
    first: int = 1

    @property
    def installed(self) -> bool:
        """Whether it can be used."""
        try:
            importlib.metadata.version(self.distribution)
        except importlib.metadata.PackageNotFoundError:
            return False
        return True


LIBRARIES = {
    # In its first iterations it finds out whether to skip, and sorts the rows.
    "fastem": Library("fastem", fit_fastem, 20, first=4),
    "unskipped": Library("fastem", fit_without_skipping, 10, kinds=SEPARATED_KINDS),
    "sklearn": Library("scikit-learn", fit_sklearn, 2),
    "oneDAL": Library("scikit-learn-intelex", fit_onedal, 4, ("full", "diag")),
    "mlpack": Library(
        "mlpack", mlpack_peer.fit_gaussian, 2, ("full", "diag"), ("float64",), most_rows=5_000
    ),
    "pomegranate": Library(
        "pomegranate", pomegranate_peer.fit_gaussian, 2, ("full", "diag"), most_rows=50_000
    ),
}


def able(cell: Cell, names=tuple(LIBRARIES)) -> list[str]:
    """Return the libraries at hand for a cell."""
    return [
        name
        for name in names
        if LIBRARIES[name].installed
        and cell.covariance_type in LIBRARIES[name].types
        and cell.dtype in LIBRARIES[name].dtypes
        and cell.kind in LIBRARIES[name].kinds
    ]


def seconds_an_iteration(X, cell, names, repeats=None) -> dict[str, float]:
    """Return each library's time of an EM iteration, from its fastest fits."""
    start = cell.start(X)
    fits, shares = {}, {}
    for name in names:
        library = LIBRARIES[name]
        rows = X[: library.most_rows]
        fit = partial(library.fit, rows, cell, start=start)
        fits[name] = fit, library.first, library.iterations
        shares[name] = len(rows) / len(X)
    seconds = measure.seconds_an_iteration(fits, repeats)
    return {name: value / shares[name] for name, value in seconds.items()}


def seconds_a_fit(X, cell, names, repeats=None) -> dict[str, tuple[float, Fit]]:
    """Return each library's time of a fit with default parameters, and what it came to."""
    runs = {name: lambda fit=LIBRARIES[name].fit: fit(X, cell) for name in names}
    runs["fastem"]()
    timed = measure.in_turns(runs, repeats, measure.PAUSE)
    return {name: (measure.median(times), fit) for name, (times, fit) in timed.items()}


# For airspeed velocity


def find_cell(name: str) -> Cell:
    """Return the first cell of this shape and covariance type."""
    return next(cell for cell in all_cells() if name == f"{cell.shape_name} {cell.covariance_type}")


def needs_onedal(name: str) -> None:
    """Have airspeed velocity skip what compares with oneDAL where it can't."""
    if "oneDAL" not in able(find_cell(name)):
        raise NotImplementedError("oneDAL is not installed, or has no such covariances")


class GaussianIterations:
    """A tenth of the rows: quick enough for every commit."""

    shrink = 10
    repeats = 3
    params = measure.some(
        f"{cell.shape_name} {cell.covariance_type}"
        for cell in all_cells()
        if cell.shape_name in ("500k,2,8", "50k,128,16", "200k,16,64")
        and cell.kind == "overlapping"
        and cell.dtype == "float64"
    )
    param_names = ("cell",)
    timeout = 600

    def setup(self, name):
        measure.pin_threads()
        self.cell = find_cell(name)
        self.cell = self.cell._replace(rows=measure.fewer(self.cell.rows // self.shrink))
        self.X = self.cell.make_rows()

    def _ratio(self, peer):
        with measure.threads():
            seconds = seconds_an_iteration(self.X, self.cell, ["fastem", peer], self.repeats)
        return seconds[peer] / seconds["fastem"]

    def track_ratio_to_sklearn(self, name):
        return self._ratio("sklearn")

    def track_ratio_to_onedal(self, name):
        try:
            return self._ratio("oneDAL")
        except RuntimeError:  # it finds no covariance where there are few rows a feature
            return math.nan

    track_ratio_to_sklearn.unit = "x"
    track_ratio_to_onedal.unit = "x"
    track_ratio_to_onedal.setup = needs_onedal


class GaussianFits:
    """Default fits of few rows."""

    shrink = 40
    params = measure.some(TYPES)
    param_names = ("covariance_type",)
    timeout = 600

    def setup(self, covariance_type):
        measure.pin_threads()
        rows, *others = SHAPES[1]
        self.cell = Cell(rows // self.shrink, *others, "overlapping", covariance_type, "float64")
        self.X = self.cell.make_rows()
        self.time_fit(covariance_type)  # compiles

    def time_fit(self, covariance_type):
        return fit_fastem(self.X, self.cell)

    def track_ratio_to_sklearn(self, covariance_type):
        with measure.threads():
            fits = seconds_a_fit(self.X, self.cell, ["fastem", "sklearn"], 3)
        return fits["sklearn"][0] / fits["fastem"][0]

    track_ratio_to_sklearn.unit = "x"


class GaussianIterationsFull(GaussianIterations):
    """All rows. Chosen by `--bench Full`."""

    shrink = 1
    timeout = 3600


class GaussianFitsFull(GaussianFits):
    """All rows. Chosen by `--bench Full`."""

    shrink = 1
    timeout = 3600
