"""Covariances of every component's own, multiples of the identity."""

import numpy as np

from fastem.kernels.gaussian.linear import FEATURES_AND_NORM
from fastem.kernels.gaussian.linear_base import LinearPass


class SphericalPass(LinearPass):
    """Passes with "spherical" covariances."""

    _form = FEATURES_AND_NORM

    def _scales(self, precisions_cholesky):
        if np.ndim(precisions_cholesky) == 1:
            precisions_cholesky = precisions_cholesky[:, np.newaxis]
        return super()._scales(precisions_cholesky)

    def _sum_up(self, scatter):
        return scatter.sum(axis=1)

    def _linear(self, parameters, origin):
        scales = self._scales(parameters.precisions_cholesky)
        means = parameters.means - origin
        norms = ((means * scales) ** 2).sum(axis=1)
        near = norms.max() <= self._limits.norm * means.shape[1]
        if not (near and self._in_range(scales)):
            return None
        precisions = scales**2
        coefficients = np.hstack([means * precisions, -0.5 * precisions[:, :1]])
        constants = self._constants(parameters, scales) - 0.5 * norms
        return self._packed(FEATURES_AND_NORM, origin, coefficients, constants)

    def _about_means(self, counts, sums, means):
        sums, norms = sums[0, :, :-1], sums[0, :, -1]
        differences = sums - counts[:, np.newaxis] * means
        return differences, np.maximum(norms - (means * (sums + differences)).sum(axis=1), 0.0)

    def _resolved(self, counts, means, scatter):
        return counts * (means**2).sum(axis=1) <= self._limits.norm * scatter
