"""Every model by its name: rows, a start and an estimator of any size."""

import warnings
from typing import NamedTuple

import numpy as np

from . import bernoulli, data, gaussian_mixture

GAUSSIAN_TYPES = ("full", "tied", "diag", "spherical", "tied_diag", "tied_spherical")
MIXTURES = (*(f"GaussianMixture {name}" for name in GAUSSIAN_TYPES), "BernoulliMixture")
MODELS = ("KMeans", "KMedians", *MIXTURES)
# One of each, where time forbids all types of covariances.
ESTIMATORS = ("KMeans", "KMedians", "GaussianMixture full", "BernoulliMixture")


class Size(NamedTuple):
    """How many rows, features and components."""

    rows: int
    features: int
    components: int

    def __str__(self) -> str:
        """Such as ``50k,2,8``."""
        return f"{data.short(self.rows)},{self.features},{self.components}"


class Problem(NamedTuple):
    """Rows, and the estimator's parameters that make it start at a given point."""

    X: np.ndarray
    start: dict


def make_problem(model: str, size: Size, dtype: str) -> Problem:
    """Return overlapping blobs; for Bernoulli mixtures zeros and ones."""
    name, _, covariance_type = model.partition(" ")
    if name == "BernoulliMixture":
        X, weights, probabilities = bernoulli.make_rows(size)
        start = {"weights_init": weights, "probabilities_init": probabilities}
        return Problem(X.astype(dtype), start)
    if name == "GaussianMixture":
        cell = gaussian_mixture.Cell(*size, "overlapping", covariance_type, dtype)
        X = cell.make_rows()
        # Cheap, and not used: all parameters are given.
        return Problem(X, {"init_params": "random_from_data", **cell.start(X)})
    X = data.make_rows(data.Cell(*size, "overlapping", dtype))
    return Problem(X, {"init": data.starting_centers(X, size.components), "n_init": 1})


def fit(model: str, X: np.ndarray, n_components: int, **options):
    """Return the fitted estimator, which may stop by ``max_iter``."""
    import fastem

    name, _, covariance_type = model.partition(" ")
    if covariance_type:
        options["covariance_type"] = covariance_type
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return getattr(fastem, name)(n_components, **options).fit(X)


def objective(model: str, estimator, X: np.ndarray) -> float:
    """Return what the model minimises, a row: the distance, or minus the log-density."""
    return -estimator.score(X) if model in MIXTURES else estimator.inertia_ / len(X)
