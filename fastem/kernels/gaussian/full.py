"""Covariances of every component's own, unrestricted."""

from typing import NamedTuple

import numpy as np

from fastem.kernels.gaussian.base import GaussianComponents, GaussianPass, relative
from fastem.kernels.gaussian.differences import peaks_of_scales
from fastem.kernels.gaussian.driver import accumulate_tiles, log_joint_tile, prepare_tile
from fastem.kernels.gaussian.exact import ExactKernel, ExactPass
from fastem.kernels.gaussian.scatter.layout import (
    places,
    scratch_size,
    totals_size,
    unpack_totals,
)
from fastem.kernels.gaussian.scatter.triangle import add_products
from fastem.kernels.gaussian.steps.breathing import breathe
from fastem.kernels.gaussian.steps.iterations import iterate
from fastem.kernels.gaussian.steps.many import FullSteps
from fastem.kernels.gaussian.sweep import Sweep, split
from fastem.kernels.gaussian.whitening import pack_triangles, packed_size, whitened_norms
from fastem.kernels.runtime.compiling import kernel, variant

# Multiplications of a pass: for up to so many, what a pass from Python takes beside them is more
# than further threads save.
_MOST_WORK = 1 << 23


class FullPacked(NamedTuple):
    """The parameters as the kernels take them, in the rows' dtype.

    ``means[0] + means[1]`` are the means; ``factors`` are the precisions' Cholesky
    factors; ``constants`` are log-densities at the means, relative to ``reference``.
    """

    means: np.ndarray
    factors: np.ndarray
    constants: np.ndarray
    reference: float


@variant(prepare_tile, of=FullPacked)
def _prepare(packed, tile, n_features, scratch):
    pass


@variant(log_joint_tile, of=FullPacked)
def _log_joint(packed, tile, n_features, scratch, components, n_listed, log_joint):
    for i in range(n_listed):
        j = components[i]
        peak = packed.constants[j]
        whitened_norms(tile, n_features, packed.means, j, packed.factors, peak, log_joint)


@variant(accumulate_tiles, of=FullPacked)
def _accumulate(
    packed, centers, component, tiles, n_features, chosen, n_chosen, shares, stride, scratch, totals
):
    add_products(
        tiles, n_features, chosen, n_chosen, centers, component, shares, stride, scratch, totals
    )


@kernel
def movement(old_means, old_factors, means, factors):
    """How Mahalanobis distances change at most: see ``Kernel.movement``.

    With P and P' the factors before and after, z' = M z + t for ``z = P^T (x - mean)``, where
    I - M^T = P^-1 (P - P') and t = P'^T (mean - mean'). The least singular value of M is at least
    1 - |I - M|.

    Parameters
    ----------
    old_means, means : float64 arrays of shape (n_components, n_features)
    old_factors, factors : float64 arrays of shape (n_components, n_features, n_features)
        Upper triangular.
    """
    n_components, n_features = means.shape
    shrink, drift = np.empty(n_components), np.empty(n_components)
    error = np.empty((n_features, n_features))
    columns = np.empty(n_features)
    moved = np.empty(n_features)
    for j in range(n_components):
        columns[:] = 0.0
        moved[:] = 0.0
        frobenius = most = 0.0
        for i in range(n_features - 1, -1, -1):
            for g in range(i, n_features):
                error[i, g] = old_factors[j, i, g] - factors[j, i, g]
            for f in range(i + 1, n_features):
                factor = old_factors[j, i, f]
                for g in range(f, n_features):
                    error[i, g] -= factor * error[f, g]
            row = 0.0
            step = old_means[j, i] - means[j, i]
            for g in range(i, n_features):
                error[i, g] /= old_factors[j, i, i]
                size = abs(error[i, g])
                row += size
                columns[g] += size
                frobenius += size * size
                moved[g] += step * factors[j, i, g]
            most = max(most, row)
        widest = square = 0.0
        for g in range(n_features):
            widest = max(widest, columns[g])
            square += moved[g] * moved[g]
        # The 2-norm is at most the Frobenius norm, and the mean of the 1-norm and infinity norm.
        shrink[j] = max(1.0 - min(np.sqrt(frobenius), np.sqrt(most * widest)), 0.0)
        drift[j] = np.sqrt(square)
    return shrink, drift


class FullKernel(ExactKernel):
    """The kernel for matrices of the components' own."""

    def work(self, n_features):
        return n_features * (n_features + 2) + 16

    def size_of_totals(self, n_components, n_features):
        return n_components * totals_size(n_features)

    def scratch_size(self, n_features, n_tiles):
        return scratch_size(n_tiles)

    def places(self, n_features):
        """Where a component's totals have what the M-step needs."""
        return places(n_features)

    def standard(self, means):
        k, d = means.shape
        return GaussianComponents(np.zeros(k), means, np.broadcast_to(np.eye(d), (k, d, d)))

    def peaks(self, components):
        scales = np.diagonal(components.precisions_cholesky, axis1=1, axis2=2)
        return peaks_of_scales(components.log_weights, scales)

    def pack(self, components, dtype):
        constants, reference = relative(self.peaks(components), dtype)
        factors = pack_triangles(components.precisions_cholesky, dtype)
        return FullPacked(split(components.means, dtype), factors, constants, reference)

    def movement(self, old, new):
        return movement(old.means, old.precisions_cholesky, new.means, new.precisions_cholesky)

    def unpack(self, totals, n_components, n_features):
        return unpack_totals(totals.reshape(n_components, -1), n_features)


class FullPass(GaussianPass):
    """Passes of which several iterations are one call, or have compiled M-steps.

    Parameters
    ----------
    sweep : Sweep
    kernel : FullKernel
    """

    def __init__(self, sweep, kernel):
        self.sweep = sweep
        self._kernel = kernel
        self._exact = ExactPass(sweep, kernel)
        self._wider = {}

    def e_step(self, components, centers=None, hard=False, skip=True):
        return self._exact.e_step(components, centers, hard, skip)

    def from_labels(self, labels, centers):
        return self._exact.from_labels(labels, centers)

    def evaluate(self, components, **outputs):
        return self._exact.evaluate(components, **outputs)

    @property
    def few(self):
        return self._few(self.sweep)

    def iterate(self, parameters, hard, rules):
        if not self.few:
            return None
        packed = self._to_pack(self.sweep)
        return iterate(
            self.sweep, packed, self._kernel.places(self.sweep.n_features), parameters, hard, rules
        )

    def advance(self, parameters, hard, rules):
        packed, where = self._to_pack(self.sweep), self._kernel.places(self.sweep.n_features)
        return FullSteps(self.sweep, parameters, hard, rules, packed, where).iterate()

    def breathe(self, parameters, counted, hard, rules):
        n_wide = len(parameters[0])
        if n_wide not in self._wider:
            rows, weight = self.sweep.rows, self.sweep.weight
            weight = weight if len(weight) else None
            self._wider[n_wide] = Sweep(rows, weight, n_wide, self._kernel)
        wide = self._wider[n_wide]
        if not self._few(wide):
            return None
        packs = self._to_pack(wide), self._to_pack(self.sweep)
        where = self._kernel.places(self.sweep.n_features)
        return breathe(wide, self.sweep, counted, packs, where, parameters, hard, rules)

    def _few(self, sweep):
        """Whether a pass isn't worth several threads."""
        # Factors are as much work as so many rows.
        n_rows, d = len(sweep.rows), sweep.n_features
        return (n_rows + d) * sweep.n_components * self._kernel.work(d) <= _MOST_WORK

    def _to_pack(self, sweep):
        """What components are packed in."""
        k, d, dtype = sweep.n_components, sweep.n_features, sweep.dtype
        triangles = np.zeros((k, packed_size(d)), dtype)
        return FullPacked(np.empty((2, k, d), dtype), triangles, np.empty(k, dtype), 0.0)


def full_pass(X, sample_weight, n_components):
    """Passes with "full" covariances; parameters as for :class:`Sweep`."""
    kernel = FullKernel()
    return FullPass(Sweep(X, sample_weight, n_components, kernel), kernel)
