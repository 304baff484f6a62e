"""What the linear forms of one covariance for all components share: the total scatter.

What a row's log-densities have in common then is a quadratic form, which no responsibility depends
on. Its sum over the rows follows from the *total* scatter, that of all rows as one component, and
so does the scatter within the components; the total is computed once.
"""

from abc import abstractmethod
from functools import cached_property
from typing import NamedTuple

import numpy as np

from fastem.kernels.columns.moments import dense_moments
from fastem.kernels.gaussian.linear.driver import FEATURES
from fastem.kernels.gaussian.linear.forms import LIMITS, LinearForm


class Total(NamedTuple):
    """All rows' weight and scatter, in the type's shape, about an origin.

    ``spread`` are the features' root mean squares from there.
    """

    origin: np.ndarray
    weight: float
    scatter: np.ndarray
    spread: np.ndarray


def _variances(scatter):
    return np.diagonal(scatter) if np.ndim(scatter) == 2 else scatter


class SharedForm(LinearForm):
    """Linear in the features, but for what the rows' log-densities have in common.

    Parameters
    ----------
    sweep : Sweep
        Over the rows, for their total.
    """

    terms = FEATURES
    whole = False

    def __init__(self, sweep):
        self._sweep = sweep
        self._dtype = sweep.dtype
        self._limits = LIMITS[sweep.dtype]

    @abstractmethod
    def measure(self, origin):
        """The total about an origin."""

    @abstractmethod
    def between(self, means, sums):
        """The symmetric part of ``means.T @ sums``, in the type's shape."""

    @abstractmethod
    def sum_of_norms(self, precisions_cholesky):
        """The sum of the whitened rows' squared norms."""

    @cached_property
    def total(self):
        mean = dense_moments(self._sweep.rows).mean
        return self.measure(mean.astype(self._dtype).astype(np.float64))

    def origin(self, components):
        return self.total.origin

    def objective(self, components, packed, log_density):
        if packed.form == FEATURES:
            log_density -= 0.5 * self.sum_of_norms(components.precisions_cholesky)
        return log_density

    def about_means(self, counts, sums, means):
        sums = sums[0]
        differences = sums - counts[:, np.newaxis] * means
        return differences, self.total.scatter - self.between(means, sums + differences)

    def completed(self, statistics, components):
        counts, differences = statistics.counts, statistics.sums
        means = components.means - self.total.origin
        sums = 2.0 * differences + counts[:, np.newaxis] * means
        scatter = self.total.scatter - self.between(means, sums)
        return statistics._replace(scatter=scatter), means

    def complete(self, counts):
        # The total is that of all rows, even if some belong to no component.
        weight = self.total.weight
        return abs(counts.sum() - weight) <= 1e-5 * weight

    def resolved(self, counts, means, scatter):
        return _variances(self.total.scatter) <= self._limits.square * _variances(scatter)

    def variances(self, statistics):
        return _variances(statistics.scatter) / statistics.counts.sum()
