"""One unrestricted covariance for all components."""

from functools import cached_property

import numpy as np

from fastem.kernels.gaussian.base import GaussianPass
from fastem.kernels.gaussian.differences import DifferencesKernel, peaks_of_scales, sum_components
from fastem.kernels.gaussian.full import full_pass
from fastem.kernels.gaussian.linear.driver import FEATURES, WHITENED
from fastem.kernels.gaussian.linear.forms import mixture_mean
from fastem.kernels.gaussian.linear.passes import LinearPass
from fastem.kernels.gaussian.linear.shared import SharedForm, Total
from fastem.kernels.gaussian.linear.terms import pack_terms, sum_products
from fastem.kernels.gaussian.sweep import Kernel, Sweep
from fastem.kernels.linalg.factors import factor_inverses, product

# Above this, float32 and float64 lose too many digits when they whiten rows by one matrix.
_REACH = {np.dtype(np.float32): 200.0, np.dtype(np.float64): 1e6}


def _peaks(components):
    scales = np.diagonal(components.precisions_cholesky)
    return peaks_of_scales(components.log_weights, np.broadcast_to(scales, components.means.shape))


class TiedKernel(Kernel):
    """Totals as those of differences, of which the diagonals are not used."""

    def __init__(self):
        self._differences = DifferencesKernel(as_column=False, sum_up=sum_components)

    def work(self, n_features):
        return self._differences.work(n_features)

    def size_of_totals(self, n_components, n_features):
        return self._differences.size_of_totals(n_components, n_features)

    def scratch_size(self, n_features, n_tiles):
        return self._differences.scratch_size(n_features, n_tiles)

    def unpack(self, totals, n_components, n_features):
        return self._differences.unpack(totals, n_components, n_features)

    def peaks(self, components):
        return _peaks(components)

    def movement(self, old, new):
        factor = new.precisions_cholesky
        change = np.linalg.solve(old.precisions_cholesky, factor)
        shrink = min(np.linalg.svd(change, compute_uv=False)[-1], 1.0)
        drift = np.sqrt((((new.means - old.means) @ factor) ** 2).sum(axis=1))
        return np.full(len(drift), shrink), drift


class TiedForm(SharedForm):
    """The form of one matrix: of features, or of whitened ones where means are farther apart."""

    def measure(self, origin):
        weight, products = sum_products(self._sweep, origin)
        return Total(origin, weight, products, np.sqrt(np.diagonal(products) / weight))

    def pack(self, components, origin):
        means = components.means - origin
        spread = np.maximum(np.abs(means).max(axis=0), self.total.spread)
        factor = components.precisions_cholesky
        whitened = product(means, factor)
        coefficients = product(whitened, factor.T)
        # Bounds on what is added up for a whitened feature, and for a log-density.
        reach = (spread[:, np.newaxis] * np.abs(factor)).sum(axis=0).max()
        size = (np.abs(coefficients) * spread).sum(axis=1).max()
        norm = self._limits.norm * means.shape[1]
        if reach**2 <= self._limits.square and size <= norm:
            constants = self._constants(components, whitened)
            return pack_terms(self._dtype, FEATURES, origin, coefficients, constants)
        return self._pack_whitened(components, origin, whitened, reach)

    def pack_to_evaluate(self, components):
        factor = components.precisions_cholesky
        origin = mixture_mean(components, self._dtype)
        means = components.means - origin
        roots, definite = factor_inverses(product(factor, factor.T)[np.newaxis])
        if not definite[0]:
            return None
        deviations = np.sqrt((roots[0] ** 2).sum(axis=1))
        spread = np.abs(means).max(axis=0) + deviations
        reach = (spread[:, np.newaxis] * np.abs(factor)).sum(axis=0).max()
        return self._pack_whitened(components, origin, product(means, factor), reach)

    def between(self, means, sums):
        products = product(means.T, sums)
        return 0.5 * (products + products.T)

    def sum_of_norms(self, precisions_cholesky):
        total = self.total.scatter
        return float((precisions_cholesky * product(total, precisions_cholesky)).sum())

    def _pack_whitened(self, components, origin, whitened, reach):
        norms = (whitened**2).sum(axis=1)
        near = norms.max() <= self._limits.norm * whitened.shape[1]
        if not (near and reach <= _REACH[self._dtype]):
            return None
        halves = np.full((len(whitened), 1), -0.5)
        return pack_terms(
            self._dtype,
            WHITENED,
            origin,
            np.hstack([whitened, halves]),
            self._constants(components, whitened),
            whitening=components.precisions_cholesky.T,
        )

    def _constants(self, components, whitened):
        return _peaks(components) - 0.5 * (whitened**2).sum(axis=1)


class RepeatedPass(GaussianPass):
    """Passes with "full" covariances that are all the same; parameters as for :class:`Sweep`."""

    def __init__(self, X, sample_weight, n_components):
        self._arguments = X, sample_weight, n_components

    @cached_property
    def _full(self):  # few fits need it
        return full_pass(*self._arguments)

    def e_step(self, components, centers=None, hard=False, skip=True):
        return self._tied(self._full.e_step(self._repeated(components), centers, hard, skip))

    def from_labels(self, labels, centers):
        return self._tied(self._full.from_labels(labels, centers))

    def evaluate(self, components, **outputs):
        return self._full.evaluate(self._repeated(components), **outputs)

    def _repeated(self, components):
        factor = components.precisions_cholesky
        factors = np.broadcast_to(factor, (len(components.means), *factor.shape))
        return components._replace(precisions_cholesky=factors)

    def _tied(self, statistics):
        return statistics._replace(scatter=statistics.scatter.sum(axis=0))


def tied_pass(X, sample_weight, n_components):
    """Passes with "tied" covariances; parameters as for :class:`Sweep`."""
    sweep = Sweep(X, sample_weight, n_components, TiedKernel())
    return LinearPass(sweep, TiedForm(sweep), RepeatedPass(X, sample_weight, n_components))
