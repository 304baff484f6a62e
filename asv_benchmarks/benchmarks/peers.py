"""The other libraries' K-means, all called in one way; each is optional.

All start from the same centres and run to scikit-learn's convergence. Three have no such criterion:

- FAISS runs a fixed number of iterations. It gets the number that scikit-learn's Lloyd needed, or
  fastem if that was fewer (in float32 rounding makes them differ), all rows as training points, and
  no second try. Its newer ``SuperKmeans`` accepts no starting centres.
- scikit-learn-intelex (oneDAL) stops when the objective changes by less than ``tol`` times the mean
  variance, where scikit-learn compares the movement of the centres. On many rows that is far
  stricter, so it also gets that number of iterations as its maximum.
- mlpack stops when the centres move by less than 1e-5 altogether, and gets it, too.

FAISS computes in float32 only and therefore takes part in the float32 cells alone; mlpack in
float64 only, and in cells of little work, as it takes several times as long as the others.
"""

import importlib.metadata
import math
import warnings
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from . import mlpack_peer

MAX_ITER = 300
TOL = 1e-4


class Fit(NamedTuple):
    """What a fit is compared by."""

    centers: np.ndarray
    n_iter: int


class Peer(NamedTuple):
    """A library's K-means: `fit(X, init, n_iter, max_iter)`, where n_iter is what others needed.

    ``most_work`` bounds the rows × features × clusters of the fits that it takes part in,
    ``most_pairs`` the rows × clusters.
    """

    name: str
    distribution: str
    fit: Callable[..., Fit]
    dtypes: tuple[str, ...] = ("float32", "float64")
    wants_n_iter: bool = False
    most_work: float = math.inf
    most_pairs: float = math.inf

    @property
    def version(self) -> str | None:
        """The installed version, or None."""
        try:
            return importlib.metadata.version(self.distribution)
        except importlib.metadata.PackageNotFoundError:
            return None

    def takes_part(self, X: np.ndarray, n_clusters: int) -> bool:
        """Whether it is installed and compared on such data."""
        fits = X.size * n_clusters <= self.most_work and len(X) * n_clusters <= self.most_pairs
        return self.version is not None and X.dtype.name in self.dtypes and fits


def fit_estimator(estimator, X, init, max_iter=MAX_ITER, **params) -> Fit:
    """Fit a class with scikit-learn's parameters."""
    model = estimator(len(init), init=init, n_init=1, max_iter=max_iter, tol=TOL, **params)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a cell may well end at max_iter: the table shows it
        model.fit(X)
    return Fit(model.cluster_centers_, model.n_iter_)


def _lloyd(X, init, n_iter, max_iter=MAX_ITER):
    from sklearn.cluster import KMeans

    return fit_estimator(KMeans, X, init, max_iter, algorithm="lloyd")


def _elkan(X, init, n_iter, max_iter=MAX_ITER):
    from sklearn.cluster import KMeans

    return fit_estimator(KMeans, X, init, max_iter, algorithm="elkan")


def _sklearnex(X, init, n_iter, max_iter=MAX_ITER):
    from sklearnex.cluster import KMeans

    return fit_estimator(KMeans, X, init, max_iter=n_iter)


def _faiss(X, init, n_iter, max_iter=MAX_ITER):
    import faiss

    model = faiss.Kmeans(
        X.shape[1],
        len(init),
        niter=n_iter,
        nredo=1,
        min_points_per_centroid=1,
        max_points_per_centroid=len(X),
    )
    model.train(X, init_centroids=np.ascontiguousarray(init, dtype=np.float32))
    return Fit(model.centroids, n_iter)


def _mlpack(X, init, n_iter, max_iter=MAX_ITER):
    return Fit(mlpack_peer.fit_kmeans(X, init, n_iter), n_iter)


PEERS = {
    peer.name: peer
    for peer in (
        Peer("lloyd", "scikit-learn", _lloyd),
        # which keeps a bound for every pair
        Peer("elkan", "scikit-learn", _elkan, most_pairs=2e8),
        Peer("sklearnex", "scikit-learn-intelex", _sklearnex, wants_n_iter=True),
        Peer("faiss", "faiss-cpu", _faiss, dtypes=("float32",), wants_n_iter=True),
        Peer("mlpack", "mlpack", _mlpack, ("float64",), wants_n_iter=True, most_work=2e7),
    )
}


def fit_fastem(X, init, algorithm="auto", max_iter=MAX_ITER) -> Fit:
    """Fit fastem's own K-means."""
    from fastem import KMeans

    return fit_estimator(KMeans, X, init, max_iter, algorithm=algorithm)


def inertia(X: np.ndarray, centers: np.ndarray) -> float:
    """Return the sum of squared distances to the nearest centre, in float64 throughout."""
    origin = X.mean(axis=0, dtype=np.float64)
    centers = centers - origin
    half_norms = np.einsum("ij,ij->i", centers, centers) / 2
    total = 0.0
    for first in range(0, len(X), 4096):
        block = X[first : first + 4096] - origin
        nearest = (half_norms - block @ centers.T).argmin(axis=1)
        difference = block - centers[nearest]
        total += np.vdot(difference, difference)
    return float(total)
