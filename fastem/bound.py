"""The bound that EM climbs, and its gap: EM's mathematics for any mixture.

For any distributions q over the components, ``log p(x) = ELBO + KL(q || p(k given x))``: the E-step
closes the gap, the M-step raises the bound. Neal and Hinton, "A view of the EM algorithm that
justifies incremental, sparse, and other variants", in Learning in Graphical Models, 1998.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from scipy.special import xlogy
from sklearn.utils import check_array

from fastem.validation import check_shape

# Numbers in a block of (rows, components) that exists at a time.
_BLOCK_SIZE = 1 << 18


class BoundMixin:
    """Gives a mixture its bound; nothing of (rows, components) is made but the caller's own."""

    def elbo(self, X: Any, responsibilities: Any = None) -> float:
        """The evidence lower bound: ``sum_n sum_k q_nk (log p(x_n, k) - log q_nk)``.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        responsibilities : array-like of shape (n_samples, n_components), default=None
            The distribution q over the components for each row. None for the posterior, for which
            the bound is the log-likelihood.

        Returns
        -------
        elbo : float
            In nats. ``score_samples(X).sum()`` is ``elbo(X, q) + posterior_kl(X, q)``.
        """
        X = self._check_new(X)
        if responsibilities is None:
            return self._log_likelihood(X)
        q = self._check_responsibilities(responsibilities, X)
        return sum(
            float_sum(_expected(q[block], log_joint) - xlogy(q[block], q[block]))
            for block, log_joint, _ in self._blocks(X)
        )

    def posterior_kl(self, X: Any, responsibilities: Any) -> float:
        """The bound's gap: the sum over rows of ``KL(q_n || p(k given x_n))``.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        responsibilities : array-like of shape (n_samples, n_components)
            The distribution q over the components for each row.

        Returns
        -------
        kl : float
            In nats. Rows that are impossible under all components have no posterior and do not
            count.
        """
        X = self._check_new(X)
        q = self._check_responsibilities(responsibilities, X)
        total = 0.0
        for block, log_joint, log_density in self._blocks(X):
            given = _log_posterior(log_joint, log_density)
            terms = xlogy(q[block], q[block]) - _expected(q[block], given)
            total += float_sum(terms[log_density > -np.inf])
        return max(total, 0.0)

    def complete_log_likelihood(self, X: Any, labels: Any) -> float:
        """The log-likelihood of rows whose components are known: ``sum_n log p(x_n, labels_n)``.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        labels : array-like of shape (n_samples,), int
            Each row's component.

        Returns
        -------
        log_likelihood : float
            In nats.
        """
        X = self._check_new(X)
        labels = self._check_labels(labels, X)
        return sum(
            float_sum(log_joint[np.arange(len(log_joint)), labels[block]])
            for block, log_joint, _ in self._blocks(X)
        )

    def expected_complete_log_likelihood(self, X: Any, responsibilities: Any = None) -> float:
        """What an M-step maximises: ``sum_n sum_k q_nk log p(x_n, k)``.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        responsibilities : array-like of shape (n_samples, n_components), default=None
            The distribution q over the components for each row; None for the posterior.

        Returns
        -------
        log_likelihood : float
            In nats.
        """
        X = self._check_new(X)
        q = None
        if responsibilities is not None:
            q = self._check_responsibilities(responsibilities, X)
        total = 0.0
        for block, log_joint, log_density in self._blocks(X):
            given = np.exp(_log_posterior(log_joint, log_density)) if q is None else q[block]
            total += float_sum(_expected(given, log_joint))
        return total

    def _blocks(self, X) -> Iterator[tuple[slice, np.ndarray, np.ndarray]]:
        """Blocks of rows with their joint log-densities (rows, components) and log-densities."""
        size = max(1, _BLOCK_SIZE // self._n_fitted)
        for start in range(0, X.shape[0], size):
            block = slice(start, start + size)
            rows = X[block]
            dtype = self._output_dtype(X)
            log_joint = np.empty((rows.shape[0], self._n_fitted), dtype)
            log_density = np.empty(rows.shape[0], dtype)
            self._evaluate(rows, log_joint=log_joint, log_density=log_density)
            yield block, log_joint, log_density

    def _check_responsibilities(self, responsibilities, X):
        responsibilities = check_array(
            responsibilities, dtype=[np.float64, np.float32], input_name="responsibilities"
        )
        shape = (X.shape[0], self._n_fitted)
        check_shape(responsibilities, shape, "responsibilities")
        if responsibilities.min() < 0:
            raise ValueError("The parameter 'responsibilities' should not be negative")
        error = np.abs(responsibilities.sum(axis=1, dtype=np.float64) - 1.0).max()
        if error > (1e-6 if responsibilities.dtype == np.float64 else 1e-5):
            raise ValueError(
                "The parameter 'responsibilities' should be normalized: each row's should sum to "
                f"one, but a sum is off by {error:.5g}"
            )
        return responsibilities

    def _check_labels(self, labels, X):
        labels = check_array(labels, dtype=None, ensure_2d=False, input_name="labels")
        check_shape(labels, (X.shape[0],), "labels")
        if labels.dtype.kind not in "iu" or labels.min() < 0 or labels.max() >= self._n_fitted:
            raise ValueError(
                f"The parameter 'labels' should be integers in the range [0, {self._n_fitted - 1}]"
            )
        return labels


def float_sum(values: np.ndarray) -> float:
    """The sum of an array, in float64."""
    return float(values.sum(dtype=np.float64))


def _expected(q, values):
    """``q * values``, where nothing is expected of a value without probability."""
    return np.multiply(q, values, out=np.zeros(values.shape), where=q > 0)


def _log_posterior(log_joint, log_density):
    """The logarithms of the responsibilities; zeros in rows that no component explains."""
    impossible = log_density == -np.inf
    log_posterior = log_joint - np.where(impossible, 0.0, log_density)[:, np.newaxis]
    log_posterior[impossible] = 0.0
    return log_posterior
