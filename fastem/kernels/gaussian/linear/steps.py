"""Iterations over many rows with variances of the components' own."""

import math

import numpy as np

from fastem.kernels.gaussian.base import (
    ROUNDING_OF_MEANS,
    GaussianComponents,
    GaussianStatistics,
)
from fastem.kernels.gaussian.linear.driver import SQUARES, LinearPacked, linear_pass
from fastem.kernels.gaussian.linear.forms import (
    LARGEST,
    LIMITS,
    SHRUNK,
    SMALLEST,
    variances_of_components,
)
from fastem.kernels.gaussian.sweep import NO_LABELS, Steps, add_up
from fastem.kernels.mixtures.products import pad_components, size_of_sums, unpack_sums
from fastem.kernels.runtime.arrays import read_only
from fastem.kernels.runtime.compiling import kernel
from fastem.kernels.runtime.memory import aligned_array
from fastem.kernels.runtime.parallel import run
from fastem.kernels.vectors.machine import LANES


@kernel
def pack(weights, means, scales, limit, shift, coefficients, offsets, constants, about):
    """Write what log-densities are made of, and the means from the mixture's mean, the origin.

    Parameters
    ----------
    weights, means, scales : float64 arrays
        Of the components; scales are reciprocals of standard deviations.
    limit : float
        How large squared distances of means from the origin may be, in variances.
    shift, coefficients, offsets, constants : arrays of the rows' dtype
        Receive what :class:`LinearPacked` has.
    about : float64 array of shape (n_components, n_features)
        Receives the means.

    Returns
    -------
    reference : float
        What log-densities are relative to; NaN where too many digits would be lost.
    """
    n_components, n_features = means.shape
    total = 0.0
    for j in range(n_components):
        total += weights[j]
    for f in range(n_features):
        mean = 0.0
        for j in range(n_components):
            mean += weights[j] * means[j, f]
        shift[f] = -mean / total
    within = True
    reference = -math.inf
    peak = -0.5 * n_features * math.log(2 * math.pi)
    peaks = aligned_array(n_components, np.float64)
    for j in range(n_components):
        peaks[j] = np.log(weights[j]) + peak
        for f in range(n_features):
            scale = scales[j, f]
            peaks[j] += np.log(scale)
            mean = means[j, f] + np.float64(shift[f])
            distance = mean * scale
            within &= distance * distance <= limit and SMALLEST < scale < LARGEST
            about[j, f] = mean
            coefficient = scale * math.sqrt(0.5)
            coefficients[j, f] = coefficient
            offsets[j, f] = -mean * coefficient
        reference = max(reference, peaks[j])
    for j in range(n_components):
        constants[j] = peaks[j] - reference
    return reference if within else math.nan


@kernel
def resolve(counts, sums, objective, places, about, limit, last, total, differences, scatter):
    """Sum chunks up, and find statistics about the means; whether they have digits enough.

    Parameters
    ----------
    counts, sums, objective : float64 arrays
        Of each chunk, as ``linear_pass`` writes them; the first chunk's receive the sums.
    places : int64 array of shape (2, n_components, n_features)
        Where among the sums those of features and of their squares are.
    about : float64 array of shape (n_components, n_features)
        The means from the origin.
    limit : float
        As for :func:`pack`.
    last : float64 array of the same shape
        The variances that followed from the last step's statistics; receives this one's.
    total, differences, scatter : float64 arrays
        Receive the statistics.
    """
    add_up(counts)
    add_up(sums)
    add_up(objective)
    exact = True
    n_components, n_features = about.shape
    for j in range(n_components):
        count = total[j] = counts[0, j]
        for f in range(n_features):
            mean, value = about[j, f], sums[0, places[0, j, f]]
            difference = value - count * mean
            square = max(sums[0, places[1, j, f]] - mean * (value + difference), 0.0)
            differences[j, f] = difference
            scatter[j, f] = square
            variance = square / count
            shrunk = variance < SHRUNK * last[j, f]
            exact &= not shrunk or count * mean * mean <= limit * square
            last[j, f] = variance
    return exact


@kernel
def maximize(
    counts,
    differences,
    scatter,
    centers,
    least_count,
    reg_covar,
    weights,
    means,
    covariances,
    factors,
):
    """Write the most likely parameters, as ``GaussianModel.m_step`` finds them.

    Parameters
    ----------
    counts, differences, scatter : float64 arrays
        Statistics about the centres.
    centers : float64 array of shape (n_components, n_features)
    least_count, reg_covar : float
    weights, means, covariances, factors : arrays
        Receive the parameters.

    Returns
    -------
    cancellation : float
        How many times what is left of a variance it started from; infinite if one has collapsed.
    """
    n_components, n_features = means.shape
    total = most = 0.0
    for j in range(n_components):
        count = counts[j]
        divisor = count + least_count
        weights[j] = divisor
        total += divisor
        for f in range(n_features):
            delta = (differences[j, f] - least_count * centers[j, f]) / divisor
            mean = centers[j, f] + delta
            delta = mean - centers[j, f]
            moved = scatter[j, f] - 2.0 * (differences[j, f] - 0.5 * count * delta) * delta
            rounding = ROUNDING_OF_MEANS * mean
            if moved <= count * rounding * rounding:
                moved = 0.0
            variance = moved / divisor + reg_covar
            means[j, f] = mean
            covariances[j, f] = variance
            factors[j, f] = 1.0 / math.sqrt(variance)
            whitened = delta * factors[j, f]
            if not (variance > 0.0 and math.isfinite(variance) and math.isfinite(mean)):
                most = math.inf
            most = max(most, whitened * whitened)
    for j in range(n_components):
        weights[j] /= total
    return most


class DiagSteps(Steps):
    """Iterations with variances of the components' own.

    Parameters
    ----------
    sweep, parameters, hard, rules
        As for :class:`Steps`.
    exact : GaussianPass
        What takes over where the linear form would lose too many digits.
    variances : None or ndarray of shape (n_components, n_features)
        That followed from the statistics of the last E-step before, if there was one.

    Attributes
    ----------
    variances : None or ndarray
        Those that followed from the last E-step; None if it led to no parameters.
    """

    def __init__(self, sweep, parameters, hard, rules, exact, variances):
        super().__init__(sweep, parameters, hard, rules)
        k, d, dtype = sweep.n_components, sweep.n_features, sweep.dtype
        self._exact = exact
        self.variances = np.full((k, d), np.inf) if variances is None else variances.copy()
        self._limit = LIMITS[dtype].square
        terms = pad_components(np.zeros((k, d), dtype))
        self._packing = (
            np.zeros(d + LANES, dtype),
            terms,
            terms.copy(),
            np.zeros(len(terms), dtype),
        )
        shift, coefficients, offsets, constants = map(read_only, self._packing)
        none, zeros = np.empty((0, 0), dtype), np.empty(0, dtype)
        self._packed = LinearPacked(
            SQUARES,
            shift,
            coefficients,
            offsets,
            constants,
            read_only(none),
            read_only(zeros),
            0.0,
        )
        self._noise = dtype.type(-np.inf)
        self._about = np.empty((k, d))
        self._counts = np.empty((sweep.n_chunks, k))
        size = size_of_sums(k, d, True)
        self._sums = np.empty((sweep.n_chunks, size))
        self._places = np.ascontiguousarray(unpack_sums(np.arange(size), k, d, True))
        self._found = GaussianStatistics(0.0, np.empty(k), np.empty((k, d)), np.empty((k, d)))

    def take(self):
        found = self._e_step()
        if not (math.isfinite(found.objective) and np.isfinite(found.counts).all()):
            self.variances = None
            return None
        cancellation = self._maximize(found, self.parameters[1])
        if not cancellation < self.rules.most_cancellation:  # about the new means there is none
            about = self.updated[1].copy()
            found = self._exact_step(about)
            cancellation = self._maximize(found, about)
        self._last = found
        if cancellation < math.inf:
            return found.objective
        self.variances = None
        return None

    def statistics(self):
        return self._last

    def _maximize(self, found, about):
        _, counts, differences, scatter, _ = found
        rules = self.rules
        return maximize(
            counts, differences, scatter, about, rules.least_count, rules.reg_covar, *self.updated
        )

    def _e_step(self):
        """Statistics about the means."""
        weights, means, _, factors = self.parameters
        reference = pack(weights, means, factors, self._limit, *self._packing, self._about)
        if not math.isnan(reference):
            objective, resolved = self._pass(reference)
            if resolved and math.isfinite(objective):
                return self._found._replace(objective=objective)
        found = self._exact_step()
        with np.errstate(all="ignore"):
            self.variances = variances_of_components(found)
        return found

    def _pass(self, reference):
        sweep = self.sweep
        run(
            linear_pass,
            sweep.n_chunks,
            sweep.chunk_rows,
            sweep.rows,
            sweep.weight,
            NO_LABELS,
            self._packed,
            sweep.n_components,
            self.hard,
            self._noise,
            self._counts,
            self._sums,
            self.objective,
            self.counted,
        )
        self.learn()
        resolved = resolve(
            self._counts,
            self._sums,
            self.objective,
            self._places,
            self._about,
            self._limit,
            self.variances,
            *self._found[1:4],
        )
        log_density, weight, _ = self.objective[0].tolist()
        return log_density + reference * weight, resolved

    def _exact_step(self, centers=None):
        weights, means, _, factors = self.parameters
        with np.errstate(all="ignore"):
            components = GaussianComponents(np.log(weights), means, factors)
            return self._exact.e_step(components, centers, self.hard, skip=False)
