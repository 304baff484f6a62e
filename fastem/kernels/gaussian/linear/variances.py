"""Passes for covariances without correlations, and the form of each component's own variances."""

from abc import ABC, abstractmethod

from fastem.kernels.gaussian.differences import DifferencesKernel, peaks_of_scales
from fastem.kernels.gaussian.exact import ExactPass
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


class Expansion(ABC):
    """How the square in a normal density's logarithm is multiplied out."""

    #: One of ``driver.py``'s forms.
    terms: int

    @abstractmethod
    def expand(self, means, scales, limits):
        """What log-densities are made of, or None where too many digits would be lost.

        Parameters
        ----------
        means, scales : ndarray of shape (n_components, n_features)
            Relative to the origin; reciprocals of the standard deviations.
        limits : Limits

        Returns
        -------
        coefficients : ndarray of shape (n_components, n_terms)
        offsets : None or ndarray of shape (n_components, n_terms)
        fall : float or ndarray of shape (n_components,)
            By how much log-densities where all terms are zero are less than at the means.
        """

    @abstractmethod
    def about_means(self, counts, sums, means):
        """As ``LinearForm.about_means``."""

    @abstractmethod
    def resolved(self, counts, means, scatter, limits):
        """As ``LinearForm.resolved``."""


class VarianceForm(LinearForm):
    """The form of variances of each component's own.

    Parameters
    ----------
    expansion : Expansion
    kernel : DifferencesKernel
    dtype : dtype
        The rows'.
    """

    def __init__(self, expansion: Expansion, kernel: DifferencesKernel, dtype):
        self.terms = expansion.terms
        self._expansion = expansion
        self._kernel = kernel
        self._dtype = dtype
        self._limits = LIMITS[dtype]

    def origin(self, components):
        return mixture_mean(components, self._dtype)

    def pack(self, components, origin):
        scales = self._kernel.scales(components)
        expanded = self._expansion.expand(components.means - origin, scales, self._limits)
        if expanded is None or not in_range(scales):
            return None
        coefficients, offsets, fall = expanded
        constants = peaks_of_scales(components.log_weights, scales) - fall
        return pack_terms(self._dtype, self.terms, origin, coefficients, constants, offsets=offsets)

    def pack_to_evaluate(self, components):
        return self.pack(components, self.origin(components))

    def about_means(self, counts, sums, means):
        return self._expansion.about_means(counts, sums, means)

    def resolved(self, counts, means, scatter):
        return self._expansion.resolved(counts, means, scatter, self._limits)

    def variances(self, statistics):
        return variances_of_components(statistics)


def variances_pass(X, sample_weight, n_components, kernel, form, steps=None):
    """Passes for covariances without correlations.

    Parameters
    ----------
    X, sample_weight, n_components
        As for :class:`Sweep`.
    kernel : DifferencesKernel
    form : callable
        ``form(sweep)``: the :class:`LinearForm`.
    steps : None or callable
        As :class:`LinearPass` takes it.
    """
    if are_long(X):
        return LongRowsPass(X, sample_weight, n_components, kernel)
    sweep = Sweep(X, sample_weight, n_components, kernel)
    return LinearPass(sweep, form(sweep), ExactPass(sweep, kernel), steps)
