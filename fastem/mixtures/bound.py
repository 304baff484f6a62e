"""The bound that EM climbs, and its gap: EM's mathematics for any mixture.

For any distributions q over the components, ``log p(x) = ELBO + KL(q || p(k given x))``: the E-step
closes the gap, the M-step raises the bound. Neal and Hinton, "A view of the EM algorithm that
justifies incremental, sparse, and other variants", in Learning in Graphical Models, 1998.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from scipy.special import xlogy
from sklearn.utils import check_array

from fastem.rows.weights import RowWeights
from fastem.validation import check_shape

# Numbers in a block of (rows, components) that exists at a time.
_BLOCK_SIZE = 1 << 18


class BoundMixin(ABC):
    """Gives a mixture its bound; nothing of (rows, components) is made but the caller's own."""

    # What the mixture has.

    @property
    @abstractmethod
    def _labels(self) -> Sequence[int]:
        """What rows may be labelled with: component after component, -1 last for noise."""

    @abstractmethod
    def _check_new(self, X: Any) -> Any:
        """The rows as the passes take them, if the mixture is fitted."""

    @abstractmethod
    def _output_dtype(self, X: Any) -> np.dtype:
        """The dtype of log-densities of these rows."""

    @abstractmethod
    def _evaluate_some(self, X: Any, **outputs: Any) -> int:
        """Fill the arrays given, such as ``log_density`` and ``log_joint``, for some of the rows.

        Returns how many of them are impossible, if that is to be told.
        """

    @abstractmethod
    def _warn_of_impossible(self, n_rows: int) -> None:
        """Tell how many of all rows are impossible, if any."""

    @abstractmethod
    def _log_density(self, X: Any) -> Any:
        """The log-density of each row."""

    # What it is given.

    def elbo(self, X: Any, responsibilities: Any = None, sample_weight: Any = None) -> float:
        """The evidence lower bound: ``sum_n sum_k q_nk (log p(x_n, k) - log q_nk)``.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        responsibilities : array-like of shape (n_samples, n_components), default=None
            The distribution q over the components for each row. None for the posterior, for which
            the bound is the log-likelihood.

        sample_weight : array-like of shape (n_samples,), default=None
            Non-negative weights of the rows; None for ones.

        Returns
        -------
        elbo : float
            In nats. ``score_samples(X).sum()`` is ``elbo(X, q) + posterior_kl(X, q)``.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            Before a fit.
        ValueError, TypeError
            For bad input; responsibilities are refused unless each row's sum to one.
        """
        X = self._check_new(X)
        weights = RowWeights.of(sample_weight, X)
        if responsibilities is None:
            return weights.unscaled(weights.sum(self._log_density(X)))
        q = self._check_responsibilities(responsibilities, X)

        def bounds(block, log_joint, log_density):
            own = _in_float64(q[block])
            return (_expected(own, log_joint) - xlogy(own, own)).sum(axis=1)

        return self._sum_over_rows(bounds, X, weights)

    def posterior_kl(self, X: Any, responsibilities: Any, sample_weight: Any = None) -> float:
        """The bound's gap: the sum over rows of ``KL(q_n || p(k given x_n))``.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        responsibilities : array-like of shape (n_samples, n_components)
            The distribution q over the components for each row.

        sample_weight : array-like of shape (n_samples,), default=None
            Non-negative weights of the rows; None for ones.

        Returns
        -------
        kl : float
            In nats. Rows that are impossible under all components have no posterior and do not
            count.
        """
        X = self._check_new(X)
        weights = RowWeights.of(sample_weight, X)
        q = self._check_responsibilities(responsibilities, X)

        def gaps(block, log_joint, log_density):
            own = _in_float64(q[block])
            log_posterior = _log_posterior(log_joint, log_density)
            gap = (xlogy(own, own) - _expected(own, log_posterior)).sum(axis=1)
            return np.where(log_density == -np.inf, 0.0, gap)

        return max(self._sum_over_rows(gaps, X, weights), 0.0)

    def complete_log_likelihood(self, X: Any, labels: Any, sample_weight: Any = None) -> float:
        """The log-likelihood of rows whose components are known: ``sum_n log p(x_n, labels_n)``.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        labels : array-like of shape (n_samples,), int
            Each row's component; -1 for noise, if the mixture has any.

        sample_weight : array-like of shape (n_samples,), default=None
            Non-negative weights of the rows; None for ones.

        Returns
        -------
        log_likelihood : float
            In nats.
        """
        X = self._check_new(X)
        weights = RowWeights.of(sample_weight, X)
        labels = self._check_labels(labels, X)

        def of_labels(block, log_joint, log_density):
            return log_joint[np.arange(len(log_joint)), labels[block]]

        return self._sum_over_rows(of_labels, X, weights)

    def expected_complete_log_likelihood(
        self, X: Any, responsibilities: Any = None, sample_weight: Any = None
    ) -> float:
        """What an M-step maximises: ``sum_n sum_k q_nk log p(x_n, k)``.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        responsibilities : array-like of shape (n_samples, n_components), default=None
            The distribution q over the components for each row; None for the posterior.

        sample_weight : array-like of shape (n_samples,), default=None
            Non-negative weights of the rows; None for ones.

        Returns
        -------
        log_likelihood : float
            In nats.
        """
        X = self._check_new(X)
        weights = RowWeights.of(sample_weight, X)
        q = None
        if responsibilities is not None:
            q = self._check_responsibilities(responsibilities, X)

        def expectations(block, log_joint, log_density):
            if q is None:
                own = np.exp(_log_posterior(log_joint, log_density))
            else:
                own = q[block]
            return _expected(own, log_joint).sum(axis=1)

        return self._sum_over_rows(expectations, X, weights)

    def _sum_over_rows(
        self,
        rows_of: Callable[[slice, np.ndarray, np.ndarray], np.ndarray],
        X: Any,
        weights: RowWeights,
    ) -> float:
        """The rows' weighted sum of what is made of their densities.

        ``rows_of(block, log_joint, log_density)`` returns a block's values, one for each row. The
        joint log-densities are (rows, components); both are float64.
        """
        return self._sums_over_rows([rows_of], X, weights)[0]

    def _sums_over_rows(self, functions, X, weights):
        """The same for several functions of the densities, which are found once."""
        n_columns = len(self._labels)
        size = max(1, _BLOCK_SIZE // n_columns)
        dtype = self._output_dtype(X)
        totals, n_impossible = np.zeros(len(functions)), 0
        for start in range(0, X.shape[0], size):
            block = slice(start, start + size)
            rows = X[block]
            log_joint = np.empty((rows.shape[0], n_columns), dtype)
            log_density = np.empty(rows.shape[0], dtype)
            n_impossible += self._evaluate_some(rows, log_joint=log_joint, log_density=log_density)
            densities = _in_float64(log_joint), _in_float64(log_density)
            totals += [weights.sum(rows_of(block, *densities), block) for rows_of in functions]
        self._warn_of_impossible(n_impossible)
        return [weights.unscaled(total) for total in totals]

    def _check_responsibilities(self, responsibilities, X):
        responsibilities = check_array(responsibilities, input_name="responsibilities")
        shape = (X.shape[0], len(self._labels))
        check_shape(responsibilities, shape, "responsibilities")
        if responsibilities.min() < 0:
            raise ValueError("The parameter 'responsibilities' should not be negative")
        error = np.abs(responsibilities.sum(axis=1, dtype=np.float64) - 1.0).max()
        if error > (1e-5 if responsibilities.dtype == np.float32 else 1e-6):
            raise ValueError(
                "The parameter 'responsibilities' should be normalized: each row's should sum to "
                f"one, but a sum is off by {error:.5g}"
            )
        return responsibilities

    def _check_labels(self, labels, X):
        labels = check_array(labels, dtype=None, ensure_2d=False, input_name="labels")
        check_shape(labels, (X.shape[0],), "labels")
        least, greatest = min(self._labels), max(self._labels)
        if labels.dtype.kind not in "iu" or labels.min() < least or labels.max() > greatest:
            raise ValueError(
                f"The parameter 'labels' should be integers in the range [{least}, {greatest}]"
            )
        return labels


def _in_float64(values):
    return values.astype(np.float64, copy=False)


def _expected(q, values):
    """``q * values``, where nothing is expected of a value without probability."""
    return np.multiply(q, values, out=np.zeros(values.shape), where=q > 0)


def _log_posterior(log_joint, log_density):
    """The logarithms of the responsibilities; zeros in rows that no component explains."""
    impossible = log_density == -np.inf
    log_posterior = log_joint - np.where(impossible, 0.0, log_density)[:, np.newaxis]
    log_posterior[impossible] = 0.0
    return log_posterior
