"""Covariances of every component's own, diagonal."""

import math

import numpy as np

from fastem.kernels.gaussian.differences import DifferencesKernel
from fastem.kernels.gaussian.linear.driver import SQUARES
from fastem.kernels.gaussian.linear.steps import DiagSteps
from fastem.kernels.gaussian.linear.variances import Expansion, VarianceForm, variances_pass


class DiagExpansion(Expansion):
    """Linear in the features and their squares."""

    terms = SQUARES

    def expand(self, means, scales, limits):
        if not ((means * scales) ** 2).max() <= limits.square:
            return None
        coefficients = scales * math.sqrt(0.5)
        return coefficients, -means * coefficients, 0.0

    def about_means(self, counts, sums, means):
        sums, squares = sums
        differences = sums - counts[:, np.newaxis] * means
        return differences, np.maximum(squares - means * (sums + differences), 0.0)

    def resolved(self, counts, means, scatter, limits):
        return counts[:, np.newaxis] * means**2 <= limits.square * scatter


def diag_form(kernel, dtype):
    """The form for a :class:`DifferencesKernel` and the rows' dtype."""
    return VarianceForm(DiagExpansion(), kernel, dtype)


def diag_pass(X, sample_weight, n_components):
    """Passes with "diag" covariances; parameters as for :class:`Sweep`."""
    kernel = DifferencesKernel(as_column=False, sum_up=np.copy)
    return variances_pass(
        X,
        sample_weight,
        n_components,
        kernel,
        lambda sweep: diag_form(kernel, sweep.dtype),
        DiagSteps,
    )
