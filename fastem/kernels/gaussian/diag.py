"""Covariances of every component's own, diagonal."""

import math

import numpy as np

from fastem.kernels.gaussian.differences import DifferencesKernel, peaks_of_scales
from fastem.kernels.gaussian.exact import ExactPass
from fastem.kernels.gaussian.linear.driver import SQUARES
from fastem.kernels.gaussian.linear.forms import (
    LIMITS,
    LinearForm,
    in_range,
    mixture_mean,
    variances_of_components,
)
from fastem.kernels.gaussian.linear.passes import LinearPass
from fastem.kernels.gaussian.linear.terms import pack_terms
from fastem.kernels.gaussian.long_rows import LongRowsPass, are_long
from fastem.kernels.gaussian.sweep import Sweep


class DiagForm(LinearForm):
    """Linear in the features and their squares.

    Parameters
    ----------
    kernel : DifferencesKernel
    dtype : dtype
        The rows'.
    """

    terms = SQUARES

    def __init__(self, kernel, dtype):
        self._kernel = kernel
        self._dtype = dtype
        self._limits = LIMITS[dtype]

    def origin(self, components):
        return mixture_mean(components, self._dtype)

    def pack(self, components, origin):
        scales = self._kernel.scales(components)
        means = components.means - origin
        near = ((means * scales) ** 2).max() <= self._limits.square
        if not (near and in_range(scales)):
            return None
        coefficients = scales * math.sqrt(0.5)
        constants = peaks_of_scales(components.log_weights, scales)
        offsets = -means * coefficients
        return pack_terms(self._dtype, SQUARES, origin, coefficients, constants, offsets=offsets)

    def pack_to_evaluate(self, components):
        return self.pack(components, self.origin(components))

    def about_means(self, counts, sums, means):
        sums, squares = sums
        differences = sums - counts[:, np.newaxis] * means
        return differences, np.maximum(squares - means * (sums + differences), 0.0)

    def resolved(self, counts, means, scatter):
        return counts[:, np.newaxis] * means**2 <= self._limits.square * scatter

    def variances(self, statistics):
        return variances_of_components(statistics)


def _itself(scatter):
    return scatter


def diag_pass(X, sample_weight, n_components):
    """Passes with "diag" covariances; parameters as for :class:`Sweep`."""
    kernel = DifferencesKernel(as_column=False, sum_up=np.copy)
    if are_long(X):
        return LongRowsPass(X, sample_weight, n_components, kernel, _itself)
    sweep = Sweep(X, sample_weight, n_components, kernel)
    return LinearPass(sweep, DiagForm(kernel, sweep.dtype), ExactPass(sweep, kernel))
