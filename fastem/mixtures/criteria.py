"""Criteria by which mixtures of different sizes are compared: the lower, the better."""

from abc import abstractmethod
from functools import reduce
from typing import Any

import numpy as np

from fastem.mixtures.bound import BoundMixin
from fastem.rows.weights import RowWeights


class CriteriaMixin(BoundMixin):
    """Gives a mixture with a bound its criteria."""

    @abstractmethod
    def _n_parameters(self) -> int:
        """The number of free parameters."""

    def aic(self, X: Any, sample_weight: Any = None) -> float:
        """Akaike's information criterion of rows, the lower the better.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        sample_weight : array-like of shape (n_samples,), default=None
            Non-negative weights of the rows; None for ones. A weight of two is the row twice.

        Returns
        -------
        aic : float
        """
        return -2 * self.elbo(X, sample_weight=sample_weight) + 2 * self._n_parameters()

    def bic(self, X: Any, sample_weight: Any = None) -> float:
        """Bayesian information criterion of rows, the lower the better.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        sample_weight : array-like of shape (n_samples,), default=None
            Non-negative weights of the rows; None for ones. A weight of two is the row twice: the
            number of rows is the sum of the weights.

        Returns
        -------
        bic : float
        """
        X = self._check_new(X)
        weights = RowWeights.of(sample_weight, X)
        return self._criterion(weights.unscaled(weights.sum(self._log_density(X))), weights)

    def icl(self, X: Any, sample_weight: Any = None) -> float:
        """Integrated completed likelihood of rows, the lower the better.

        As :meth:`bic` with the complete-data log-likelihood of the most probable components, so
        that components that overlap count against the model.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        sample_weight : array-like of shape (n_samples,), default=None
            Non-negative weights of the rows, as for :meth:`bic`.

        Returns
        -------
        icl : float

        Notes
        -----
        Biernacki, Celeux and Govaert, "Assessing a mixture model for clustering with the integrated
        completed likelihood", IEEE Transactions on Pattern Analysis and Machine Intelligence 22,
        2000.
        """
        X = self._check_new(X)
        weights = RowWeights.of(sample_weight, X)
        return self._criterion(self._sum_over_rows(_greatest, X, weights), weights)

    def _log_likelihoods(self, X, sample_weight):
        """All that criteria take of rows, at once: the log-likelihood, and that of :meth:`icl`."""
        X = self._check_new(X)
        weights = RowWeights.of(sample_weight, X)
        return self._sums_over_rows([_density, _greatest], X, weights)

    def _criterion(self, log_likelihood, weights):
        return -2 * log_likelihood + self._n_parameters() * weights.log_total


# Rows' values by their densities, as the bound sums them.


def _density(block, log_joint, log_density):
    return log_density


def _greatest(block, log_joint, log_density):
    return reduce(np.maximum, log_joint.T)  # in a fifth of the time of a maximum along short rows
