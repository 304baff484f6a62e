"""Covariances of every component's own, multiples of the identity."""

import numpy as np

from fastem.kernels.gaussian.differences import DifferencesKernel
from fastem.kernels.gaussian.linear.driver import FEATURES_AND_NORM
from fastem.kernels.gaussian.linear.variances import Expansion, VarianceForm, variances_pass


class SphericalExpansion(Expansion):
    """Linear in the features and their sum of squares."""

    terms = FEATURES_AND_NORM

    def expand(self, means, scales, limits):
        norms = ((means * scales) ** 2).sum(axis=1)
        if not norms.max() <= limits.norm * means.shape[1]:
            return None
        precisions = scales**2
        coefficients = np.hstack([means * precisions, -0.5 * precisions[:, :1]])
        return coefficients, None, 0.5 * norms

    def about_means(self, counts, sums, means):
        sums, norms = sums[0, :, :-1], sums[0, :, -1]
        differences = sums - counts[:, np.newaxis] * means
        return differences, np.maximum(norms - (means * (sums + differences)).sum(axis=1), 0.0)

    def resolved(self, counts, means, scatter, limits):
        return counts * (means**2).sum(axis=1) <= limits.norm * scatter


def spherical_form(kernel, dtype):
    """The form for a :class:`DifferencesKernel` and the rows' dtype."""
    return VarianceForm(SphericalExpansion(), kernel, dtype)


def _sum_features(scatter):
    return scatter.sum(axis=1)


def spherical_pass(X, sample_weight, n_components):
    """Passes with "spherical" covariances; parameters as for :class:`Sweep`."""
    kernel = DifferencesKernel(as_column=True, sum_up=_sum_features)
    return variances_pass(
        X, sample_weight, n_components, kernel, lambda sweep: spherical_form(kernel, sweep.dtype)
    )
