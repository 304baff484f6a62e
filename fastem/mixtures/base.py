"""What mixtures share: the EM fit, prediction, scores and criteria."""

from abc import ABCMeta, abstractmethod
from collections.abc import Collection, Sequence
from numbers import Integral, Real
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, DensityMixin
from sklearn.callback import CallbackSupportMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from fastem.loop.callbacks import watch
from fastem.loop.fit import fit
from fastem.loop.model import Model
from fastem.loop.squarem import Accelerated, Coordinates
from fastem.mixtures.attributes import as_shares, fitted_weights
from fastem.mixtures.criteria import CriteriaMixin
from fastem.mixtures.model import MixtureModel, Resumed
from fastem.mixtures.search import PACES, make_search
from fastem.rows import Rows, array_rows, home_of
from fastem.rows.checks import check_home
from fastem.rows.collections import blockwise, fitted_together
from fastem.rows.weights import RowWeights, rows_near_one
from fastem.sklearn_private import Interval, InvalidParameterError, _fit_context
from fastem.validation import Words, check_rows, check_weights, restored_on_failure
from fastem.warning import warn_user


class BaseMixture(
    CallbackSupportMixin, CriteriaMixin, DensityMixin, BaseEstimator, metaclass=ABCMeta
):
    """Base class of the mixtures.

    A subclass has the parameters below in the signature of its own constructor, where scikit-learn
    looks for them, an attribute ``weights_`` once fitted, and writes the abstract methods.
    ``elbo`` and what belongs to it come from :class:`fastem.mixtures.bound.BoundMixin`, ``bic`` and
    the like from :class:`fastem.mixtures.criteria.CriteriaMixin`.
    """

    _parameter_constraints: dict = {
        "n_components": [Interval(Integral, 1, None, closed="left")],
        "tol": [Interval(Real, 0.0, None, closed="left")],
        "max_iter": [Interval(Integral, 0, None, closed="left")],
        "n_init": [Interval(Integral, 1, None, closed="left")],
        "random_state": ["random_state"],
        "warm_start": ["boolean"],
        "verbose": ["verbose"],
        "verbose_interval": [Interval(Integral, 1, None, closed="left")],
        "fixed": ["array-like", set, frozenset],
        "assignment": [Words(["soft", "hard"])],
        "accelerate": [Words(["squarem"]), None],
        "search": [Words(PACES), None],
    }
    weights_: NDArray[np.floating[Any]]
    converged_: bool
    n_iter_: int
    lower_bound_: float
    lower_bounds_: list[float]
    feature_names_in_: NDArray[np.object_]

    #: The parameters that ``fixed`` may name.
    _fixable: tuple[str, ...] = ()

    #: What makes rows impossible, if a warning is to say that some are.
    _impossible: str | None = None

    def __init__(
        self,
        *,
        n_components: int,
        tol: float,
        max_iter: int,
        n_init: int,
        fixed: Collection[str],
        assignment: str,
        random_state: Any,
        warm_start: bool,
        verbose: int,
        verbose_interval: int,
        accelerate: str | None,
        search: str | None,
    ):
        self.n_components = n_components
        self.tol = tol
        self.max_iter = max_iter
        self.n_init = n_init
        self.fixed = fixed
        self.assignment = assignment
        self.random_state = random_state
        self.warm_start = warm_start
        self.verbose = verbose
        self.verbose_interval = verbose_interval
        self.accelerate = accelerate
        self.search = search

    @property
    def n_features_in_(self) -> int:
        """Number of features: of the parameters if they tell, else of the rows of the last fit."""
        n_features = self._n_features_of_parameters()
        if n_features is None:
            n_features = self.__dict__.get("n_features_in_")
        if n_features is None:
            raise AttributeError(f"This {type(self).__name__} has no parameters yet")
        return n_features

    @n_features_in_.setter
    def n_features_in_(self, n_features: int) -> None:
        self.__dict__["n_features_in_"] = n_features

    # What a subclass writes.

    def _n_features_of_parameters(self) -> int | None:
        """The number of features that the fitted parameters have, if they have one."""
        return None

    @property
    def _gaps(self) -> bool:
        """Whether NaN says that something was not observed."""
        return False

    def _check_input(self, X: Any, *, reset: bool) -> Any:
        """The rows as the passes take them, after scikit-learn's checks."""
        rows = 2 if reset else 1
        return check_rows(self, X, reset=reset, sparse=False, min_rows=rows, gaps=self._gaps)

    def _check_home(self, rows: Rows) -> None:
        """The same for rows to fit to that have a home already."""
        check_home(self, rows, sparse=False, min_rows=2, gaps=self._gaps)

    def _to_fit(self, X: Any) -> Any:
        """The rows, or a copy in a dtype that holds the sums which a fit takes of them."""
        return X

    @abstractmethod
    def _make_pass(self, X: Any, sample_weight: Any) -> Any:
        """A pass over new rows.

        Its ``evaluate(parameters, *, log_density, labels, responsibilities, log_joint)`` fills the
        arrays given: ``log_density`` (n_rows,), ``labels`` (n_rows,) of integers, and
        ``responsibilities`` and ``log_joint`` (n_rows, n_components) of ``_output_dtype``.
        """

    def _least_rows(self, rows: Rows) -> float:
        """The rows that a component needs lest it owe its likelihood to chance."""
        return 2.0

    def _output_dtype(self, X: Any) -> np.dtype:
        """The dtype of log-densities and responsibilities of these rows."""
        return X.dtype

    @abstractmethod
    def _parameters(self) -> Any:
        """The fitted parameters as the model has them, checked: they may have been set by hand."""

    @abstractmethod
    def _components(self) -> Any:
        """The fitted parameters as the passes take them."""

    @abstractmethod
    def _make_model(self, rows: Rows, **options: Any) -> MixtureModel:
        """The model to fit to these rows, after checks of the initial parameters.

        ``options`` are those of :class:`MixtureModel` from ``total_weight`` on, and what else is
        known of the rows.
        """

    @abstractmethod
    def _coordinates(self) -> Coordinates:
        """In what coordinates the model's steps are extrapolated."""

    @abstractmethod
    def _parameters_to_resume(self, n_features: int) -> Any:
        """The fitted parameters as the model takes them, if they fit the estimator's parameters."""

    @abstractmethod
    def _attributes(self, parameters: Any, dtype: np.dtype) -> dict[str, Any]:
        """The attributes that hold the model's parameters, for data of this dtype."""

    @abstractmethod
    def _sample_component(self, component: int, size: int, random_state: Any) -> np.ndarray:
        """Draw rows from a component, by its label."""

    # The fit.

    @fitted_together
    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Self:
        """Estimate the parameters by expectation-maximisation.

        The best of ``n_init`` runs is kept. A run ends once the objective changes by less than
        ``tol``, or after ``max_iter`` iterations. With ``warm_start``, a second fit goes on where
        the first ended.

        Parameters
        ----------
        X : array-like or Dask collection of shape (n_samples, n_features), or ``fastem.rows``
            C-contiguous float32 or float64 rows are used in place; a memory-mapped file is not
            read into memory as a whole.

        y : Ignored
            Present by convention.

        sample_weight : array-like of shape (n_samples,), default=None
            Non-negative weights of the rows; None for ones. An integer weight is as good as
            repeating the row.

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
            If the best run has not converged.
        """
        return self._fit_to(X, y, sample_weight)

    def _fit_to(self, X, y, sample_weight, **known):
        """The fit, after checks of the rows; what else is known of them is for the model."""
        with restored_on_failure(self):
            rows = home_of(X, sample_weight)
            if rows is None:
                X = self._check_input(X, reset=True)
                sample_weight = check_weights(sample_weight, X)
                rows = array_rows(self._to_fit(X), sample_weight)
            else:
                self._check_home(rows)
            return self._fit(rows, X, y, sample_weight, **known)

    def _fit(self, rows, X, y, sample_weight, **known):
        if rows.n_rows < self.n_components:
            raise ValueError(
                "Expected n_samples >= n_components "
                f"but got n_components = {self.n_components}, n_samples = {rows.n_rows}"
            )
        self._check_fixed()
        if self.search is not None and len(self.fixed):
            raise ValueError("'search' moves all parameters: none can be 'fixed'")
        rows, total_weight, unit = rows_near_one(rows)
        resumed = None
        if self.warm_start and hasattr(self, "converged_"):
            resumed = Resumed(self._parameters_to_resume(rows.n_features), self.lower_bound_)
        n_init = 1 if resumed else self.n_init
        model: Model = self._make_model(
            rows,
            n_components=self.n_components,
            total_weight=total_weight,
            row_unit=unit,
            tol=self.tol,
            hard=self.assignment == "hard",
            resumed=resumed,
            verbose=self.verbose,
            verbose_interval=self.verbose_interval,
            **known,
        )
        if self.accelerate is not None:
            model = Accelerated(model, self._coordinates())
        # Without an iteration the caller wants the start.
        model.warns = self.max_iter > 0

        def attributes(parameters):
            return self._attributes(parameters, (X if isinstance(X, np.ndarray) else rows).dtype)

        metadata = None if sample_weight is None else {"sample_weight": sample_weight}
        task = watch(self, n_init, attributes, X=X, y=y, metadata=metadata)
        best = fit(
            model,
            rows,
            max_iter=self.max_iter,
            n_init=n_init,
            random_state=rows.agree(check_random_state(self.random_state)),
            verbose=self.verbose,
            task=task,
            search=make_search(self.search, self._least_rows(rows)),
        )
        fitted = {
            **attributes(best.parameters),
            "converged_": bool(best.converged),
            "n_iter_": best.n_iter,
            "lower_bound_": best.objective,
            "lower_bounds_": best.history,
        }
        vars(self).update(fitted)
        task.end(best.parameters)
        return self

    def _check_fixed(self):
        for name in self.fixed:
            if name not in self._fixable:
                raise InvalidParameterError(
                    f"The 'fixed' parameter of {type(self).__name__} must be a collection of names "
                    f"among {list(self._fixable)}. Got {name!r} instead."
                )

    def fit_predict(self, X: Any, y: Any = None, sample_weight: Any = None) -> NDArray[np.int64]:
        """Estimate the parameters and return each row's most probable component.

        Parameters
        ----------
        X, y, sample_weight
            As for :meth:`fit`.

        Returns
        -------
        labels : ndarray of shape (n_samples,), int64
        """
        return self.fit(X, y, sample_weight).predict(X)

    # Prediction and scores.

    def _check_new(self, X: Any) -> Any:
        check_is_fitted(self)
        return self._check_input(X, reset=False)

    @property
    def _n_fitted(self) -> int:
        """The number of components at hand, whatever ``n_components`` may say by now."""
        return len(self.weights_)

    @property
    def _labels(self) -> Sequence[int]:
        return range(self._n_fitted)

    def _shares(self) -> np.ndarray:
        """The labels' probabilities."""
        return as_shares(fitted_weights(self))

    def _evaluate(self, X: Any, **outputs: Any) -> None:
        self._warn_of_impossible(self._evaluate_some(X, **outputs))

    def _evaluate_some(self, X: Any, **outputs: Any) -> int:
        components = self._components()  # which checks parameters that were set by hand
        if self._impossible is not None:
            outputs.setdefault("log_density", np.empty(X.shape[0], self._output_dtype(X)))
        self._make_pass(X, None).evaluate(components, **outputs)
        if self._impossible is None:
            return 0
        log_density = outputs["log_density"]
        unknown = np.isnan(log_density)
        if unknown.any():
            # Its values, as X may be a block or a part of what the user passed.
            row = np.array2string(X[unknown.argmax()], threshold=8, edgeitems=3)
            raise ValueError(f"The log-density of the row {row} is not a number.")
        return int(np.count_nonzero(log_density == -np.inf))

    def _warn_of_impossible(self, n_rows: int) -> None:
        if n_rows:
            warn_user(f"{n_rows} rows are impossible {self._impossible}", RuntimeWarning)

    def _log_density(self, X: Any) -> NDArray[np.floating[Any]]:
        log_density = np.empty(X.shape[0], self._output_dtype(X))
        self._evaluate(X, log_density=log_density)
        return log_density

    @blockwise(lambda self, rows: np.int64)
    def predict(self, X: Any) -> NDArray[np.int64]:
        """Return each row's most probable component.

        Parameters
        ----------
        X : array-like or Dask collection of shape (n_samples, n_features), or ``fastem.rows``

        Returns
        -------
        labels : ndarray of shape (n_samples,), int64
            -1 for noise, if the mixture has any.
        """
        X = self._check_new(X)
        labels = np.empty(X.shape[0], np.int64)
        self._evaluate(X, labels=labels)
        return labels

    @blockwise(lambda self, rows: self._output_dtype(rows), lambda self: len(self._labels))
    def predict_proba(self, X: Any) -> NDArray[np.floating[Any]]:
        """Return the responsibilities: the components' probabilities given each row.

        Parameters
        ----------
        X : array-like or Dask collection of shape (n_samples, n_features), or ``fastem.rows``

        Returns
        -------
        responsibilities : ndarray of shape (n_samples, n_components)
            In the rows' dtype. Noise, if the mixture has any, has one more column, the last: that
            of the label -1.
        """
        X = self._check_new(X)
        responsibilities = np.empty((X.shape[0], len(self._labels)), self._output_dtype(X))
        self._evaluate(X, responsibilities=responsibilities)
        return responsibilities

    @blockwise(lambda self, rows: self._output_dtype(rows))
    def score_samples(self, X: Any) -> NDArray[np.floating[Any]]:
        """Return the log-density of each row.

        Parameters
        ----------
        X : array-like or Dask collection of shape (n_samples, n_features), or ``fastem.rows``

        Returns
        -------
        log_density : ndarray of shape (n_samples,)
            In the rows' dtype.
        """
        return self._log_density(self._check_new(X))

    def score(self, X: Any, y: Any = None, sample_weight: Any = None) -> float:
        """Return the mean log-density of rows.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        y : Ignored
            Present by convention.

        sample_weight : array-like of shape (n_samples,), default=None
            Non-negative weights of the rows; None for ones.

        Returns
        -------
        log_likelihood : float
        """
        X = self._check_new(X)
        weights = RowWeights.of(sample_weight, X)
        return weights.sum(self._log_density(X)) / weights.total

    def sample(self, n_samples: int = 1) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Draw rows from the mixture.

        Parameters
        ----------
        n_samples : int, default=1
            Number of rows.

        Returns
        -------
        X : ndarray of shape (n_samples, n_features), float64
            The rows, component by component.

        y : ndarray of shape (n_samples,), int64
            Their components; -1 for noise, if the mixture has any.
        """
        check_is_fitted(self)
        if n_samples < 1:
            raise ValueError(
                f"Invalid value for 'n_samples': {n_samples} . The sampling requires at "
                "least one sample."
            )
        random_state = check_random_state(self.random_state)
        self._parameters()
        sizes = random_state.multinomial(n_samples, self._shares())
        labels = np.array(self._labels, np.int64)
        X = [
            self._sample_component(label, size, random_state)
            for label, size in zip(labels.tolist(), sizes.tolist(), strict=True)
        ]
        return np.vstack(X), np.repeat(labels, sizes)
