"""Covariances of every component's own, multiples of the identity."""

import numpy as np

from fastem.kernels.gaussian.differences import DifferencesKernel, peaks_of_scales
from fastem.kernels.gaussian.exact import ExactPass
from fastem.kernels.gaussian.linear.driver import FEATURES_AND_NORM
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


class SphericalForm(LinearForm):
    """Linear in the features and their sum of squares.

    Parameters
    ----------
    kernel : DifferencesKernel
    dtype : dtype
        The rows'.
    """

    terms = FEATURES_AND_NORM

    def __init__(self, kernel, dtype):
        self._kernel = kernel
        self._dtype = dtype
        self._limits = LIMITS[dtype]

    def origin(self, components):
        return mixture_mean(components, self._dtype)

    def pack(self, components, origin):
        scales = self._kernel.scales(components)
        means = components.means - origin
        norms = ((means * scales) ** 2).sum(axis=1)
        near = norms.max() <= self._limits.norm * means.shape[1]
        if not (near and in_range(scales)):
            return None
        precisions = scales**2
        coefficients = np.hstack([means * precisions, -0.5 * precisions[:, :1]])
        constants = peaks_of_scales(components.log_weights, scales) - 0.5 * norms
        return pack_terms(self._dtype, FEATURES_AND_NORM, origin, coefficients, constants)

    def pack_to_evaluate(self, components):
        return self.pack(components, self.origin(components))

    def about_means(self, counts, sums, means):
        sums, norms = sums[0, :, :-1], sums[0, :, -1]
        differences = sums - counts[:, np.newaxis] * means
        return differences, np.maximum(norms - (means * (sums + differences)).sum(axis=1), 0.0)

    def resolved(self, counts, means, scatter):
        return counts * (means**2).sum(axis=1) <= self._limits.norm * scatter

    def variances(self, statistics):
        return variances_of_components(statistics)


def _sum_features(scatter):
    return scatter.sum(axis=1)


def spherical_pass(X, sample_weight, n_components):
    """Passes with "spherical" covariances; parameters as for :class:`Sweep`."""
    kernel = DifferencesKernel(as_column=True, sum_up=_sum_features)
    if are_long(X):
        return LongRowsPass(X, sample_weight, n_components, kernel, _sum_features)
    sweep = Sweep(X, sample_weight, n_components, kernel)
    return LinearPass(sweep, SphericalForm(kernel, sweep.dtype), ExactPass(sweep, kernel))
