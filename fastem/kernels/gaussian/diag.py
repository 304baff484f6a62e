"""Covariances of every component's own, diagonal."""

import math

from fastem.kernels.gaussian.base import GaussianStatistics
from fastem.kernels.gaussian.linear import SQUARES, LinearPass, about_means


class DiagPass(LinearPass):
    """Passes with "diag" covariances."""

    def _sum_up(self, scatter):
        return scatter.copy()

    def _linear(self, parameters, origin):
        scales = self._scales(parameters.precisions_cholesky)
        means = parameters.means - origin
        near = ((means * scales) ** 2).max() <= self._limits.square
        if not (near and self._in_range(scales)):
            return None
        coefficients = scales * math.sqrt(0.5)
        constants = self._constants(parameters, scales)
        return self._packed(SQUARES, origin, coefficients, constants, -means * coefficients)

    def _from_terms(self, parameters, packed, objective, counts, sums, means):
        differences, squares = about_means(counts, *sums, means)
        return GaussianStatistics(objective, counts, differences, self._sum_up(squares))
