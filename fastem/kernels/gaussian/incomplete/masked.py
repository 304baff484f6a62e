"""Rows with gaps under components whose features are independent: gaps count for nothing.

Where a row has nothing, its value is zero and so is what it is multiplied with, so that rows of any
patterns are worked on side by side.
"""

import math

import numpy as np

from fastem.kernels.gaussian.incomplete.solving import WIDTH
from fastem.kernels.gaussian.incomplete.sums import CompletedSums
from fastem.kernels.mixtures.lanes import load_weights, write_rows
from fastem.kernels.mixtures.responsibilities import (
    DENSITY,
    choose_tile,
    last_likelihood,
    log_densities,
    log_likelihood,
    normalize_tile,
)
from fastem.kernels.runtime.arrays import as_weights, wanted
from fastem.kernels.runtime.chunks import ceil_div, row_chunks, summing_chunks
from fastem.kernels.runtime.compiling import inline, kernel
from fastem.kernels.runtime.parallel import next_chunk, run
from fastem.kernels.vectors.machine import DOUBLES, LANES, TILE
from fastem.kernels.vectors.tiles import aligned_empty_like, load_tile
from fastem.kernels.vectors.vector import broadcast, load, store, sum_of_lanes, where


@inline
def _mark_seen(tile, n_features, seen):
    zero, one = broadcast(0.0, WIDTH), broadcast(1.0, WIDTH)
    for at in range(0, n_features * TILE, WIDTH):
        value = load(tile, at, WIDTH)
        there = value <= value
        store(where(there, value, zero), tile, at)
        store(where(there, one, zero), seen, at)


@inline
def _log_joint(tile, seen, n_features, means, scales, peaks, log_weights, log_joint):
    """``scales`` divide differences by sqrt(2) sigma; ``peaks`` are an observed feature's."""
    for k in range(len(log_weights)):
        for lane in range(0, TILE, WIDTH):
            total = broadcast(log_weights[k], WIDTH)
            for f in range(n_features):
                own = load(seen, f * TILE + lane, WIDTH)
                z = load(tile, f * TILE + lane, WIDTH) - own * broadcast(means[k, f], WIDTH)
                z = z * broadcast(scales[k, f], WIDTH)
                total = total + own * broadcast(peaks[k, f], WIDTH)
                total = total - z * z
            store(total, log_joint, k * TILE + lane)


@inline
def _accumulate(tile, seen, n_features, mean, shares, start, totals, first):
    """Add the weight of what was observed, differences and squares; lanes are added up later."""
    at = first
    for f in range(n_features):
        center = broadcast(mean[f], DOUBLES)
        weight = load(totals, at, DOUBLES)
        difference = load(totals, at + DOUBLES, DOUBLES)
        square = load(totals, at + 2 * DOUBLES, DOUBLES)
        for lane in range(0, TILE, DOUBLES):
            share = load(shares, start + lane, DOUBLES)
            own = load(seen, f * TILE + lane, DOUBLES)
            value = load(tile, f * TILE + lane, DOUBLES) - own * center
            product = share * value
            weight = weight + share * own
            difference = difference + product
            square = square + product * value
        store(weight, totals, at)
        store(difference, totals, at + DOUBLES)
        store(square, totals, at + 2 * DOUBLES)
        at += 3 * DOUBLES
    count = load(totals, at, DOUBLES)
    for lane in range(0, TILE, DOUBLES):
        count = count + load(shares, start + lane, DOUBLES)
    store(count, totals, at)


@kernel
def masked_pass(
    tickets,
    n_chunks,
    chunk_rows,
    X,
    sample_weight,
    log_weights,
    means,
    scales,
    peaks,
    hard,
    totals,
    objective,
    outputs,
):
    """Sums of each chunk, unless ``totals`` is empty, and the outputs that aren't.

    ``objective[c]`` receives the weighted sum of the chunk's log-densities.
    """
    log_density, labels, responsibilities, log_joint = outputs
    n_rows, n_features = X.shape
    n_components = len(means)
    one = X.dtype.type(1)
    shift = np.zeros(n_features + LANES, X.dtype)
    tile = aligned_empty_like(n_features * TILE, means)
    seen = aligned_empty_like(n_features * TILE, means)
    shares = aligned_empty_like(n_components * TILE, means)
    weights = aligned_empty_like(TILE, means)
    density = aligned_empty_like(DENSITY, means)
    density[:] = 1.0
    size = 3 * n_features + 1
    wide = aligned_empty_like(n_components * size * DOUBLES if len(totals) else 0, means)
    while True:
        chunk = next_chunk(tickets)
        if chunk >= n_chunks:
            return
        wide[:] = 0.0
        total_density = 0.0
        stop = min((chunk + 1) * chunk_rows, n_rows)
        for first in range(chunk * chunk_rows, stop, TILE):
            n_lanes = min(TILE, stop - first)
            load_tile(X, first, one, shift, tile)
            load_weights(sample_weight, first, stop, weights)
            _mark_seen(tile, n_features, seen)
            _log_joint(tile, seen, n_features, means, scales, peaks, log_weights, shares)
            if len(log_joint):
                write_rows(shares, n_components, first, n_lanes, log_joint)
            if len(labels):
                choose_tile(shares, n_components, density)
                for lane in range(n_lanes):
                    labels[first + lane] = np.intp(density[lane])
            normalize_tile(shares, n_components, weights, hard, density)
            ones = len(sample_weight) == 0 and n_lanes == TILE
            total_density += log_likelihood(weights, density, ones)
            if len(log_density):
                log_densities(density)
                for lane in range(n_lanes):
                    log_density[first + lane] = density[lane]
            if len(responsibilities):
                write_rows(shares, n_components, first, n_lanes, responsibilities)
            if len(totals):
                for k in range(n_components):
                    at = k * size * DOUBLES
                    _accumulate(tile, seen, n_features, means[k], shares, k * TILE, wide, at)
        if len(totals):
            for i in range(n_components * size):
                totals[chunk, i] = sum_of_lanes(load(wide, i * DOUBLES, DOUBLES))
        objective[chunk] = total_density + last_likelihood(density)


class MaskedPass:
    """Passes over rows of any pattern, without errors.

    Parameters
    ----------
    X : ndarray of shape (n_rows, n_features), float32 or float64, C-contiguous, read-only
    weight : ndarray of float64
        The rows' weights; empty for ones.
    n_components : int
    """

    def __init__(self, X, weight, n_components):
        self._X, self._weight = X, weight
        self._n_components = n_components
        self._work = n_components * (12 * X.shape[1] + 16)

    def sums(self, log_weights, means, variances, hard):
        """The rows' CompletedSums, with scatter of single features; parameters are float64."""
        n_features = means.shape[1]
        size = self._n_components * (3 * n_features + 1)
        chunk_rows, n_chunks = summing_chunks(self._X, self._work, size)
        totals = np.empty((n_chunks, size))
        parameters = log_weights, means, variances
        outputs = wanted(dtype=self._X.dtype)
        objective = self._run(chunk_rows, parameters, self._weight, hard, totals, outputs)
        totals = totals.sum(axis=0).reshape(self._n_components, -1)
        counts = totals[:, -1].copy()
        observed, sums, squares = totals[:, :-1].reshape(-1, n_features, 3).transpose(2, 0, 1)
        filled = (counts[:, np.newaxis] - observed) * variances
        return CompletedSums(float(objective.sum()), counts, observed, sums, squares + filled)

    def evaluate(self, log_weights, means, variances, outputs):
        """Write what is wanted of the rows."""
        chunk_rows, n_chunks = row_chunks(len(self._X), self._work)
        parameters = log_weights, means, variances
        totals = np.empty((n_chunks, 0))[:0]
        self._run(chunk_rows, parameters, as_weights(None), False, totals, outputs)

    def _run(self, chunk_rows, parameters, weight, hard, totals, outputs):
        log_weights, means, variances = parameters
        n_chunks = ceil_div(len(self._X), chunk_rows)
        objective = np.empty(n_chunks)
        run(
            masked_pass,
            n_chunks,
            chunk_rows,
            self._X,
            weight,
            log_weights,
            np.ascontiguousarray(means),
            np.sqrt(0.5 / variances),
            -0.5 * np.log(2.0 * math.pi * variances),
            hard,
            totals,
            objective,
            outputs,
        )
        return objective
