"""Passes by ``linear.py`` while that is exact enough, otherwise by ``differences.py``.

What the former costs is digits: a variance is the difference of a mean square from the origin and
the squared distance of the mean from there, and loses as many digits as their ratio has; so does a
log-density. As long as the means are near enough, that is no more than the last digits vary anyway.
"""

import math
from typing import NamedTuple

import numpy as np

from fastem.kernels.gaussian.base import GaussianComponents, GaussianStatistics, relative
from fastem.kernels.gaussian.differences import DifferencesPass
from fastem.kernels.gaussian.linear import (
    FEATURES_AND_NORM,
    PRODUCTS,
    SQUARES,
    LinearPacked,
    linear_pass,
)
from fastem.kernels.linalg.factors import product
from fastem.kernels.mixtures.products import pad_components, size_of_sums, unpack_sums
from fastem.kernels.runtime.arrays import read_only
from fastem.kernels.runtime.parallel import run
from fastem.kernels.vectors.machine import LANES


class Limits(NamedTuple):
    """How large squared distances of means from the origin may be, in variances.

    Parameters
    ----------
    square : float
        Along a feature.
    norm : float
        In all, per feature.
    """

    square: float
    norm: float


# For errors of at most 1e-5, most of which average out over rows, and 1e-11.
_LIMITS = {np.dtype(np.float32): Limits(400.0, 50.0), np.dtype(np.float64): Limits(1e5, 1e5)}

# Where a variance falls to less than this part of what it was, its digits are counted anew.
_SHRUNK = 1e-2

# Squares of reciprocals in this range, and of what they scale, are normal numbers in float32.
_SMALLEST, _LARGEST = 1e-12, 1e12


class LinearPass(DifferencesPass):
    """Passes that are linear in few terms as long as that is exact enough."""

    #: The terms.
    _form: int

    def __init__(self, X, sample_weight, n_components):
        super().__init__(X, sample_weight, n_components)
        self._limits = _LIMITS[X.dtype]
        self._variances = None  # the last step's

    def step(self, parameters, centers=None, hard=False, skip=True):
        if centers is not None:
            return self._exact_step(parameters, centers, hard, skip)
        with np.errstate(all="ignore"):  # whatever comes of extremes is not finite
            skip = skip and self._visitor.skips
            step = self._skipping_linear_step if skip else self._linear_step
            statistics = step(parameters, hard)
            if statistics is None or not math.isfinite(statistics.objective):
                statistics = self._exact_step(parameters, None, hard, skip)
            self._variances = self._variances_of(statistics)
        return statistics

    def from_labels(self, labels, centers):
        with np.errstate(all="ignore"):
            statistics = self._linear_from_labels(labels, centers)
        return self._exact_from_labels(labels, centers) if statistics is None else statistics

    def evaluate(self, parameters, **outputs):
        with np.errstate(all="ignore"):
            packed = self._pack_to_evaluate(parameters)
        if packed is None:
            self._exact_evaluate(parameters, **outputs)
        else:
            self._evaluate(packed, **outputs)

    def _exact_step(self, parameters, centers, hard, skip):
        return super().step(parameters, centers, hard, skip)

    def _exact_from_labels(self, labels, centers):
        return super().from_labels(labels, centers)

    def _exact_evaluate(self, parameters, **outputs):
        super().evaluate(parameters, **outputs)

    # What a subclass writes

    def _linear(self, parameters, origin):
        """The parameters packed for a step, or None where too many digits would be lost."""
        raise NotImplementedError

    def _about_means(self, counts, sums, means):
        """Sums of differences from the means, and the scatter.

        Parameters
        ----------
        counts : ndarray of shape (n_components,)
        sums : ndarray of shape (1 or 2, n_components, n_terms)
            Of terms, and of their squares if the form is ``SQUARES``.
        means : ndarray of shape (n_components, n_features)
            Relative to the origin.

        Returns
        -------
        differences : ndarray of shape (n_components, n_features)
        scatter : ndarray
        """
        raise NotImplementedError

    def _resolved(self, counts, means, scatter):
        """Where the variances that follow from the scatter have digits enough."""
        raise NotImplementedError

    def _variances_of(self, statistics):
        """These variances."""
        return (statistics.scatter.T / statistics.counts).T

    # What it may replace

    def _origin(self, parameters):
        """The mixture's mean, as the rows' dtype holds it."""
        weights = np.exp(parameters.log_weights)
        origin = product(weights[np.newaxis], parameters.means)[0] / weights.sum()
        return origin.astype(self._rows.dtype).astype(np.float64)

    def _objective(self, parameters, packed, log_density):
        """The sum of the log-densities, from that of what is linear."""
        return log_density

    def _complete(self, counts):
        """Whether enough rows take part for the statistics to be right."""
        return True

    def _from_differences(self, statistics, parameters):
        """Complete those of a skipping pass, or None."""
        return statistics

    def _pack_to_evaluate(self, parameters):
        """The parameters packed for log-densities, or None."""
        return self._linear(parameters, self._origin(parameters))

    # The passes

    def _shift(self, packed):
        return packed.shift if isinstance(packed, LinearPacked) else super()._shift(packed)

    def _linear_step(self, parameters, hard):
        origin = self._origin(parameters)
        packed = self._linear(parameters, origin)
        if packed is None:
            return None
        log_density, _, counts, sums = self._run(packed, self._n_components, hard)
        means = parameters.means - origin
        objective = self._objective(parameters, packed, log_density)
        differences, scatter = self._about_means(counts, sums, means)
        return self._with_digits(GaussianStatistics(objective, counts, differences, scatter), means)

    def _with_digits(self, statistics, means):
        """The statistics if they have digits enough, else None; means are from the origin."""
        # The parameters' variances have digits enough, hence so have new ones of their size.
        if self._variances is None:
            shrunk = np.True_
        else:
            shrunk = self._variances_of(statistics) < _SHRUNK * self._variances
        _, counts, _, scatter = statistics
        lost = shrunk & ~self._resolved(counts, means, scatter)
        return statistics if self._complete(counts) and not lost.any() else None

    def _skipping_linear_step(self, parameters, hard):
        packed = self._pack_to_evaluate(parameters)
        if packed is None:
            return None
        origin = -packed.shift[: self._rows.shape[1]].astype(np.float64)
        statistics = self._skipping_step(parameters, packed, parameters.means - origin, hard)
        return self._from_differences(statistics, parameters)

    def _linear_from_labels(self, labels, centers):
        k = self._n_components
        origin = self._origin(GaussianComponents(np.zeros(k), centers, None))
        packed = self._packed(self._form, origin, np.zeros((k, 1)), np.zeros(k))
        _, _, counts, sums = self._run(packed, k, labels=labels)
        means = centers - origin
        differences, scatter = self._about_means(counts, sums, means)
        exact = self._complete(counts) and self._resolved(counts, means, scatter).all()
        return GaussianStatistics(0.0, counts, differences, scatter) if exact else None

    def _run(self, packed, n_components, hard=False, labels=()):
        """Log-density, weight, counts and sums of a pass."""
        squares = packed.form == SQUARES
        n_terms = self._rows.shape[1] + (packed.form == FEATURES_AND_NORM)
        n_chunks = self._n_chunks
        counts = np.empty((n_chunks, n_components))
        sums = np.empty((n_chunks, size_of_sums(n_components, n_terms, squares)))
        objective = np.empty((n_chunks, 2))
        counted = np.zeros((n_chunks, 2), np.int64)
        run(
            linear_pass,
            n_chunks,
            self._chunk_rows,
            self._rows,
            self._weight,
            read_only(np.ascontiguousarray(labels, np.int32)),
            packed,
            n_components,
            hard,
            counts,
            sums,
            objective,
            counted,
        )
        if counted.any():
            self._visitor.learn_from_all(counted.sum(axis=0))
        log_density, weight = objective.sum(axis=0)
        return (
            log_density + packed.reference * weight,
            weight,
            counts.sum(axis=0),
            unpack_sums(sums.sum(axis=0), n_components, n_terms, squares),
        )

    def _products(self, origin):
        """The rows' weight and sums of products, relative to the origin."""
        d = len(origin)
        packed = self._packed(PRODUCTS, origin, np.zeros((1, 1)), np.zeros(1))
        _, weight, _, products = self._run(packed, d)
        return weight, products[0]

    def _in_range(self, scales):
        return bool((scales > _SMALLEST).all() and (scales < _LARGEST).all())

    def _packed(self, form, origin, coefficients, constants, offsets=None, whitening=None):
        dtype = self._rows.dtype
        shift = np.zeros(len(origin) + LANES, dtype)
        shift[: len(origin)] = -origin
        constants, reference = relative(constants, dtype)

        def padded(values):
            return read_only(pad_components(np.ascontiguousarray(values, dtype)))

        nothing = np.empty((0, 0))
        whitening = padded(nothing if whitening is None else whitening)
        return LinearPacked(
            form,
            read_only(shift),
            padded(coefficients),
            padded(nothing if offsets is None else offsets),
            padded(constants),
            whitening,
            read_only(np.zeros(len(whitening), dtype)),
            reference,
        )
