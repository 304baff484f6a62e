"""What the estimators of K-means and K-medians share: the fit, prediction and scores."""

from abc import ABCMeta, abstractmethod
from collections.abc import Callable
from numbers import Integral, Real
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import (
    BaseEstimator,
    ClassNamePrefixFeaturesOutMixin,
    ClusterMixin,
    TransformerMixin,
)
from sklearn.callback import CallbackSupportMixin
from sklearn.utils.validation import check_is_fitted

from fastem.clustering.checks import check_n_init, warn_if_indistinct
from fastem.clustering.labels import labels_of, labels_seen
from fastem.clustering.model import Clustering
from fastem.clustering.scaling import exponent_of
from fastem.clustering.seeding import Called, Given, check_centers
from fastem.loop.callbacks import UNWATCHED, watch
from fastem.loop.fit import fit
from fastem.rows import Rows, array_rows, home_of
from fastem.rows.collections import blockwise, fitted_together
from fastem.rows.weights import RowWeights, rows_with_room, times_power
from fastem.sklearn_private import Interval, StrOptions, _fit_context, _is_arraylike_not_scalar
from fastem.validation import (
    check_fitted_centers,
    check_weights,
    random_numbers,
    restored_on_failure,
)


class BaseClustering(
    CallbackSupportMixin,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
    ClusterMixin,
    BaseEstimator,
    metaclass=ABCMeta,
):
    """Base class of K-means and K-medians.

    A subclass has these parameters at least, adds its words for ``init`` and ``search`` to their
    constraints, and writes the abstract methods.
    """

    _parameter_constraints: dict = {
        "n_clusters": [Interval(Integral, 1, None, closed="left")],
        "n_init": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="left")],
        "verbose": ["verbose"],
        "random_state": ["random_state"],
    }
    cluster_centers_: NDArray[np.floating[Any]]
    labels_: NDArray[np.int32]
    inertia_: float
    inertias_: list[float]
    n_iter_: int
    n_features_in_: int
    feature_names_in_: NDArray[np.object_]

    #: Starts by name.
    _strategies: dict[str, Any] = {}

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
        search: str | None = None,
    ):
        self.n_clusters = n_clusters
        self.init = init
        self.n_init = n_init
        self.max_iter = max_iter
        self.tol = tol
        self.verbose = verbose
        self.random_state = random_state
        self.search = search

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

    # What a subclass writes.

    @abstractmethod
    def _check_input(self, X: Any, *, reset: bool) -> Any:
        """The rows as the kernels take them, after scikit-learn's checks."""

    @abstractmethod
    def _check_home(self, rows: Rows) -> None:
        """The same for rows to fit to that have a home already."""

    @abstractmethod
    def _make_model(self, X: Any, rows: Rows, init: Any) -> tuple[Clustering, Rows]:
        """The model and the rows to fit it to, which are scaled by the model's factor.

        ``X`` are the rows as given, and ``init`` has been checked.
        """

    #: The power of the distance that the inertia sums.
    _power: int

    #: Makes the search of a name that goes on from a run; None for None.
    _make_search: Callable[[str | None], Any]

    @abstractmethod
    def _in_range(self, X: Any, centers: np.ndarray) -> tuple[Any, np.ndarray, Any, float]:
        """New rows and the centres as a pass takes them, a frame for them, and the factor on both.

        The factor is a power of two, 1 unless distances could overflow or vanish.
        """

    @staticmethod
    @abstractmethod
    def _plain_algorithm(X: Any) -> type:
        """The algorithm for a single pass over such rows."""

    @abstractmethod
    def _distances(self, X: Any, centers: np.ndarray) -> NDArray[np.floating[Any]]:
        """The distances of new rows to all centres, in the rows' dtype."""

    # The fit.

    @fitted_together
    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Self:
        """Find the clusters.

        Parameters
        ----------
        X : array-like or Dask collection of shape (n_samples, n_features), or ``fastem.rows``
            C-contiguous float32 or float64 rows are used in place; a memory-mapped file is not
            read into memory as a whole. ``KMeans`` also takes sparse matrices; those that aren't
            CSR are converted to it.

        y : Ignored
            Present by convention.

        sample_weight : array-like of shape (n_samples,), default=None
            Non-negative weights of the rows; None for ones. Not used for a start from an array or
            a callable.

        Returns
        -------
        self : estimator

        Raises
        ------
        ValueError, TypeError
            For bad input, before anything is computed.

        Warns
        -----
        ConvergenceWarning
            If there are fewer distinct clusters than asked for.
        """
        # A user's own start may keep its random numbers.
        numbers = random_numbers(self.random_state, kept=callable(self.init))
        with restored_on_failure(self), numbers as random_state:
            rows = home_of(X, sample_weight)
            if rows is None:
                X = self._check_input(X, reset=True)
                sample_weight = check_weights(sample_weight, X)
                rows = array_rows(X, sample_weight)
            else:
                self._check_home(rows)
            return self._fit(rows, X, y, sample_weight, random_state)

    def _fit(self, rows, X, y, sample_weight, random_state):
        n_clusters = int(self.n_clusters)
        if rows.n_rows < n_clusters:
            raise ValueError(f"n_samples={rows.n_rows} should be >= n_clusters={n_clusters}.")
        n_init = check_n_init(self)
        init = self.init
        if _is_arraylike_not_scalar(init):
            init = check_centers(init, rows, n_clusters)
        else:
            random_state = rows.agree(random_state)
        rows, exponent = rows_with_room(rows)
        model, rows = self._make_model(X, rows, init)
        exponent -= self._power * exponent_of(model.factor)

        def attributes(centers):
            return {"cluster_centers_": model.public(centers)}

        metadata = None if sample_weight is None else {"sample_weight": sample_weight}
        task = watch(self, n_init, attributes, X=X, y=y, metadata=metadata)
        search = self._make_search(self.search)
        model.unseen = task is UNWATCHED and not self.verbose and search is None
        best = fit(
            model,
            rows,
            max_iter=self.max_iter,
            n_init=n_init,
            random_state=random_state,
            verbose=self.verbose,
            task=task,
            search=search,
        )
        warn_if_indistinct(rows.reduce(labels_seen, n_clusters))
        fitted = {
            **attributes(best.parameters),
            "labels_": rows.collect(labels_of),
            "inertia_": times_power(best.objective, exponent),
            "inertias_": [times_power(inertia, exponent) for inertia in best.history],
            "n_iter_": best.n_iter,
        }
        vars(self).update(fitted)
        task.end(best.parameters)
        return self

    def _start(self, X, init, factor):
        """The model's start; ``factor`` leads to the rows' coordinates."""
        if isinstance(init, str):
            return self._strategies[init]
        if callable(init):
            return Called(init, X, factor)
        return Given(init if factor == 1.0 else init * factor)

    @property
    def _n_features_out(self):
        return len(self.cluster_centers_)

    def fit_predict(self, X: Any, y: Any = None, sample_weight: Any = None) -> NDArray[np.int32]:
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

    def fit_transform(
        self, X: Any, y: Any = None, sample_weight: Any = None
    ) -> NDArray[np.floating[Any]]:
        """Find the clusters and return the rows' distances to their centres.

        Parameters
        ----------
        X, y, sample_weight
            As for :meth:`fit`.

        Returns
        -------
        X_new : ndarray of shape (n_samples, n_clusters)
        """
        return self.fit(X, sample_weight=sample_weight).transform(X)

    # New rows.

    def _check_new(self, X):
        """New rows and the centres, after checks of both: the user may have set these."""
        check_is_fitted(self, "cluster_centers_")
        X = self._check_input(X, reset=False)
        return X, check_fitted_centers(self, X)

    def _assigned(self, X, centers, sample_weight):
        """An algorithm that has assigned new rows, the centres, and the factor on both."""
        X, centers, frame, factor = self._in_range(X, centers)
        n_clusters = len(centers)
        algorithm = self._plain_algorithm(X)(X, sample_weight, n_clusters, frame)
        algorithm.label_rows(centers)
        return algorithm, centers, factor

    @blockwise(lambda self, rows: np.int32)
    def predict(self, X: Any) -> NDArray[np.int32]:
        """Return each row's nearest centre.

        Parameters
        ----------
        X : array-like or Dask collection of shape (n_samples, n_features), or ``fastem.rows``
            Or a sparse matrix for ``KMeans``.

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
        X, centers = self._check_new(X)
        return self._assigned(X, centers, None)[0].labels

    def score(self, X: Any, y: Any = None, sample_weight: Any = None) -> float:
        """Return the negative inertia of rows.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Or a sparse matrix for ``KMeans``.

        y : Ignored
            Present by convention.

        sample_weight : array-like of shape (n_samples,), default=None
            Non-negative weights of the rows; None for ones.

        Returns
        -------
        score : float

        Raises
        ------
        sklearn.exceptions.NotFittedError
            Before :meth:`fit`.
        ValueError, TypeError
            For bad input.
        """
        X, centers = self._check_new(X)
        weights = RowWeights.with_room(check_weights(sample_weight, X), X.shape[0])
        algorithm, centers, factor = self._assigned(X, centers, weights.values)
        exponent = weights.exponent - self._power * exponent_of(factor)
        return -times_power(algorithm.inertia(centers), exponent)

    @blockwise(lambda self, rows: rows.dtype, lambda self: len(self.cluster_centers_))
    def transform(self, X: Any) -> NDArray[np.floating[Any]]:
        """Return the rows' distances to all centres, in the metric of the inertia.

        Parameters
        ----------
        X : array-like or Dask collection of shape (n_samples, n_features), or ``fastem.rows``
            Or a sparse matrix for ``KMeans``.

        Returns
        -------
        X_new : ndarray of shape (n_samples, n_clusters)
            Dense, in the rows' dtype.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            Before :meth:`fit`.
        ValueError, TypeError
            For bad input.
        """
        return self._distances(*self._check_new(X))
