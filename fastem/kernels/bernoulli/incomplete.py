"""Dense rows of which entries are missing, packed into bits.

A feature becomes two: whether it was observed to be one, and whether it was observed to be zero.
So log-densities and sums are those of complete rows of twice as many features, of which a zero says
nothing.
"""

from typing import NamedTuple

import numpy as np

from fastem.kernels.bernoulli.base import BernoulliComponents
from fastem.kernels.bernoulli.bits import packed_bits
from fastem.kernels.bernoulli.dense import DensePass


class IncompleteStatistics(NamedTuple):
    """What the M-step needs of incomplete rows; the statistics of two parts of the data add up.

    Parameters
    ----------
    objective : float
        As of ``BernoulliStatistics``.
    counts : ndarray of shape (n_components,)
    sums : ndarray of shape (n_components, n_features)
        Sums of ``w * gamma * x`` over the rows in which the feature was observed.
    observed : ndarray of shape (n_components, n_features)
        Sums of ``w * gamma`` over these rows.
    """

    objective: float
    counts: np.ndarray
    sums: np.ndarray
    observed: np.ndarray


class IncompletePass:
    """Passes over the rows of one part.

    Parameters
    ----------
    X : ndarray of shape (n_rows, n_features)
        NaN where nothing was observed.
    threshold : float
        Greater values are ones.
    sample_weight : None or ndarray of shape (n_rows,), float64
    n_components : int
    """

    def __init__(self, X, threshold, sample_weight, n_components):
        ones, zeros = packed_bits(X, threshold), packed_bits(X <= threshold, 0)
        n_features, first = X.shape[1], 8 * ones.shape[1]
        self._ones, self._zeros = slice(n_features), slice(first, first + n_features)
        rows = np.hstack([ones, zeros])
        self._pass = DensePass(rows, first + n_features, sample_weight, n_components)

    def e_step(self, parameters, hard=False):
        """One E-step, and the statistics for the M-step.

        Parameters
        ----------
        parameters : BernoulliComponents
        hard : bool
            Whether every row belongs to its most probable component alone.

        Returns
        -------
        IncompleteStatistics
        """
        objective, counts, sums = self._pass.e_step(self._doubled(parameters), hard)
        ones, zeros = sums[:, self._ones], sums[:, self._zeros]
        return IncompleteStatistics(objective, counts, ones.copy(), ones + zeros)

    def evaluate(self, parameters, **outputs):
        """As ``BernoulliPass.evaluate``."""
        self._pass.evaluate(self._doubled(parameters), **outputs)

    def _doubled(self, parameters):
        log_weights, absent, present = parameters
        logarithms = np.zeros((len(present), self._zeros.stop))
        logarithms[:, self._ones], logarithms[:, self._zeros] = present, absent
        return BernoulliComponents(log_weights, np.zeros(logarithms.shape), logarithms)
