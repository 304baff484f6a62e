"""One diagonal covariance for all components, or one multiple of the identity."""

import numpy as np

from fastem.kernels.gaussian.diag import diag_form, diag_pass
from fastem.kernels.gaussian.differences import DifferencesKernel, peaks_of_scales, sum_components
from fastem.kernels.gaussian.linear.driver import FEATURES
from fastem.kernels.gaussian.linear.forms import in_range
from fastem.kernels.gaussian.linear.shared import SharedForm, Total
from fastem.kernels.gaussian.linear.terms import pack_terms
from fastem.kernels.gaussian.linear.variances import variances_pass
from fastem.kernels.gaussian.spherical import spherical_form


class SharedVarianceForm(SharedForm):
    """The form of one covariance without correlations.

    Parameters
    ----------
    sweep : Sweep
    kernel : DifferencesKernel
    whole : LinearForm
        For log-densities with all that they have in common.
    shaped : callable
        Brings a diagonal into the type's shape.
    """

    def __init__(self, sweep, kernel, whole, shaped):
        super().__init__(sweep)
        self._kernel = kernel
        self._whole = whole
        self._shaped = shaped

    def measure(self, origin):
        rows, weight = self._sweep.rows, self._sweep.weight
        one = diag_pass(rows, weight if len(weight) else None, 1)
        whole = one.from_labels(np.zeros(len(rows), np.int32), origin[np.newaxis])
        weight, squares = whole.counts[0], whole.scatter[0]
        return Total(origin, weight, self._shaped(squares), np.sqrt(squares / weight))

    def pack(self, components, origin):
        scales = self._kernel.scales(components)
        means = components.means - origin
        reach = np.maximum(np.abs(means).max(axis=0), self.total.spread)
        near = ((reach * scales[0]) ** 2).max() <= self._limits.square
        if not (near and in_range(scales)):
            return None
        peaks = peaks_of_scales(components.log_weights, scales)
        constants = peaks - 0.5 * ((means * scales) ** 2).sum(axis=1)
        return pack_terms(self._dtype, FEATURES, origin, means * scales**2, constants)

    def pack_to_evaluate(self, components):
        return self._whole.pack_to_evaluate(components)

    def between(self, means, sums):
        return self._shaped((means * sums).sum(axis=0))

    def sum_of_norms(self, precisions_cholesky):
        return float((self.total.scatter * precisions_cholesky**2).sum())


def _itself(diagonal):
    return diagonal


def _make(X, sample_weight, n_components, kernel, whole, shaped):
    def form(sweep):
        return SharedVarianceForm(sweep, kernel, whole(kernel, sweep.dtype), shaped)

    return variances_pass(X, sample_weight, n_components, kernel, form)


def tied_diag_pass(X, sample_weight, n_components):
    """Passes with "tied_diag" covariances; parameters as for :class:`Sweep`."""
    kernel = DifferencesKernel(as_column=False, sum_up=sum_components)
    return _make(X, sample_weight, n_components, kernel, diag_form, _itself)


def tied_spherical_pass(X, sample_weight, n_components):
    """Passes with "tied_spherical" covariances; parameters as for :class:`Sweep`."""
    kernel = DifferencesKernel(as_column=True, sum_up=np.sum)
    return _make(X, sample_weight, n_components, kernel, spherical_form, np.sum)
