"""Covariances of every component's own, multiples of the identity."""

import numpy as np

from fastem.kernels.gaussian.base import GaussianStatistics
from fastem.kernels.gaussian.linear import FEATURES_AND_NORM, LinearPass


class SphericalPass(LinearPass):
    """Passes with "spherical" covariances."""

    def _scales(self, precisions_cholesky):
        one_each = np.ndim(precisions_cholesky) == 1
        return super()._scales(
            precisions_cholesky[:, np.newaxis] if one_each else precisions_cholesky
        )

    def _sum_up(self, scatter):
        return scatter.sum(axis=1)

    def _linear(self, parameters, origin):
        precisions_cholesky = np.broadcast_to(parameters.precisions_cholesky, self._n_components)
        means = parameters.means - origin
        norms = precisions_cholesky**2 * (means**2).sum(axis=1)
        near = norms.max() <= self._limits.norm * means.shape[1]
        if not (near and self._in_range(precisions_cholesky)):
            return None
        precisions = precisions_cholesky[:, np.newaxis] ** 2
        coefficients = np.hstack([means * precisions, -0.5 * precisions])
        constants = self._constants(parameters, self._scales(precisions_cholesky)) - 0.5 * norms
        return self._packed(FEATURES_AND_NORM, origin, coefficients, constants)

    def _from_terms(self, parameters, packed, objective, counts, sums, means):
        sums, norms = sums[0, :, :-1], sums[0, :, -1]
        differences = sums - counts[:, np.newaxis] * means
        traces = norms - (means * (sums + differences)).sum(axis=1)
        return GaussianStatistics(objective, counts, differences, np.maximum(traces, 0.0))
