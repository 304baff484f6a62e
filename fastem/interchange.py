"""Fitted estimators as scikit-learn's own, and the other way.

What knows scikit-learn's classes takes them then: converters to ONNX or PMML, skops, model servers.
"""

import warnings
from typing import Any, TypeVar

import numpy as np
from sklearn import cluster, mixture
from sklearn.utils.validation import check_is_fitted

_Estimator = TypeVar("_Estimator")

_KMEANS = ("cluster_centers_", "labels_", "inertia_", "n_iter_", "n_features_in_")
_MIXTURE = (
    "weights_",
    "means_",
    "covariances_",
    "precisions_",
    "precisions_cholesky_",
    "converged_",
    "n_iter_",
    "lower_bound_",
    "lower_bounds_",
    "n_features_in_",
)
# Values that scikit-learn's parameters may have; anything but a name is the same for both.
_NAMES = {
    "init": {"k-means++", "random"},
    "algorithm": {"lloyd", "elkan"},
    "covariance_type": {"full", "tied", "diag", "spherical"},
    "init_params": {"kmeans", "k-means++", "random", "random_from_data"},
}
_MODELS = {"VVV": "full", "EEE": "tied", "VVI": "diag", "VII": "spherical"}


def _parameters(source, target, **changed):
    """The parameters that both have; a name unknown to scikit-learn becomes its default."""
    shared = {}
    for name, default in target().get_params(deep=False).items():
        value = changed.get(name, getattr(source, name, default))
        unknown = isinstance(value, str) and value not in _NAMES.get(name, {value})
        shared[name] = default if unknown else value
    return shared


def _copy_fitted(source, target, names):
    """Copy the fitted attributes, so that neither estimator changes with the other."""
    for name in (*names, "feature_names_in_"):
        if hasattr(source, name):
            value = getattr(source, name)
            setattr(target, name, value.copy() if isinstance(value, np.ndarray | list) else value)
    return target


def _check_source(source, kind):
    if not isinstance(source, kind):
        name = f"{kind.__module__.rpartition('._')[0]}.{kind.__name__}"
        raise TypeError(f"from_sklearn takes a {name}, got {type(source).__name__}")
    check_is_fitted(source)


def kmeans_to_sklearn(kmeans: Any) -> cluster.KMeans:
    """A fitted ``sklearn.cluster.KMeans`` with the same centres."""
    check_is_fitted(kmeans)
    centers = kmeans.cluster_centers_
    theirs = cluster.KMeans(len(centers), init=centers, n_init=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # equal centres
        theirs.fit(centers)  # also sets what is private there
    theirs.set_params(**_parameters(kmeans, cluster.KMeans))
    return _copy_fitted(kmeans, theirs, _KMEANS)


def kmeans_from_sklearn(target: type[_Estimator], kmeans: cluster.KMeans) -> _Estimator:
    """A fitted estimator of the target's type with the centres of scikit-learn's."""
    _check_source(kmeans, cluster.KMeans)
    return _copy_fitted(kmeans, target(**_parameters(kmeans, cluster.KMeans)), _KMEANS)


def mixture_to_sklearn(gaussian: Any) -> mixture.GaussianMixture:
    """A fitted ``sklearn.mixture.GaussianMixture`` with the same parameters."""
    check_is_fitted(gaussian)
    if hasattr(gaussian, "noise_weight_"):
        raise ValueError("scikit-learn's mixtures have no noise component")
    kind = _MODELS.get(gaussian.covariance_type, gaussian.covariance_type)
    if kind not in _NAMES["covariance_type"]:
        raise ValueError(
            f"scikit-learn has no covariance_type {gaussian.covariance_type!r}; it has "
            f"{sorted(_NAMES['covariance_type'])}"
        )
    shared = _parameters(gaussian, mixture.GaussianMixture, covariance_type=kind)
    return _copy_fitted(gaussian, mixture.GaussianMixture(**shared), _MIXTURE)


def mixture_from_sklearn(target: type[_Estimator], gaussian: mixture.GaussianMixture) -> _Estimator:
    """A fitted estimator of the target's type with the parameters of scikit-learn's."""
    _check_source(gaussian, mixture.GaussianMixture)
    shared = _parameters(gaussian, mixture.GaussianMixture)
    return _copy_fitted(gaussian, target(**shared), _MIXTURE)
