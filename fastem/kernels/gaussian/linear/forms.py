"""What makes a covariance type's densities linear in few terms, while that is exact enough.

What it costs is digits: a variance is the difference of a mean square from the origin and the
squared distance of the mean from there, and loses as many digits as their ratio has; so does a
log-density. As long as the means are near enough, that is no more than the last digits vary anyway.
"""

from abc import ABC, abstractmethod
from typing import NamedTuple

import numpy as np

from fastem.kernels.linalg.factors import product


class Limits(NamedTuple):
    """How large squared distances of means from the origin may be, in variances.

    Parameters
    ----------
    square : float
        Along a feature.
    norm : float
        In all, per feature.
    """

    square: float
    norm: float


# For errors of at most 1e-5, most of which average out over rows, and 1e-11.
LIMITS = {np.dtype(np.float32): Limits(400.0, 50.0), np.dtype(np.float64): Limits(1e5, 1e5)}

# Squares of reciprocals in this range, and of what they scale, are normal numbers in float32.
SMALLEST, LARGEST = 1e-12, 1e12

# Where a variance falls to less than this part of what it was, its digits are counted anew.
SHRUNK = 1e-2


class LinearForm(ABC):
    """Terms for one covariance type, and what follows from their sums."""

    #: The terms that statistics are sums of, one of ``driver.py``'s forms.
    terms: int
    #: Whether log-densities are whole, and all statistics those of the rows' shares: noise, which
    #: has a part of the rows and a density of its own, needs that.
    whole: bool = True

    @abstractmethod
    def pack(self, components, origin):
        """The components packed for an E-step, or None where too many digits would be lost."""

    @abstractmethod
    def about_means(self, counts, sums, means):
        """Sums of differences from the means, and the scatter.

        Parameters
        ----------
        counts : ndarray of shape (n_components,)
        sums : ndarray of shape (1 or 2, n_components, n_terms)
            Of terms, and of their squares if the form is ``SQUARES``.
        means : ndarray of shape (n_components, n_features)
            Relative to the origin.

        Returns
        -------
        differences : ndarray of shape (n_components, n_features)
        scatter : ndarray
        """

    @abstractmethod
    def resolved(self, counts, means, scatter):
        """Where the variances that follow from the scatter have digits enough."""

    @abstractmethod
    def origin(self, components):
        """What rows and means are relative to, float64 that the rows' dtype holds exactly."""

    @abstractmethod
    def pack_to_evaluate(self, components):
        """The components packed for whole log-densities, or None."""

    @abstractmethod
    def variances(self, statistics):
        """The variances that follow from the statistics."""

    # What a form of one covariance for all adds to.

    def objective(self, components, packed, log_density):
        """The sum of the log-densities, from that of what is linear."""
        return log_density

    def complete(self, counts):
        """Whether enough rows take part for the statistics to be right."""
        return True

    def completed(self, statistics, components):
        """Statistics of a skipping pass with what it can't sum, and the means from the origin.

        None if the pass has summed all.
        """
        return None


def mixture_mean(components, dtype):
    """The mean of a mixture, as the rows' dtype holds it."""
    weights = np.exp(components.log_weights)
    origin = product(weights[np.newaxis], components.means)[0] / weights.sum()
    return origin.astype(dtype).astype(np.float64)


def variances_of_components(statistics):
    """The variances that follow from statistics with a scatter for each component."""
    return (statistics.scatter.T / statistics.counts).T


def in_range(scales):
    """Whether squares of reciprocals of standard deviations are normal numbers in float32."""
    return bool((scales > SMALLEST).all() and (scales < LARGEST).all())
