"""The compiled M-step of matrices of the components' own, and what it takes to pack them."""

import math

import numpy as np

from fastem.kernels.gaussian.base import ROUNDING_OF_MEANS
from fastem.kernels.gaussian.sweep import split_into
from fastem.kernels.gaussian.whitening import pack_triangle
from fastem.kernels.runtime.compiling import inline


@inline
def estimate(totals, places, about, least_count, reg_covar, weights, means, covariances):
    """Write the most likely parameters, as ``GaussianModel.m_step`` finds them.

    Parameters
    ----------
    totals : float64 array of shape (n_components, totals_size(n_features))
        Statistics about ``about``, of shape (n_components, n_features).
    places : tuple
        Where a component's are among its totals: that of weights, and arrays of those of features
        and of their products.
    least_count, reg_covar : float
    weights, means, covariances : arrays
        Receive the parameters.
    """
    counts, singles, products = places
    n_components, n_features = means.shape
    total = 0.0
    for j in range(n_components):
        count = totals[j, counts]
        divisor = count + least_count
        weights[j] = divisor
        total += divisor
        for f in range(n_features):
            delta = (totals[j, singles[f]] - least_count * about[j, f]) / divisor
            means[j, f] = about[j, f] + delta
        for f in range(n_features):
            delta = means[j, f] - about[j, f]
            left = totals[j, singles[f]] - 0.5 * count * delta
            for g in range(f + 1):
                other = means[j, g] - about[j, g]
                moved = totals[j, products[f, g]] - left * other
                moved -= delta * (totals[j, singles[g]] - 0.5 * count * other)
                if f == g:
                    rounding = ROUNDING_OF_MEANS * means[j, f]
                    if moved <= count * rounding * rounding:
                        moved = 0.0
                    moved += reg_covar * divisor
                covariances[j, f, g] = covariances[j, g, f] = moved / divisor
    for j in range(n_components):
        weights[j] /= total


@inline
def cancellation(means, about, factors):
    """How many times what is left of a variance an estimate about ``about`` started from."""
    n_components, n_features = means.shape
    most = 0.0
    for j in range(n_components):
        for g in range(n_features):
            whitened = 0.0
            for f in range(g + 1):
                whitened += (means[j, f] - about[j, f]) * factors[j, f, g]
            most = max(most, whitened * whitened)
    return most


@inline
def repack(weights, means, factors, packed, peaks):
    """Write other components over packed ones, and return what log-densities are relative to.

    ``peaks`` is scratch for a number of each component.
    """
    n_components, n_features = means.shape
    peak = -0.5 * n_features * math.log(2 * math.pi)
    reference = -math.inf
    for j in range(n_components):
        total = np.log(weights[j]) + peak
        for f in range(n_features):
            total += np.log(factors[j, f, f])
        pack_triangle(factors, j, packed.factors)
        peaks[j] = total
        reference = max(reference, total)
    for j in range(n_components):
        packed.constants[j] = peaks[j] - reference
    split_into(means, packed.means)
    return reference


@inline
def write_centers(points, copied, parts):
    """Points as they are, and as a dtype holds them with the remainders."""
    for j in range(points.shape[0]):
        for f in range(points.shape[1]):
            copied[j, f] = points[j, f]
    split_into(points, parts)
