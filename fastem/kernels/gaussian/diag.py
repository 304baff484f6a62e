"""Covariances of every component's own, diagonal."""

import math

import numpy as np

from fastem.kernels.gaussian.linear import SQUARES
from fastem.kernels.gaussian.linear_base import LinearPass


class DiagPass(LinearPass):
    """Passes with "diag" covariances."""

    _form = SQUARES

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

    def _about_means(self, counts, sums, means):
        sums, squares = sums
        differences = sums - counts[:, np.newaxis] * means
        return differences, np.maximum(squares - means * (sums + differences), 0.0)

    def _resolved(self, counts, means, scatter):
        return counts[:, np.newaxis] * means**2 <= self._limits.square * scatter
