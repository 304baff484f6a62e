"""Trials to split components in two, each over the rows that it has a share in."""

import math
from typing import NamedTuple

import numpy as np

from fastem.kernels.gaussian.base import Rules
from fastem.kernels.gaussian.full import FullKernel, FullPacked
from fastem.kernels.gaussian.steps.iterations import iterate_pass
from fastem.kernels.gaussian.sweep import NO_LABELS, Sweep
from fastem.kernels.gaussian.whitening import packed_size
from fastem.kernels.mixtures.halving import POWER_ITERATIONS
from fastem.kernels.runtime.arrays import read_only
from fastem.kernels.runtime.chunks import round_up
from fastem.kernels.runtime.compiling import inline, kernel
from fastem.kernels.runtime.linking import linked
from fastem.kernels.runtime.memory import aligned_array
from fastem.kernels.runtime.parallel import next_chunk, run
from fastem.kernels.vectors.machine import TILE

_call_iterations = linked(iterate_pass)

# Multiplications that are worth a thread.
_WORK = 1 << 21


class Shared(NamedTuple):
    """The rows that each of some components has a share in, one component's after the other's.

    Parameters
    ----------
    X : ndarray of shape (n_rows, n_features), float32 or float64, read-only
    weight : ndarray of shape (n_rows,), float64, read-only
        Times the shares; positive.
    starts : ndarray of shape (n_components + 1,), int64
        Where each one's rows begin, and the end.
    """

    X: np.ndarray
    weight: np.ndarray
    starts: np.ndarray

    def n_chunks(self, work: int) -> int:
        """How many chunks of components to take, with so many multiplications for a row."""
        return max(1, min(len(self.starts) - 1, len(self.weight) * work // _WORK))


class Split(NamedTuple):
    """What components become that are split in two, in some ways to begin.

    Parameters
    ----------
    weights : ndarray of shape (n_components, n_ways, 2)
    means : ndarray of shape (n_components, n_ways, 2, n_features)
    covariances, factors : ndarray of shape (n_components, n_ways, 2, n_features, n_features)
        After the last M-step.
    objectives : ndarray of shape (n_components, n_ways)
        Sums of the rows' weighted log-densities, by the last E-step.
    counts : ndarray of shape (n_components, n_ways)
        Of rows in the smaller half; 0 if nothing has come of the split.
    """

    weights: np.ndarray
    means: np.ndarray
    covariances: np.ndarray
    factors: np.ndarray
    objectives: np.ndarray
    counts: np.ndarray


class Moments(NamedTuple):
    """Weighted moments of each component's rows.

    Parameters
    ----------
    totals : ndarray of shape (n_components,)
        Sums of weights.
    means : ndarray of shape (n_components, n_features)
    covariances : ndarray of shape (n_components, n_features, n_features)
        About these means.
    distances : ndarray of shape (n_components,)
        Weighted sums of the squared Mahalanobis distances from the components.
    directions : ndarray of shape (n_components, n_features)
        About those of greatest correlation.
    """

    totals: np.ndarray
    means: np.ndarray
    covariances: np.ndarray
    distances: np.ndarray
    directions: np.ndarray


@kernel
def count_sharing_rows(shares, counts):
    """Write how many rows each component has a share in."""
    counts[:] = 0
    for i in range(shares.shape[0]):
        for j in range(shares.shape[1]):
            counts[j] += shares[i, j] > 0


@kernel
def moments_pass(tickets, n_chunks, sample, shared, means, factors, found):
    """Write a chunk of components' rows, and their :class:`Moments`.

    Parameters
    ----------
    sample : tuple
        Rows, their weights, and the components' shares in them.
    shared : Shared
        Receives the rows; the starts are known.
    means, factors
        The components', as for :func:`share_rows`.
    found : Moments
        Receives them.
    """
    rows, sample_weight, shares = sample
    X, weight, starts = shared
    n_components, n_features = means.shape
    delta, white = aligned_array(n_features, np.float64), aligned_array(n_features, np.float64)
    while True:
        chunk = next_chunk(tickets)
        if chunk >= n_chunks:
            return
        for j in range(chunk * n_components // n_chunks, (chunk + 1) * n_components // n_chunks):
            center, covariance = found.means[j], found.covariances[j]
            place = starts[j]
            for i in range(len(rows)):
                if shares[i, j] > 0:
                    weight[place] = sample_weight[i] * shares[i, j]
                    for f in range(n_features):
                        X[place, f] = rows[i, f]
                    place += 1
            center[:] = 0.0
            total = distances = 0.0
            for i in range(starts[j], starts[j + 1]):
                total += weight[i]
                for f in range(n_features):
                    center[f] += weight[i] * X[i, f]
            for f in range(n_features):
                center[f] /= total
            covariance[:] = 0.0
            for i in range(starts[j], starts[j + 1]):
                white[:] = 0.0
                for f in range(n_features):
                    difference = X[i, f] - means[j, f]
                    for g in range(f, n_features):
                        white[g] += difference * factors[j, f, g]
                for f in range(n_features):
                    distances += weight[i] * white[f] * white[f]
                    delta[f] = X[i, f] - center[f]
                _add_square(delta, weight[i] / total, covariance)
            _mirror(covariance)
            found.totals[j] = total
            found.distances[j] = distances
            _most_correlated(covariance, delta, white, found.directions[j])


@kernel
def fourth_pass(tickets, n_chunks, shared, means, axes, found):
    """Write a chunk of components' fourth moments, as :func:`fourth_moments` returns them."""
    X, weight, starts = shared
    n_components, n_features = means.shape
    sphered = aligned_array(n_features, np.float64)
    while True:
        chunk = next_chunk(tickets)
        if chunk >= n_chunks:
            return
        for j in range(chunk * n_components // n_chunks, (chunk + 1) * n_components // n_chunks):
            moments = found[j]
            moments[:] = 0.0
            for i in range(starts[j], starts[j + 1]):
                sphered[:] = 0.0
                for f in range(n_features):
                    difference = X[i, f] - means[j, f]
                    for g in range(n_features):
                        sphered[g] += difference * axes[j, f, g]
                distance = 0.0
                for f in range(n_features):
                    distance += sphered[f] * sphered[f]
                _add_square(sphered, weight[i] * distance, moments)
            _mirror(moments)


@inline
def _most_correlated(covariance, scales, scaled, direction):
    """Write about the direction of greatest correlation; the two in between are scratch."""
    n = len(direction)
    for f in range(n):
        variance = covariance[f, f]
        scales[f] = 1.0 / math.sqrt(variance) if variance > 0.0 else 0.0
        # No direction of greatest spread is likely to be at right angles to this.
        direction[f] = math.cos(f + 1.0)
    for _ in range(POWER_ITERATIONS):
        for f in range(n):
            scaled[f] = scales[f] * direction[f]
        most = 0.0
        for f in range(n):
            total = 0.0
            for g in range(n):
                total += covariance[f, g] * scaled[g]
            direction[f] = scales[f] * total
            most = max(most, abs(direction[f]))
        if most > 0.0:
            for f in range(n):
                direction[f] /= most
    for f in range(n):
        direction[f] *= scales[f]


@inline
def _add_square(values, factor, matrix):
    """Add the lower triangle of ``factor * outer(values, values)``."""
    for f in range(len(values)):
        left = factor * values[f]
        for g in range(f + 1):
            matrix[f, g] += left * values[g]


@inline
def _mirror(matrix):
    """Write the upper triangle of a symmetric matrix."""
    for f in range(len(matrix)):
        for g in range(f):
            matrix[g, f] = matrix[f, g]


@kernel
def split_pass(
    tickets,
    n_chunks,
    shared,
    moments,
    cuts,
    sides,
    labels,
    sizes,
    size,
    places,
    rules,
    numbers,
    unlabelled,
    found,
):
    """Write what becomes of a chunk of components that are split.

    Parameters
    ----------
    shared : Shared
    moments : Moments
        Of these rows.
    cuts : float64 array of shape (n_ways, n_components, n_features)
        What to cut each component across, in each way to begin. From the second way on, the
        farthest row is on the first side.
    sides, labels : int32 array of shape (n_ways, n_rows)
        Receive the sides; the same memory, and as iterations take them.
    sizes : tuple of int
        Chunk, batch and scratch, as ``em_pass`` takes them.
    size : int
        Of a component's totals.
    places : tuple
        As ``estimate`` takes it.
    rules : Rules
        Of total weight 1 and of least counts for rows of weight 1.
    numbers
        As ``em_pass`` takes it.
    unlabelled
        As ``iterate_pass`` takes it.
    found : Split
        Twice each component for each way, written over.
    """
    X, weight, starts = shared
    n_components, n_features = moments.means.shape
    triangles = aligned_array((2, packed_size(n_features)), X.dtype)
    triangles[:] = 0
    packed = FullPacked(
        aligned_array((2, 2, n_features), X.dtype), triangles, aligned_array(2, X.dtype), 0.0
    )
    sums, objective = aligned_array((1, 2 * size), np.float64), aligned_array((1, 3), np.float64)
    history = aligned_array(rules.most, np.float64)
    while True:
        chunk = next_chunk(tickets)
        if chunk >= n_chunks:
            return
        for j in range(chunk * n_components // n_chunks, (chunk + 1) * n_components // n_chunks):
            start, stop = starts[j], starts[j + 1]
            scaled = Rules(
                rules.most,
                rules.tol,
                rules.fall,
                rules.before,
                rules.best,
                rules.hopeless,
                moments.totals[j],
                rules.least_count * moments.totals[j] / (stop - start),
                rules.reg_covar,
                rules.most_cancellation,
            )
            for way in range(len(sides)):
                found.counts[j, way] = 0.0
                mean, cut = moments.means[j], cuts[way, j]
                sign = 1.0
                if way > 0:
                    least = most = 0.0
                    for i in range(start, stop):
                        along = _along(X, i, mean, cut)
                        least, most = min(least, along), max(most, along)
                    sign = -1.0 if least + most < 0.0 else 1.0
                n_others = 0
                for i in range(start, stop):
                    sides[way, i] = sign * _along(X, i, mean, cut) <= 0.0
                    n_others += sides[way, i]
                if n_others == 0 or n_others == stop - start:
                    continue
                n_steps, reference = _call_iterations(
                    (
                        X[start:stop],
                        weight[start:stop],
                        sizes,
                        packed,
                        labels[way, start:stop],
                        unlabelled,
                        False,
                        numbers,
                        places,
                        scaled,
                        found.weights[j, way],
                        found.means[j, way],
                        found.covariances[j, way],
                        found.factors[j, way],
                        sums,
                        objective,
                        history,
                    )
                )
                if n_steps > 0:
                    found.objectives[j, way] = objective[0, 0] + reference * objective[0, 1]
                    found.counts[j, way] = min(sums[0, places[0]], sums[0, size + places[0]])


@inline
def _along(X, i, mean, cut):
    """How far a row is from the mean, in a direction."""
    along = 0.0
    for f in range(len(mean)):
        along += (X[i, f] - mean[f]) * cut[f]
    return along


def shares_of(shares: np.ndarray) -> np.ndarray:
    """How many rows each component has a share in, of shares of shape (n_rows, n_components)."""
    counts = np.empty(shares.shape[1], np.int64)
    count_sharing_rows(read_only(shares), counts)
    return counts


def share_rows(
    X: np.ndarray,
    sample_weight: np.ndarray,
    shares: np.ndarray,
    counts: np.ndarray,
    means: np.ndarray,
    factors: np.ndarray,
) -> tuple[Shared, Moments]:
    """The rows that components have a share in, and their moments.

    Parameters
    ----------
    X : ndarray of shape (n_rows, n_features), float32 or float64
    sample_weight : ndarray of shape (n_rows,), float64
    shares : ndarray of shape (n_rows, n_components), C-contiguous
    counts : ndarray of shape (n_components,), int64
        As :func:`shares_of` returns them; positive.
    means : ndarray of shape (n_components, n_features), float64
        Of the components.
    factors : ndarray of shape (n_components, n_features, n_features), float64
        Of their precisions.
    """
    k, d = means.shape
    starts = np.zeros(k + 1, np.int64)
    np.cumsum(counts, out=starts[1:])
    shared = Shared(np.empty((starts[-1], d), X.dtype), np.empty(starts[-1]), starts)
    found = Moments(
        np.empty(k), np.empty((k, d)), np.empty((k, d, d)), np.empty(k), np.empty((k, d))
    )
    run(
        moments_pass,
        shared.n_chunks(d * (d + 2)),
        (read_only(X), read_only(sample_weight), read_only(shares)),
        shared,
        np.ascontiguousarray(means),
        np.ascontiguousarray(factors),
        found,
    )
    return Shared(read_only(shared.X), read_only(shared.weight), starts), found


def fourth_moments(shared: Shared, means: np.ndarray, axes: np.ndarray) -> np.ndarray:
    """Sums of ``weight * |y|^2 * outer(y, y)`` with ``y = (x - mean) @ axes``.

    Parameters
    ----------
    shared : Shared
    means : ndarray of shape (n_components, n_features), float64
    axes : ndarray of shape (n_components, n_features, n_features), float64
    """
    found = np.empty(axes.shape)
    n_chunks = shared.n_chunks(2 * axes[0].size)
    run(fourth_pass, n_chunks, shared, means, np.ascontiguousarray(axes), found)
    return found


def split_components(
    shared: Shared,
    moments: Moments,
    cuts: np.ndarray,
    means: np.ndarray,
    covariances: np.ndarray,
    factors: np.ndarray,
    rules: Rules,
) -> Split:
    """What components become that are split in two.

    Parameters
    ----------
    shared : Shared
    moments : Moments
        Of these rows.
    cuts : ndarray of shape (n_ways, n_components, n_features)
        What to cut each component across, in each way to begin.
    means, covariances, factors : ndarray
        The components', which the first M-step of halves is about.
    rules : Rules
        Of a total weight of 1, and least counts for rows of weight 1.
    """
    (n_ways, k, d), n_rows = cuts.shape, len(shared.weight)
    kernel, sides = FullKernel(), np.empty((n_ways, n_rows), np.int32)
    sweep = Sweep(shared.X, shared.weight, 2, kernel)

    def twice(values):
        return np.repeat(np.stack([values, values], axis=1)[:, np.newaxis], n_ways, axis=1)

    found = Split(
        np.full((k, n_ways, 2), 0.5),
        twice(means),
        twice(covariances),
        twice(factors),
        np.empty((k, n_ways)),
        np.empty((k, n_ways)),
    )
    run(
        split_pass,
        shared.n_chunks(n_ways * rules.most * 2 * kernel.work(d)),
        shared,
        moments,
        cuts,
        sides,
        read_only(sides),
        (round_up(n_rows, TILE), sweep.batch, sweep.scratch_size),
        sweep.totals_size // 2,
        kernel.places(d),
        rules,
        np.arange(max(2, sweep.batch)),
        NO_LABELS,
        found,
    )
    return found
