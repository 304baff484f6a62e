"""The parameters of a Gaussian mixture."""

from typing import NamedTuple

import numpy as np

from fastem.kernels.gaussian import GaussianComponents
from fastem.mixtures.gaussian.covariances import Covariances


class GaussianParameters(NamedTuple):
    """A Gaussian mixture, in float64; the shapes are those of the fitted attributes."""

    weights: np.ndarray
    means: np.ndarray
    covariances: np.ndarray
    precisions_cholesky: np.ndarray

    @classmethod
    def from_precisions(
        cls, weights, means, precisions, covariances: Covariances
    ) -> "GaussianParameters":
        """Of precisions instead of covariances."""
        factors = covariances.factor_precisions(precisions)
        return cls(weights, means, covariances.covariances(factors), factors)

    def components(self) -> GaussianComponents:
        """As the passes take them."""
        with np.errstate(divide="ignore"):  # a component without weight has no density
            log_weights = np.log(self.weights)
        return GaussianComponents(log_weights, self.means, self.precisions_cholesky)
