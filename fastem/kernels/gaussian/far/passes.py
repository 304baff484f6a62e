"""Rows so far away that the squares of their distances overflow, or are rounded too much.

A row's log-density may be beyond float64, or have so many digits in common with the others that
what components differ in is rounded away. Which component has the greatest is known all the same,
and so are the responsibilities, which depend on differences only: see ``distances.py``.
"""

import math
from functools import partial

import numpy as np

from fastem.kernels.gaussian.base import (
    GaussianPass,
    GaussianStatistics,
    evaluate_anew,
    write,
)
from fastem.kernels.gaussian.differences import peaks_of_scales
from fastem.kernels.gaussian.far.distances import Distances

_AT_ONCE = 1 << 18  # values of rows worked on together


_TOO_FAR = (
    "Some rows are so far from every component that their log-densities are beyond float64's "
    "range; scale the data, or leave these rows out"
)


class FarRowsPass(GaussianPass):
    """Passes that mend what others find for rows that are too far away.

    Parameters
    ----------
    make : callable
        ``make(X, sample_weight, n_components)``: the other passes.
    covariance_type : str
    X, sample_weight, n_components
        As for ``make``.
    """

    def __init__(self, make, covariance_type, X, sample_weight, n_components):
        self._make = partial(FarRowsPass, make, covariance_type, n_components=n_components)
        self._covariance_type = covariance_type
        self._pass = make(X, sample_weight, n_components)
        self.sweep = self._pass.sweep

    def e_step(self, components, centers=None, hard=False, skip=True):
        """As ``GaussianPass.e_step``; rows that are too far for float32 are taken in float64.

        Raises
        ------
        ValueError
            If rows are so far from every component that float64 can't hold their log-densities.
        """
        statistics = self._pass.e_step(components, centers, hard, skip)
        if math.isfinite(statistics.objective) and np.isfinite(statistics.counts).all():
            return statistics
        X, weight = self.sweep.rows, self.sweep.weight
        log_density = np.empty(len(X), X.dtype)
        with np.errstate(all="ignore"):
            self._pass.evaluate(components, log_density=log_density)
        far = ~np.isfinite(log_density)
        known = all(np.isfinite(values).all() for values in components[1:3])
        if not (known and far.any() and np.isfinite(X[far]).all()):
            return statistics
        counted = far & (weight > 0) if len(weight) else far
        if X.dtype == np.float64 and counted.any():
            raise ValueError(_TOO_FAR)
        parts = []
        for chosen, dtype in ((~far, X.dtype), (counted, np.float64)):
            if chosen.any():
                own = weight[chosen] if len(weight) else None
                part = self._make(X[chosen].astype(dtype), own)
                parts.append(part.e_step(components, centers, hard, skip=False))
        if not parts:  # all are far, and none has a weight
            return GaussianStatistics(*(np.zeros(np.shape(values))[()] for values in statistics))
        return GaussianStatistics(*(sum(values) for values in zip(*parts, strict=True)))

    @property
    def few(self):
        return self._pass.few

    def iterate(self, parameters, hard, rules):
        return self._pass.iterate(parameters, hard, rules)

    def advance(self, parameters, hard, rules):
        return self._pass.advance(parameters, hard, rules)

    def breathe(self, parameters, counted, hard, rules):
        return self._pass.breathe(parameters, counted, hard, rules)

    def from_labels(self, labels, centers):
        return self._pass.from_labels(labels, centers)

    def evaluate(self, components, **outputs):
        far = self._pass.evaluate(components, **outputs)
        if far.any():
            with np.errstate(all="ignore"):
                self._evaluate_far(components, np.flatnonzero(far), outputs)
        return far

    def _evaluate_far(self, components, far, outputs):
        """Write the outputs of the finite rows among those anew."""
        X, means = self.sweep.rows, components.means
        factors, peaks = _widened(components, self._covariance_type)
        if not (np.isfinite(means).all() and np.isfinite(factors).all()):
            return
        for some in np.array_split(far, 1 + len(far) * X.shape[1] // _AT_ONCE):
            some = some[np.isfinite(X[some]).all(axis=1)]
            rows = X[some].astype(np.float64)
            if X.dtype == np.float64:
                found = _evaluate(rows, peaks, means, factors, components.log_noise)
                write(found, some, outputs)
            elif len(some):  # what is too far for float32 seldom is for float64
                evaluate_anew(self._make(rows, None), components, some, outputs)


def _widened(components, covariance_type):
    """The factors of each component, matrices or diagonals, and the log-densities at the means."""
    k, d = components.means.shape
    factors = components.precisions_cholesky
    if covariance_type in ("full", "tied"):
        factors = np.broadcast_to(factors, (k, d, d))
        scales = np.diagonal(factors, axis1=1, axis2=2)
    else:
        factors = factors[:, np.newaxis] if covariance_type == "spherical" else factors
        factors = scales = np.broadcast_to(factors, (k, d))
    return factors, peaks_of_scales(components.log_weights, scales)


def _evaluate(X, peaks, means, factors, log_noise):
    """All outputs for rows in float64; noise, if there is any, has a column of its own."""
    distances = Distances(peaks, means, factors)
    logarithms = distances.log_distances(X)
    log_joint = peaks - 0.5 * np.exp(2.0 * logarithms)
    labels, behind = distances.compare(X, logarithms)
    shares = np.exp(behind)
    total = shares.sum(axis=1, keepdims=True)
    greatest = log_joint[np.arange(len(X)), labels]
    shares /= np.where(total > 0, total, 1.0)
    log_density = greatest + np.log(total[:, 0])
    if log_noise > -math.inf:
        labels = np.where(greatest < log_noise, -1, labels)
        among = log_density
        log_density = np.logaddexp(among, log_noise)
        shares *= np.exp(among - log_density)[:, np.newaxis]
        shares = np.column_stack([shares, np.exp(log_noise - log_density)])
        log_joint = np.column_stack([log_joint, np.full(len(X), log_noise)])
    return {
        "log_joint": log_joint,
        "labels": labels,
        "responsibilities": shares,
        "log_density": log_density,
    }
