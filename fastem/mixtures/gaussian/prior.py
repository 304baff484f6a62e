"""The conjugate prior of means and covariances that R's mclust has."""

from typing import Any

import numpy as np

from fastem.kernels.gaussian import GaussianStatistics
from fastem.mixtures.gaussian.covariances import Covariances
from fastem.mixtures.gaussian.parameters import GaussianParameters
from fastem.mixtures.gaussian.pooled import pooled
from fastem.mixtures.gaussian.stacks import order, stacked

# Rows that the prior's mean counts for.
_SHRINKAGE = 0.01


class ConjugatePrior:
    """Each mean is normal given its covariance, which is inverse Wishart (or gamma).

    Around the mean of all rows, with a covariance that is theirs divided among the components. To
    the M-step it is some more scatter, a hundredth of a row at the prior's mean, and greater
    divisors. Matrices that share only a part have the prior of those that share nothing, as far as
    they go; diagonals that do, what mclust has for them.

    C. Fraley and A. E. Raftery, "Bayesian regularization for normal mixture estimation and
    model-based clustering", Journal of Classification 24, 2007.

    Parameters
    ----------
    kind : Covariances
    n_components : int
    unit : float
        What a row of weight one counts.
    mean : ndarray of shape (n_features,)
    covariance : ndarray of shape (n_features, n_features) or (n_features,)
        Of all rows; of diagonals and multiples of the identity the variances do.
    """

    def __init__(
        self,
        kind: Covariances,
        n_components: int,
        unit: float,
        mean: np.ndarray,
        covariance: np.ndarray,
    ):
        n_features = len(mean)
        share = n_components ** (-2.0 / n_features)
        degrees = n_features + 2
        self._kind = kind
        self._mean = mean
        self._shrinkage = _SHRINKAGE * unit
        if order(kind) == 2:
            self._scatter = unit * share * covariance
            exponent = degrees + n_features + 1.0
        else:
            self._scatter = unit * share * covariance.mean()
            exponent = degrees + 2.0
            if order(kind) == 0:
                exponent /= n_features
        of_mean = 1.0
        if kind.model == "VEI":  # where mclust counts for the volumes alone
            of_mean, exponent = of_mean / n_features, exponent / n_features
        # What a density counts for in the divisors: the mean's, and the covariance's, which all
        # share if they share it, or its volume.
        shares = kind.tied or kind.model == "EVI"
        self.counts = unit * (of_mean + (exponent / n_components if shares else exponent))

    @classmethod
    def of_rows(
        cls, rows: Any, kind: Covariances, n_components: int, unit: float, added: Any = 0.0
    ):
        """The prior for these rows, to whose variances something may be added.

        Raises
        ------
        ValueError
            If they weigh no more than one, so that they have no covariance.
        """
        matrices = order(kind) == 2
        weight, mean, scatter = pooled(rows, matrices)
        freedom = weight - unit
        if not freedom > 0.0:
            raise ValueError("prior='conjugate' needs rows with a total weight above 1")
        added = np.broadcast_to(added, mean.shape)
        covariance = scatter / freedom + (np.diag(added) if matrices else added)
        return cls(kind, n_components, unit, mean, covariance)

    def joined(self, statistics: GaussianStatistics, centers: np.ndarray) -> GaussianStatistics:
        """Statistics about the centres with what the prior adds to each component."""
        objective, counts, sums, scatter, noise = statistics
        delta = self._mean - centers
        scatter = scatter + self._kind.products(0.5 * self._shrinkage * delta, delta)
        return GaussianStatistics(
            objective,
            counts + self._shrinkage,
            sums + self._shrinkage * delta,
            scatter + self._scatter,
            noise,
        )

    def log_density(self, parameters: GaussianParameters) -> float:
        """The logarithm of the prior's density, up to a constant."""
        kind, factors = self._kind, parameters.precisions_cholesky
        whitened = kind.whiten(parameters.means - self._mean, factors)
        stack = stacked(kind, factors)
        roots = np.einsum("kii->ki", stack) if order(kind) == 2 else stack
        # A number may stand for all components, and for all features.
        log_determinants = -2.0 * np.log(roots).sum() * parameters.means.size / roots.size
        fit = (self._scatter * kind.precisions(factors)).sum()
        return -0.5 * float(
            self.counts * log_determinants + self._shrinkage * (whitened**2).sum() + fit
        )
