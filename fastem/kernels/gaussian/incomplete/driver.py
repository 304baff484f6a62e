"""One pass over rows that have covariances of their own to be inverted, rows being lanes.

A row is ``x = v + e`` where it was observed, with the true values ``v`` from the mixture and known
errors ``e``. What EM sums up of component k is, with ``T`` the covariance of the row's ``x`` and
``u = T^-1 (x - mean)``, both zero where nothing was observed, ``r u`` and ``r (u u' - T^-1)``: all
else follows from these. J. Bovy, D. W. Hogg and S. T. Roweis, "Extreme deconvolution", Annals of
Applied Statistics 5, 2011; Z. Ghahramani and M. I. Jordan, "Supervised learning from incomplete
data via an EM approach", NIPS 6, 1994.
"""

from typing import NamedTuple

import numpy as np

from fastem.kernels.gaussian.incomplete.small import MOST_FEATURES, solve_small
from fastem.kernels.gaussian.incomplete.solving import WIDTH, fill_matrices, place, sweep_out
from fastem.kernels.mixtures.lanes import gather_weights, scatter_labels, scatter_rows
from fastem.kernels.mixtures.responsibilities import (
    DENSITY,
    last_likelihood,
    log_densities,
    log_likelihood,
    normalize_tile,
)
from fastem.kernels.runtime.compiling import inline, kernel
from fastem.kernels.runtime.parallel import next_chunk
from fastem.kernels.vectors.elementary import log
from fastem.kernels.vectors.machine import DOUBLES, LANES, TILE
from fastem.kernels.vectors.tiles import aligned_empty_like, fetch_start, gather_tile, load_narrow
from fastem.kernels.vectors.vector import (
    bits,
    broadcast,
    load,
    store,
    sum_of_lanes,
    where,
)


class Observed(NamedTuple):
    """The rows that a pass takes.

    Parameters
    ----------
    X : ndarray of shape (n_rows, n_features)
        NaN where nothing was observed.
    order : ndarray of int32
        The numbers of the rows to take; empty for all.
    weight : ndarray of float64
        The rows' weights; empty for ones.
    noise : ndarray of shape (n_rows, n_features) or (n_rows, n_features**2), dtype of X
        Variances or covariances of the errors; without rows for none.
    """

    X: np.ndarray
    order: np.ndarray
    weight: np.ndarray
    noise: np.ndarray


class Mixture(NamedTuple):
    """The components, in the units in which the pass works; all float64.

    Parameters
    ----------
    log_weights : ndarray of shape (n_components,)
    means : ndarray of shape (n_components, n_features)
    covariances : ndarray of shape (n_components, n_features, n_features)
    units : ndarray of shape (n_features,)
        What the rows are multiplied with.
    peaks : ndarray of shape (n_features,)
        What an observed feature adds to a log-density: ``log(unit) - log(2 pi) / 2``.
    """

    log_weights: np.ndarray
    means: np.ndarray
    covariances: np.ndarray
    units: np.ndarray
    peaks: np.ndarray


@inline
def size_of_totals(n_features):
    """Sums of a component: u and what was observed, products, and the count."""
    return 2 * n_features + place(n_features, 0) + 1


@inline
def _mark_seen(tile, n_features, units, peaks, seen, base):
    """Put zeros where nothing was observed, and note where something was."""
    zero, one = broadcast(0.0, WIDTH), broadcast(1.0, WIDTH)
    for lane in range(0, TILE, WIDTH):
        total = zero
        for f in range(n_features):
            value = load(tile, f * TILE + lane, WIDTH)
            there = value <= value
            own = where(there, one, zero)
            total = total + own * broadcast(peaks[f], WIDTH)
            value = where(there, value * broadcast(units[f], WIDTH), zero)
            store(value, tile, f * TILE + lane)
            store(own, seen, f * TILE + lane)
        store(total, base, lane)


@inline
def _load_errors(noise_tile, n_features, diagonal, units, seen, errors, pairs):
    """Triangles of the errors' covariances, but for what was not observed those of the identity.

    ``pairs`` receives, unless it is empty, ones where both features were observed, and zeros.
    """
    zero, one = broadcast(0.0, WIDTH), broadcast(1.0, WIDTH)
    for lane in range(0, TILE, WIDTH):
        for i in range(n_features):
            own = load(seen, i * TILE + lane, WIDTH)
            for j in range(i + 1):
                both = own * load(seen, j * TILE + lane, WIDTH)
                value = zero
                if i == j or not diagonal:
                    at = i if diagonal else i * n_features + j
                    value = load(noise_tile, at * TILE + lane, WIDTH)
                    value = value * broadcast(units[i] * units[j], WIDTH)
                    value = where(zero < both, value, one - own if i == j else zero)
                store(value, errors, place(i, j) * TILE + lane)
                if len(pairs):
                    store(both, pairs, place(i, j) * TILE + lane)


@inline
def _accumulate(matrix, seen, n_features, shares, start, totals, first):
    """Add a component's sums over a tile; a total is a vector whose lanes are added up later."""
    one = broadcast(1.0, DOUBLES)
    border = place(n_features, 0)
    at = first
    for i in range(n_features):
        for j in range(i + 1):
            total = load(totals, at, DOUBLES)
            for lane in range(0, TILE, DOUBLES):
                left = load(matrix, (border + i) * TILE + lane, DOUBLES)
                right = load(matrix, (border + j) * TILE + lane, DOUBLES)
                value = left * right + load(matrix, place(i, j) * TILE + lane, DOUBLES)
                if i == j:  # of what was not observed -1 is left
                    value = value + (one - load(seen, i * TILE + lane, DOUBLES))
                total = total + load(shares, start + lane, DOUBLES) * value
            store(total, totals, at)
            at += DOUBLES
    for i in range(n_features):
        total = load(totals, at, DOUBLES)
        observed = load(totals, at + DOUBLES, DOUBLES)
        for lane in range(0, TILE, DOUBLES):
            share = load(shares, start + lane, DOUBLES)
            total = total + share * load(matrix, (border + i) * TILE + lane, DOUBLES)
            observed = observed + share * load(seen, i * TILE + lane, DOUBLES)
        store(total, totals, at)
        store(observed, totals, at + DOUBLES)
        at += 2 * DOUBLES
    total = load(totals, at, DOUBLES)
    for lane in range(0, TILE, DOUBLES):
        total = total + load(shares, start + lane, DOUBLES)
    store(total, totals, at)


@inline
def _any_share(shares, start):
    zero = broadcast(0.0, WIDTH)
    found = False
    for lane in range(0, TILE, WIDTH):
        found |= bits(zero < load(shares, start + lane, WIDTH)) != 0
    return found


@kernel
def observed_pass(
    tickets, n_chunks, chunk_rows, observed, mixture, hard, totals, objective, outputs
):
    """Sums of each chunk, unless ``totals`` is empty, and the outputs that aren't.

    ``objective[c]`` receives the weighted sum of the chunk's log-densities.
    """
    X, order, sample_weight, noise = observed
    log_weights, means, covariances, units, peaks = mixture
    log_density, labels, responsibilities, log_joint = outputs
    n_components, n_features = means.shape
    n_rows = len(order) if len(order) else len(X)
    one = X.dtype.type(1)
    shift = np.zeros(max(n_features, noise.shape[1]) + LANES, X.dtype)
    rows = np.empty(TILE, np.int32)
    diagonal = noise.shape[1] == n_features
    size = place(n_features, n_features) + 1  # of a bordered triangle
    small = n_features <= MOST_FEATURES
    n_errors = place(n_features, 0) if len(noise) or small else 0
    tile = aligned_empty_like(n_features * TILE, means)
    seen = aligned_empty_like(n_features * TILE, means)
    noise_tile = aligned_empty_like(noise.shape[1] * TILE, means)
    noise_tile[:] = 0.0
    errors = aligned_empty_like(n_errors * TILE, means)
    pairs = aligned_empty_like(n_errors * TILE if small else 0, means)
    matrices = aligned_empty_like(n_components * size * TILE, means)
    column = aligned_empty_like((n_features + 1) * WIDTH, means)
    shares = aligned_empty_like(n_components * TILE, means)
    base = aligned_empty_like(TILE, means)
    weights = aligned_empty_like(TILE, means)
    density = aligned_empty_like(DENSITY, means)
    density[:] = 1.0
    n_totals = n_components * size_of_totals(n_features)
    wide_totals = aligned_empty_like(n_totals * DOUBLES if len(totals) else 0, means)
    half = broadcast(0.5, WIDTH)
    while True:
        chunk = next_chunk(tickets)
        if chunk >= n_chunks:
            return
        wide_totals[:] = 0.0
        total_density = 0.0
        stop = min((chunk + 1) * chunk_rows, n_rows)
        for first in range(chunk * chunk_rows, stop, TILE):
            n_lanes = min(TILE, stop - first)
            for lane in range(TILE):
                i = min(first + lane, stop - 1)
                rows[lane] = order[i] if len(order) else i
                # Rows of their own places, and long errors, come late unless they are called for.
                later = min(first + TILE + lane, n_rows - 1)
                later = order[later] if len(order) else later
                fetch_start(X, later)
                if len(noise):
                    fetch_start(noise, later)
            gather_weights(sample_weight, rows, n_lanes, weights)
            if len(order) or not load_narrow(X, first, one, shift, tile):
                gather_tile(X, rows, one, shift, tile)
            _mark_seen(tile, n_features, units, peaks, seen, base)
            if len(noise):
                gather_tile(noise, rows, one, shift, noise_tile)
            if len(errors):
                _load_errors(noise_tile, n_features, diagonal, units, seen, errors, pairs)
            for k in range(n_components):
                matrix = matrices[k * size * TILE : (k + 1) * size * TILE]
                mean, covariance = means[k], covariances[k]
                # Logarithms of the determinants first.
                if small:
                    for lane in range(0, TILE, DOUBLES):
                        determinant = solve_small(
                            tile, seen, errors, pairs, n_features, mean, covariance, lane, matrix
                        )
                        store(determinant, shares, k * TILE + lane)
                    # Many side by side: a logarithm's steps wait for each other.
                    for lane in range(k * TILE, (k + 1) * TILE, WIDTH):
                        store(log(load(shares, lane, WIDTH)), shares, lane)
                else:
                    for lane in range(0, TILE, WIDTH):
                        fill_matrices(
                            tile, seen, errors, n_features, mean, covariance, lane, matrix
                        )
                        wide_determinant = sweep_out(matrix, n_features, lane, column)
                        store(wide_determinant, shares, k * TILE + lane)
                for lane in range(0, TILE, WIDTH):
                    # The corner has minus the squared Mahalanobis distance.
                    value = load(matrix, (size - 1) * TILE + lane, WIDTH)
                    value = value - load(shares, k * TILE + lane, WIDTH)
                    value = load(base, lane, WIDTH) + value * half
                    value = value + broadcast(log_weights[k], WIDTH)
                    store(value, shares, k * TILE + lane)
            if len(log_joint):
                scatter_rows(shares, n_components, rows, n_lanes, 0.0, log_joint)
            if len(labels):
                scatter_labels(shares, n_components, rows, n_lanes, labels)
            normalize_tile(shares, n_components, weights, hard, density)
            ones = len(sample_weight) == 0 and n_lanes == TILE
            total_density += log_likelihood(weights, density, ones)
            if len(log_density):
                log_densities(density)
                for lane in range(n_lanes):
                    log_density[rows[lane]] = density[lane]
            if len(responsibilities):
                scatter_rows(shares, n_components, rows, n_lanes, 0.0, responsibilities)
            if len(totals):
                for k in range(n_components):
                    # Most components have no share in most tiles where they are many.
                    if _any_share(shares, k * TILE):
                        matrix = matrices[k * size * TILE : (k + 1) * size * TILE]
                        at = k * size_of_totals(n_features) * DOUBLES
                        _accumulate(matrix, seen, n_features, shares, k * TILE, wide_totals, at)
        if len(totals):
            for i in range(n_totals):
                totals[chunk, i] = sum_of_lanes(load(wide_totals, i * DOUBLES, DOUBLES))
        objective[chunk] = total_density + last_likelihood(density)
