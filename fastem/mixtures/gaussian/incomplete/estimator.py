"""What a Gaussian mixture does with incomplete and with noisy rows."""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from fastem.kernels.gaussian import PASSES
from fastem.kernels.gaussian.incomplete.passes import IncompletePass, IncompleteStatistics
from fastem.mixtures.gaussian.incomplete.completion import (
    Gaussians,
    denoised,
    fill_draws,
    fill_means,
)
from fastem.mixtures.gaussian.incomplete.errors import Errors, check_errors
from fastem.mixtures.gaussian.incomplete.starts import IncompleteStarts
from fastem.mixtures.gaussian.model import GaussianModel
from fastem.mixtures.gaussian.parameters import GaussianParameters
from fastem.mixtures.gaussian.stacks import order, stacked, widened
from fastem.mixtures.missing import MissingMixin, check_columns, check_observed, gaps_in, has_gaps
from fastem.rows import LocalRows, Rows
from fastem.rows.collections import blockwise, fitted_together
from fastem.sklearn_private import _fit_context

_WITH_NOISE_COMPONENT = (
    "A mixture with a noise component takes complete rows without known errors only: uniform noise "
    "has no density of less than a whole row"
)


def make_pass(X, sample_weight, n_components, covariance_type, noise=None, incomplete=False):
    """A pass over rows, which may have gaps or errors if that is said."""
    if incomplete:
        own, shared = Errors(None, None) if noise is None else noise
        return IncompletePass(X, sample_weight, n_components, covariance_type, own, shared)
    return PASSES[covariance_type](X, sample_weight, n_components)


def complete_model(model: GaussianModel, rows: Rows, noise: Any, gaps: bool) -> None:
    """Let a model that was made for complete rows fit such as have gaps or errors.

    Parameters
    ----------
    model : GaussianModel
    rows : Rows
    noise : array-like or None
        What the user knows of the errors.
    gaps : bool
        Whether there may be gaps.

    Raises
    ------
    ValueError, TypeError
        For noise that doesn't fit the rows, and where the model or the rows' home can't do that.
    """
    if noise is not None:
        if not (isinstance(rows, LocalRows) and rows.n_parts == 1):
            raise TypeError("'noise' is for rows in one array")
        noise = check_errors(noise, rows.parts[0].X)
    elif not (gaps and gaps_in(rows)):
        return
    if model.find_noise is not None:
        raise ValueError(_WITH_NOISE_COMPONENT)
    model.starts = starts = IncompleteStarts(model.starts, model.covariances)
    if model.make_prior is not None:
        model.make_prior = partial(_prior_of_filled, model.make_prior, starts)
    model.make_pass = partial(model.make_pass, noise=noise, incomplete=True)
    model.completed = partial(_completed, means_fixed="means" in model.fixed)


def _prior_of_filled(make_prior, starts, rows):
    columns = starts.columns(rows)
    return make_prior(rows.filled(columns.means), added=columns.missing * columns.variances)


def _completed(statistics: IncompleteStatistics, row: float, means_fixed: bool):
    """The statistics for an M-step, unless they don't tell where a component is."""
    completed, observed = statistics
    check_columns(observed.sum(axis=0))
    if not means_fixed:
        check_observed(observed, completed.counts, row)
    return completed


class IncompleteMixin(MissingMixin):
    """Gives a Gaussian mixture ``missing`` and ``noise``."""

    _n_fitted: int
    _labels: Sequence[int]
    _fit_to: Callable[..., Any]

    # What the mixture has.

    @property
    @abstractmethod
    def _covariances(self) -> Any:
        """Its type of covariances."""

    @abstractmethod
    def _parameters(self) -> GaussianParameters:
        """The fitted parameters, in double precision."""

    @abstractmethod
    def _components(self) -> Any:
        """The fitted parameters as the passes take them."""

    # What it is given.

    @fitted_together
    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Any, y: Any = None, sample_weight: Any = None, noise: Any = None) -> Self:
        """Estimate the parameters by expectation-maximisation.

        The best of ``n_init`` runs is kept. A run ends once the objective changes by less than
        ``tol``, or after ``max_iter`` iterations. With ``warm_start``, a second fit goes on where
        the first ended.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or rows as in :mod:`fastem.rows`
            C-contiguous float32 or float64 rows are used in place; a memory-mapped file is not
            read into memory as a whole.

        y : Ignored
            Present by convention.

        sample_weight : array-like of shape (n_samples,), default=None
            Non-negative weights of the rows; None for ones. An integer weight is as good as
            repeating the row.

        noise : array-like, default=None
            What is known of errors that were added to the rows' true values: their variances
            (n_samples, n_features), or covariances (n_samples, n_features, n_features), or those
            of all rows' errors, (n_features,) or (n_features, n_features). The mixture is then that
            of the true values. What is NaN in ``X`` has no error. A start takes the rows as they
            are. For rows in an array only.

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
        return self._fit_to(X, y, sample_weight, noise=noise)

    def fit_predict(
        self, X: Any, y: Any = None, sample_weight: Any = None, noise: Any = None
    ) -> NDArray[np.int64]:
        """Estimate the parameters and return each row's most probable component.

        Parameters
        ----------
        X, y, sample_weight, noise
            As for :meth:`fit`.

        Returns
        -------
        labels : ndarray of shape (n_samples,), int64
        """
        return self.fit(X, y, sample_weight, noise).predict(X, noise)

    def _make_pass(self, X, sample_weight):
        return self._pass(X, sample_weight, None)

    def _pass(self, X, sample_weight, noise):
        incomplete = noise is not None or (self._gaps and has_gaps(X))
        if incomplete and hasattr(self, "noise_weight_"):
            raise ValueError(_WITH_NOISE_COMPONENT)
        arguments = X, sample_weight, self._n_fitted, self._covariances.passes
        return make_pass(*arguments, noise=noise, incomplete=incomplete)

    def _write(self, X, noise, **outputs):
        noise = None if noise is None else check_errors(noise, X)
        components = self._components()
        self._pass(X, None, noise).evaluate(components, **outputs)

    @blockwise(lambda self, rows: np.int64)
    def predict(self, X: Any, noise: Any = None) -> NDArray[np.int64]:
        """Return each row's most probable component.

        Parameters
        ----------
        X : array-like or Dask collection of shape (n_samples, n_features), or ``fastem.rows``

        noise : array-like, default=None
            Known errors of the rows, as for :meth:`fit`.

        Returns
        -------
        labels : ndarray of shape (n_samples,), int64
            -1 for the noise component, if the mixture has one.
        """
        X = self._check_new(X)
        labels = np.empty(len(X), np.int64)
        self._write(X, noise, labels=labels)
        return labels

    @blockwise(lambda self, rows: self._output_dtype(rows), lambda self: len(self._labels))
    def predict_proba(self, X: Any, noise: Any = None) -> NDArray[np.floating[Any]]:
        """Return the responsibilities: the components' probabilities given each row.

        Parameters
        ----------
        X : array-like or Dask collection of shape (n_samples, n_features), or ``fastem.rows``

        noise : array-like, default=None
            Known errors of the rows, as for :meth:`fit`.

        Returns
        -------
        responsibilities : ndarray of shape (n_samples, n_components)
            In the rows' dtype.
        """
        X = self._check_new(X)
        responsibilities = np.empty((len(X), len(self._labels)), X.dtype)
        self._write(X, noise, responsibilities=responsibilities)
        return responsibilities

    @blockwise(lambda self, rows: self._output_dtype(rows))
    def score_samples(self, X: Any, noise: Any = None) -> NDArray[np.floating[Any]]:
        """Return the log-density of each row: of what was observed of it.

        Parameters
        ----------
        X : array-like or Dask collection of shape (n_samples, n_features), or ``fastem.rows``

        noise : array-like, default=None
            Known errors of the rows, as for :meth:`fit`.

        Returns
        -------
        log_density : ndarray of shape (n_samples,)
            In the rows' dtype.
        """
        X = self._check_new(X)
        log_density = np.empty(len(X), X.dtype)
        self._write(X, noise, log_density=log_density)
        return log_density

    def denoise(self, X: Any, noise: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The rows' true values, as far as they and their errors tell.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Also with NaN, if ``missing="em"``.

        noise : array-like
            Known errors of the rows, as for :meth:`fit`.

        Returns
        -------
        values : ndarray of shape (n_samples, n_features), float64
            Expected true values given the rows, over all components.

        covariances : ndarray of shape (n_samples, n_features, n_features), float64
            The true values' covariances given the rows.
        """
        # What is float64 keeps its digits, and passes take errors in the rows' dtype.
        X = self._check_new(X).astype(np.float64, copy=False)
        checked = check_errors(noise, X)
        responsibilities = self._responsibilities(X, checked)
        return denoised(X, self._gaussians(2), responsibilities, checked.matrices)

    def _fill(self, X, random_state):
        gaussians = self._gaussians(1)
        responsibilities = self._responsibilities(X, None)
        if random_state is None:
            fill_means(X, gaussians, responsibilities)
        else:
            fill_draws(X, gaussians, responsibilities, random_state)

    def _responsibilities(self, X, noise):
        responsibilities = np.empty((len(X), self._n_fitted))
        whole = X.astype(np.float64, copy=False)
        self._pass(whole, None, noise).evaluate(
            self._components(), responsibilities=responsibilities
        )
        return responsibilities

    def _gaussians(self, least_order):
        """The components, with covariances of at least this order."""
        means, covariances = self._parameters()[1:3]
        kind = self._covariances
        stack = widened(
            stacked(kind, np.asarray(covariances)), max(order(kind), least_order), means.shape[1]
        )
        return Gaussians(means, np.broadcast_to(stack, (len(means), *stack.shape[1:])))
