"""The coordinates in which a Gaussian mixture's EM steps are extrapolated."""

import numpy as np

from fastem.mixtures.coordinates import log_ratios, weights_at
from fastem.mixtures.gaussian.covariances import CollapsedError, Covariances
from fastem.mixtures.gaussian.parameters import GaussianParameters


class GaussianCoordinates:
    """Coordinates that don't depend on the data's location and scale.

    Logarithms of the weights, means in standard deviations, logarithms of standard deviations.

    Parameters
    ----------
    covariances : Covariances
    reg_covar : float
    """

    def __init__(self, covariances: Covariances, reg_covar: float):
        self.covariances = covariances
        self.reg_covar = reg_covar

    def of(self, parameters, base):
        log_weights = log_ratios(parameters.shares, base.shares)
        means = self.covariances.whiten(parameters.means - base.means, base.precisions_cholesky)
        try:
            spreads = self.covariances.relative(parameters.covariances, base.precisions_cholesky)
        except np.linalg.LinAlgError:  # all but singular
            return None
        return np.concatenate([log_weights, means.ravel(), np.ravel(spreads)])

    def at(self, coordinates, base):
        sizes = base.shares.size, base.means.size
        log_weights, means, spreads = np.split(coordinates, np.cumsum(sizes))
        factors = base.precisions_cholesky
        try:
            with np.errstate(over="raise", invalid="raise"):
                weights, noise = base.divided(weights_at(log_weights, base.shares))
                means = self.covariances.unwhiten(means.reshape(base.means.shape), factors)
                spreads = spreads.reshape(np.shape(factors))
                covariances = self.covariances.absolute(spreads, factors)
                # A step never ends where there is less variance than this.
                self.covariances.factor(
                    self.covariances.regularized(np.array(covariances), -0.99 * self.reg_covar)
                )
                covariances = self.covariances.constrained(covariances, weights, base.covariances)
                factors = self.covariances.factor(covariances)
        except (FloatingPointError, CollapsedError):
            return None
        return GaussianParameters(weights, base.means + means, covariances, factors, noise)
