"""How well rows lie in their clusters: silhouettes, exact or from distances to centres only."""

from numbers import Integral
from typing import Any

import numpy as np
from sklearn.preprocessing import LabelEncoder
from sklearn.utils import check_array, check_random_state, check_X_y, column_or_1d

from fastem.kernels.distances.cluster_sums import cluster_sums
from fastem.kernels.distances.pairwise import manhattan, squared_euclidean
from fastem.sklearn_private import Interval, validate_params
from fastem.validation import Words

_METRICS = {
    "euclidean": "euclidean",
    "l2": "euclidean",
    "manhattan": "manhattan",
    "cityblock": "manhattan",
    "l1": "manhattan",
}
_FLOATS = [np.float64, np.float32]
# Distances to centres that exist at a time.
_BLOCK_VALUES = 1 << 20

_CONSTRAINTS: dict = {
    "X": ["array-like"],
    "labels": ["array-like"],
    "metric": [Words(_METRICS)],
}
_SAMPLING: dict = {
    "sample_size": [Interval(Integral, 1, None, closed="left"), None],
    "random_state": ["random_state"],
}
_SIMPLIFIED: dict = {
    **_CONSTRAINTS,
    "centers": ["array-like"],
    "labels": ["array-like", None],
}


def _coefficients(within, nearest):
    """``(b - a) / max(a, b)``, and 0 for 0 / 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.nan_to_num((nearest - within) / np.maximum(within, nearest))


@validate_params(_CONSTRAINTS, prefer_skip_nested_validation=True)
def silhouette_samples(X: Any, labels: Any, *, metric: str = "euclidean") -> np.ndarray:
    """Silhouette of each row, as :func:`sklearn.metrics.silhouette_samples`.

    With ``a`` a row's mean distance to the other rows of its cluster, and ``b`` the least of its
    mean distances to the rows of another cluster, ``(b - a) / max(a, b)``: from -1 for a row in the
    wrong cluster to 1 for one far from all others. Every distance between two rows is computed,
    once; memory is needed for rows times clusters.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)

    labels : array-like of shape (n_samples,)
        Each row's cluster.

    metric : {'euclidean', 'manhattan', 'cityblock', 'l1', 'l2'}, default='euclidean'
        The distance.

    Returns
    -------
    silhouette : ndarray of shape (n_samples,)
        In the rows' dtype; 0 in a cluster of one row.

    Raises
    ------
    ValueError, TypeError
        For bad input, and unless there are 2 to ``n_samples - 1`` clusters.

    See Also
    --------
    simplified_silhouette_samples : From the distances to centres only.

    Notes
    -----
    Rousseeuw, "Silhouettes: a graphical aid to the interpretation and validation of cluster
    analysis", Journal of Computational and Applied Mathematics 20, 1987.

    Examples
    --------
    >>> from fastem import silhouette_samples
    >>> silhouette_samples([[0.0], [1.0], [5.0], [7.0]], [0, 0, 1, 1]).round(2)
    array([0.83, 0.8 , 0.56, 0.69])
    """
    X, labels = check_X_y(X, labels, dtype=_FLOATS, order="C")
    labels = LabelEncoder().fit_transform(labels)
    counts = np.bincount(labels)
    if not 1 < len(counts) < len(labels):
        raise ValueError(
            f"Number of labels is {len(counts)}. Valid values are 2 to n_samples - 1 (inclusive)"
        )
    order = np.argsort(labels, kind="stable")
    labels = labels[order]
    # The scale of the sums doesn't matter.
    sums, _ = cluster_sums(X, order, labels, len(counts), _METRICS[metric])
    rows = np.arange(len(labels))
    within = sums[labels, rows]
    sums[labels, rows] = np.inf
    sums /= counts[:, np.newaxis]
    with np.errstate(invalid="ignore"):
        within /= counts[labels] - 1
    silhouette = np.empty(len(labels), X.dtype)
    silhouette[order] = _coefficients(within, sums.min(axis=0))
    return silhouette


@validate_params({**_CONSTRAINTS, **_SAMPLING}, prefer_skip_nested_validation=True)
def silhouette_score(
    X: Any,
    labels: Any,
    *,
    metric: str = "euclidean",
    sample_size: int | None = None,
    random_state: Any = None,
) -> float:
    """Mean silhouette of the rows, as :func:`sklearn.metrics.silhouette_score`.

    Parameters
    ----------
    X, labels, metric
        As for :func:`silhouette_samples`.

    sample_size : int, default=None
        Number of rows to draw at random; the others are left out. None for all rows.

    random_state : int, RandomState instance or None, default=None
        Determines the rows drawn: the same as in scikit-learn.

    Returns
    -------
    silhouette : float

    Raises
    ------
    ValueError, TypeError
        As :func:`silhouette_samples`.

    Examples
    --------
    >>> from fastem import silhouette_score
    >>> round(silhouette_score([[0.0], [1.0], [5.0], [7.0]], [0, 0, 1, 1]), 2)
    0.72
    """
    if sample_size is not None:
        X, labels = check_X_y(X, labels, dtype=_FLOATS)
        indices = check_random_state(random_state).permutation(X.shape[0])[:sample_size]
        X, labels = X[indices], labels[indices]
    return float(np.mean(silhouette_samples(X, labels, metric=metric)))


@validate_params(_SIMPLIFIED, prefer_skip_nested_validation=True)
def simplified_silhouette_samples(
    X: Any, centers: Any, labels: Any = None, *, metric: str = "euclidean"
) -> np.ndarray:
    """Simplified silhouette of each row: distances to centres in place of mean distances to rows.

    As :func:`silhouette_samples`, with ``a`` the distance to the centre of a row's own cluster and
    ``b`` the least distance to another centre. It takes rows times clusters distances instead of
    rows times rows, and is no estimate of the silhouette but a measure of its own.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)

    centers : array-like of shape (n_clusters, n_features)
        At least two centres.

    labels : array-like of shape (n_samples,), default=None
        Each row's cluster, an index into ``centers``; None for the nearest centre's.

    metric : {'euclidean', 'manhattan', 'cityblock', 'l1', 'l2'}, default='euclidean'
        The distance.

    Returns
    -------
    silhouette : ndarray of shape (n_samples,)
        In the rows' dtype.

    Raises
    ------
    ValueError, TypeError
        For bad input.

    Notes
    -----
    Hruschka, de Castro and Campello, "Evolutionary algorithms for clustering gene-expression data",
    ICDM 2004.

    Examples
    --------
    >>> from fastem import simplified_silhouette_samples
    >>> simplified_silhouette_samples([[0.0], [1.0], [5.0], [7.0]], [[0.5], [6.0]]).round(2)
    array([0.92, 0.9 , 0.78, 0.85])
    """
    X = check_array(X, dtype=_FLOATS, order="C", input_name="X")
    centers = check_array(centers, dtype=X.dtype, ensure_min_samples=2, input_name="centers")
    if centers.shape[1] != X.shape[1]:
        raise ValueError(f"X has {X.shape[1]} features, but centers have {centers.shape[1]}")
    if labels is not None:
        labels = _check_indices(labels, len(X), len(centers))
    silhouette = np.empty(len(X), X.dtype)
    factor = _factor(X, centers)
    step = max(1, _BLOCK_VALUES // len(centers))
    for start in range(0, len(X), step):
        block = slice(start, start + step)
        known = None if labels is None else labels[block]
        silhouette[block] = _simplified(
            factor * X[block], factor * centers, known, _METRICS[metric]
        )
    return silhouette


def _check_indices(labels, n_rows, n_clusters):
    labels = column_or_1d(labels)
    if len(labels) != n_rows:
        raise ValueError(
            f"Found input variables with inconsistent numbers of samples: [{n_rows}, {len(labels)}]"
        )
    if labels.dtype.kind not in "iu" or labels.min() < 0 or labels.max() >= n_clusters:
        raise ValueError(f"labels must be integers from 0 to {n_clusters - 1}, indices of centers")
    return labels


def _factor(X, centers):
    """A power of two that brings rows and centres near one: no square overflows or vanishes."""
    limit = 1 - np.finfo(X.dtype).minexp
    _, exponent = np.frexp(max(np.abs(X).max(), np.abs(centers).max()))
    return np.ldexp(X.dtype.type(1), int(np.clip(-exponent, 2 - limit, limit - 2)))


def _simplified(X, centers, labels, metric):
    if metric == "euclidean":
        distances = np.sqrt(squared_euclidean(X, centers))
    else:
        distances = manhattan(X, centers)
    if labels is None:
        labels = distances.argmin(axis=1)
    rows = np.arange(len(X))
    own = distances[rows, labels]
    distances[rows, labels] = np.inf
    return _coefficients(own, distances.min(axis=1))


@validate_params(_SIMPLIFIED, prefer_skip_nested_validation=True)
def simplified_silhouette_score(
    X: Any, centers: Any, labels: Any = None, *, metric: str = "euclidean"
) -> float:
    """Mean of :func:`simplified_silhouette_samples`.

    Parameters
    ----------
    X, centers, labels, metric
        As for :func:`simplified_silhouette_samples`.

    Returns
    -------
    silhouette : float

    Raises
    ------
    ValueError, TypeError
        For bad input.

    Examples
    --------
    >>> from fastem import simplified_silhouette_score
    >>> round(simplified_silhouette_score([[0.0], [1.0], [5.0], [7.0]], [[0.5], [6.0]]), 2)
    0.86
    """
    return float(np.mean(simplified_silhouette_samples(X, centers, labels, metric=metric)))
