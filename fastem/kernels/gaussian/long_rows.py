"""Passes over few rows of very many features, block of features by block.

A tile is as wide as the rows, so that of fewer rows than a few tiles have it would take more memory
than these. Without correlations, log-densities are sums over features and every feature has its own
statistics: each block of features is a pass of its own.
"""

import numpy as np

from fastem.kernels.gaussian.base import (
    LOWEST,
    GaussianComponents,
    GaussianPass,
    GaussianStatistics,
)
from fastem.kernels.gaussian.differences import DifferencesKernel
from fastem.kernels.gaussian.exact import ExactPass
from fastem.kernels.gaussian.sweep import Sweep
from fastem.kernels.mixtures.responsibilities import normalize_responsibilities
from fastem.kernels.vectors.machine import TILE

# Rows are long from so many features on, which are taken so many at a time.
_FEATURES, _BLOCK_FEATURES = 1 << 13, 1 << 11
_MOST_ROWS = 4 * TILE


def are_long(X):
    """Whether rows are long and few."""
    return X.shape[1] >= _FEATURES and len(X) <= _MOST_ROWS


class LongRowsPass(GaussianPass):
    """Passes for covariances without correlations.

    Parameters
    ----------
    X : ndarray of shape (n_rows, n_features), float32 or float64, C-contiguous
    sample_weight : None or ndarray of shape (n_rows,), float64
    n_components : int
    kernel : DifferencesKernel
        The covariance type's.
    """

    def __init__(self, X, sample_weight, n_components, kernel):
        self.sweep = Sweep(X, sample_weight, n_components, kernel)
        self._X = X
        self._weight = np.ones(len(X)) if sample_weight is None else sample_weight
        self._n_components = n_components
        self._kernel = kernel

    def e_step(self, components, centers=None, hard=False, skip=True):
        log_joint = self._log_joint(components)
        if hard:
            log_density = log_joint.max(axis=1)
            columns = np.arange(log_joint.shape[1])
            shares = (log_joint.argmax(axis=1)[:, np.newaxis] == columns) * 1.0
        else:
            log_density, shares = normalize_responsibilities(log_joint)
        centers = components.means if centers is None else centers
        counted = self._weight > 0  # no weight, no matter even if impossible
        objective = float((self._weight[counted] * log_density[counted]).sum())
        return self._statistics(objective, shares * self._weight[:, np.newaxis], centers)

    def from_labels(self, labels, centers):
        shares = (np.asarray(labels)[:, np.newaxis] == np.arange(self._n_components)) * 1.0
        return self._statistics(0.0, shares * self._weight[:, np.newaxis], centers)

    def evaluate(
        self, components, log_density=None, labels=None, responsibilities=None, log_joint=None
    ):
        joint = self._log_joint(components)
        if log_joint is not None:
            log_joint[:] = joint
        if labels is not None:
            labels[:] = joint.argmax(axis=1)
            labels[labels == self._n_components] = -1
        if log_density is not None or responsibilities is not None:
            densities, shares = normalize_responsibilities(joint)
            if log_density is not None:
                log_density[:] = densities
            if responsibilities is not None:
                responsibilities[:] = shares
        greatest = joint.max(axis=1)
        return ~((greatest >= LOWEST[self.sweep.dtype]) & (greatest < np.inf))

    def _blocks(self):
        """Slices of the features, and these of all rows."""
        for start in range(0, self._X.shape[1], _BLOCK_FEATURES):
            block = slice(start, start + _BLOCK_FEATURES)
            yield block, np.ascontiguousarray(self._X[:, block])

    def _log_joint(self, components):
        """Logarithms of weight times density, in float64, the noise's last if there is any."""
        scales = self._kernel.scales(components)
        kernel = DifferencesKernel(as_column=False, sum_up=np.copy)
        total = np.tile(components.log_weights, (len(self._X), 1))
        for block, rows in self._blocks():
            own = np.empty(total.shape, rows.dtype)
            means, factors = components.means[:, block], scales[:, block]
            part = GaussianComponents(np.zeros(len(means)), means, factors)
            sweep = Sweep(rows, None, self._n_components, kernel)
            ExactPass(sweep, kernel).evaluate(part, log_joint=own)
            total += own
        if components.noisy:
            total = np.column_stack([total, np.full(len(total), components.log_noise)])
        return total

    def _statistics(self, objective, shares, centers):
        sums, scatter = np.empty(centers.shape), np.empty(centers.shape)
        kernel = DifferencesKernel(as_column=False, sum_up=np.copy)
        labels = np.zeros(len(self._X), np.int32)
        for block, rows in self._blocks():
            for j, weight in enumerate(np.ascontiguousarray(shares[:, : len(centers)].T)):
                one = ExactPass(Sweep(rows, weight, 1, kernel), kernel)
                _, _, sums[j, block], scatter[j, block], _ = one.from_labels(
                    labels, centers[j : j + 1, block]
                )
        counts, noise = np.split(shares.sum(axis=0), [len(centers)])
        scatter = self._kernel.sum_up(scatter)
        return GaussianStatistics(objective, counts, sums, scatter, float(noise.sum()))
