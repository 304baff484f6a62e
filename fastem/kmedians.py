"""K-medians: the model, and the estimator around it."""

from numbers import Integral, Real
from typing import Any

import numpy as np
from sklearn.base import (
    BaseEstimator,
    ClassNamePrefixFeaturesOutMixin,
    ClusterMixin,
    TransformerMixin,
    _fit_context,
)
from sklearn.callback import CallbackSupportMixin
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import _is_arraylike_not_scalar, check_is_fitted

from fastem import em
from fastem.clustering import (
    STRICT,
    Clustering,
    begin,
    check_n_init,
    labels_of,
    warn_if_indistinct,
)
from fastem.kernels.distances import manhattan
from fastem.kernels.kmedians import Plain, choose
from fastem.l1_frame import measure
from fastem.l1_seeding import STRATEGIES, farthest_rows
from fastem.rows import array_rows
from fastem.seeding import Called, Given, check_centers
from fastem.validation import check_rows, check_weights, restored_on_failure


def _medians(part):
    return part.state["clustering"].medians()


class KMediansModel(Clustering):
    """K-medians as EM: hard assignments, the clusters' medians, the sum of L1 distances."""

    def start(self, rows, random_state):
        rows.map(begin)
        # Centres aren't relative to the frame's origin.
        frame = self.frame._replace(origin=np.zeros(rows.n_features))
        return self._rounded(self._start(rows, self.n_clusters, frame, random_state))

    def m_step(self, rows, statistics, parameters):
        (medians,) = rows.map(_medians)
        updated = medians.astype(np.float64)
        empty = np.flatnonzero(statistics.weights == 0)
        if len(empty):
            moved = farthest_rows(rows, parameters, len(empty))
            # Without enough rows away from their centres, those that are left stay.
            updated[empty] = parameters[empty]
            updated[empty[: len(moved)]] = moved
        return updated

    def objective(self, statistics, parameters):
        return statistics.inertia

    def _shift(self, before, after):
        return float(np.abs(after - before).sum())

    def converged(self, step):
        reason = super().converged(step)
        # An empty cluster has got a row, which is not assigned to it yet.
        if reason == STRICT and not np.array_equal(step.parameters, step.updated):
            return ""
        return reason

    def finish(self, rows, run):
        if run.converged != STRICT:
            # Labels that go with the last centres.
            run.statistics = self.e_step(rows, run.parameters)
        run.objective = run.statistics.inertia


class KMedians(
    CallbackSupportMixin,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
    ClusterMixin,
    BaseEstimator,
):
    """K-medians clustering: K-means with the L1 distance, and medians as the clusters' centres.

    Outliers pull a mean along, but hardly a median.

    Parameters
    ----------
    n_clusters : int, default=8
        Number of clusters, and so of centres.

    init : {'k-means++', 'random', 'random_partition'}, callable or array-like of shape \
            (n_clusters, n_features), default='k-means++'
        Where the centres start.

        - ``'k-means++'``: rows drawn with probabilities proportional to their L1 distance from the
          rows drawn before, the best of several at each step. Up to 100 rows are sorted first, so
          that neither their order matters nor whether a row is repeated or has an integer weight.
        - ``'random'``: rows drawn at random.
        - ``'random_partition'``: the medians of clusters into which the rows are put at random.
        - an array: the centres themselves.
        - a callable: called as ``init(X, n_clusters, random_state=random_state)`` with the data
          as they are; returns the centres.

    n_init : 'auto' or int, default='auto'
        Number of runs from different starts; the one of least inertia is kept. ``'auto'`` is 10 for
        ``'random'``, ``'random_partition'`` and a callable, otherwise 1.

    max_iter : int, default=300
        Largest number of iterations of a run.

    tol : float, default=1e-4
        A run ends when no label changes. It also ends when the L1 lengths of its centres' shifts
        sum to no more than this, relative to the rows' spread: the mean over the features of the
        L1 distance between the middle of up to 1024 rows evenly spaced and the median one of these.

    verbose : int, default=0
        Whether to print each iteration.

    random_state : int, RandomState instance or None, default=None
        Determines the start.

    Attributes
    ----------
    cluster_centers_ : ndarray of shape (n_clusters, n_features)
        The clusters' coordinate-wise medians, in the data's dtype (float32 or float64). The median
        of an even number of rows is the mean of the middle two; with weights it is the least value
        up to which half of the weight lies, or its mean with the next one if exactly half does.

    labels_ : ndarray of shape (n_samples,), int32
        Each row's nearest centre in L1 distance, the first of several.

    inertia_ : float
        Weighted sum of the L1 distances of the rows to their centres.

    n_iter_ : int
        Number of iterations of the best run.

    n_features_in_ : int
        Number of features seen during :term:`fit`.

    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of features seen during :term:`fit`, if all are strings.

    Notes
    -----
    The history of the inertia over the iterations of the best run is in ``_history``; it never
    rises. Clusters that no row is nearest to move to the rows farthest from their centres.

    Both steps are exact: labels are those of L1 distances in float64, summed feature after feature.

    P. S. Bradley, O. L. Mangasarian and W. N. Street, "Clustering via concave minimization",
    NIPS 1996. Rows are skipped by the triangle inequality as in G. Hamerly, "Making k-means even
    faster", SDM 2010.

    Examples
    --------
    >>> from fastem import KMedians
    >>> X = [[1, 2], [1, 4], [1, 0], [10, 2], [10, 4], [90, 0]]
    >>> kmedians = KMedians(n_clusters=2, random_state=0).fit(X)
    >>> kmedians.labels_
    array([0, 0, 0, 1, 1, 1], dtype=int32)
    >>> kmedians.predict([[0, 0], [12, 3]])
    array([0, 1], dtype=int32)
    >>> kmedians.cluster_centers_
    array([[ 1.,  2.],
           [10.,  2.]])
    """

    _parameter_constraints: dict = {
        "n_clusters": [Interval(Integral, 1, None, closed="left")],
        "init": [StrOptions(set(STRATEGIES)), callable, "array-like"],
        "n_init": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="left")],
        "verbose": ["verbose"],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        n_clusters: int = 8,
        *,
        init: Any = "k-means++",
        n_init: Any = "auto",
        max_iter: int = 300,
        tol: float = 1e-4,
        verbose: int = 0,
        random_state: Any = None,
    ):
        self.n_clusters = n_clusters
        self.init = init
        self.n_init = n_init
        self.max_iter = max_iter
        self.tol = tol
        self.verbose = verbose
        self.random_state = random_state

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> "KMedians":
        """Find the clusters.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            C-contiguous float32 or float64 rows are used in place; a memory-mapped file is not
            read into memory as a whole.

        y : Ignored
            Present by convention.

        sample_weight : array-like of shape (n_samples,), default=None
            Non-negative weights of the rows; None for ones. Not used for a start from an array or
            a callable.

        Returns
        -------
        self : KMedians

        Raises
        ------
        ValueError, TypeError
            For bad input, before anything is computed.

        Warns
        -----
        ConvergenceWarning
            If there are fewer distinct clusters than asked for.
        """
        with restored_on_failure(self):
            return self._fit(X, y, sample_weight)

    def _fit(self, X, y, sample_weight):
        X = check_rows(self, X, reset=True, sparse=False)
        n_clusters = int(self.n_clusters)
        if X.shape[0] < n_clusters:
            raise ValueError(f"n_samples={X.shape[0]} should be >= n_clusters={n_clusters}.")
        n_init = check_n_init(self)
        sample_weight = check_weights(sample_weight, X)
        init, random_state = self.init, None
        if _is_arraylike_not_scalar(init):
            init = check_centers(init, X, n_clusters)
        else:
            random_state = check_random_state(self.random_state)

        rows = array_rows(X, sample_weight)
        frame, spread, factor = measure(rows, init if isinstance(init, np.ndarray) else None)
        if isinstance(init, str):
            start = STRATEGIES[init]
        elif callable(init):
            start = Called(init, X, factor)
        else:
            start = Given(init * factor)
        algorithm = choose(X.shape[1], n_clusters)
        model = KMediansModel(start, n_clusters, algorithm, frame, X.dtype, self.tol * spread)

        def fitted(centers):
            return {
                "cluster_centers_": centers.astype(X.dtype) / X.dtype.type(factor),
                "_n_features_out": n_clusters,
            }

        metadata = None if sample_weight is None else {"sample_weight": sample_weight}
        task = em.watch(self, n_init, fitted, X=X, y=y, metadata=metadata)
        best = em.fit(
            model,
            rows,
            max_iter=self.max_iter,
            n_init=n_init,
            random_state=random_state,
            verbose=self.verbose,
            task=task,
        )
        labels = rows.collect(labels_of)
        warn_if_indistinct(labels, n_clusters)
        vars(self).update(fitted(best.parameters))
        self.labels_ = labels
        self.inertia_ = best.objective / factor
        self.n_iter_ = best.n_iter
        self._history = [inertia / factor for inertia in best.history]
        task.end(best.parameters)
        return self

    def fit_predict(self, X: Any, y: Any = None, sample_weight: Any = None) -> np.ndarray:
        """Find the clusters and return each row's.

        Parameters
        ----------
        X, y, sample_weight
            As for :meth:`fit`.

        Returns
        -------
        labels : ndarray of shape (n_samples,), int32
        """
        return self.fit(X, sample_weight=sample_weight).labels_

    def fit_transform(self, X: Any, y: Any = None, sample_weight: Any = None) -> np.ndarray:
        """Find the clusters and return the rows' L1 distances to their centres.

        Parameters
        ----------
        X, y, sample_weight
            As for :meth:`fit`.

        Returns
        -------
        X_new : ndarray of shape (n_samples, n_clusters)
        """
        self.fit(X, sample_weight=sample_weight)
        return self._distances(self._check_new(X))

    def predict(self, X: Any) -> np.ndarray:
        """Return each row's nearest centre in L1 distance.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        labels : ndarray of shape (n_samples,), int32

        Raises
        ------
        sklearn.exceptions.NotFittedError
            Before :meth:`fit`.
        ValueError, TypeError
            For bad input.
        """
        return self._assigned(self._check_new(X), None)[0].labels

    def score(self, X: Any, y: Any = None, sample_weight: Any = None) -> float:
        """Return the negative inertia of new rows.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        y : Ignored
            Present by convention.

        sample_weight : array-like of shape (n_samples,), default=None
            Non-negative weights of the rows; None for ones.

        Returns
        -------
        score : float
            Minus the weighted sum of the L1 distances to the nearest centres.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            Before :meth:`fit`.
        ValueError, TypeError
            For bad input.
        """
        X = self._check_new(X)
        _, inertia = self._assigned(X, check_weights(sample_weight, X))
        return -inertia

    def transform(self, X: Any) -> np.ndarray:
        """Return the rows' L1 distances to all centres.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        X_new : ndarray of shape (n_samples, n_clusters)
            In the rows' dtype.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            Before :meth:`fit`.
        ValueError, TypeError
            For bad input.
        """
        return self._distances(self._check_new(X))

    def _check_new(self, X):
        check_is_fitted(self)
        return check_rows(self, X, reset=False, sparse=False)

    def _assigned(self, X, sample_weight):
        """An algorithm that has assigned new rows, and their inertia."""
        (part,), frame, factor = self._in_range(X)
        centers = self.cluster_centers_.astype(np.float64) * factor
        algorithm = Plain(part.X, sample_weight, len(centers), frame)
        return algorithm, algorithm.assign(centers).inertia / factor

    def _distances(self, X):
        (part,), _, factor = self._in_range(X)
        centers = self.cluster_centers_.astype(np.float64) * factor
        distances = manhattan(part.X, centers.astype(X.dtype))
        return distances if factor == 1.0 else distances / X.dtype.type(factor)

    def _in_range(self, X):
        """New rows' parts, multiplied by a factor, the frame to compare them in, the factor."""
        rows = array_rows(X)
        frame, _, factor = measure(rows, self.cluster_centers_)
        return rows.parts, frame, factor
