"""One pass over rows that are sorted by what was observed of them.

The rows of one pattern are complete rows of fewer features, which the kernels for complete rows
take; what all of them have in common is found once for the pattern.
"""

import math
from typing import NamedTuple

import numpy as np

from fastem.kernels.gaussian.full import add_products, scratch_size
from fastem.kernels.gaussian.incomplete.completing import (
    add_completed,
    regress,
    size_of_completed,
    unpack_completed,
)
from fastem.kernels.gaussian.incomplete.factoring import ABREAST, across_components, factor_observed
from fastem.kernels.gaussian.incomplete.patterns import group, layout_of_totals
from fastem.kernels.gaussian.incomplete.solving import place
from fastem.kernels.gaussian.incomplete.sums import CompletedSums
from fastem.kernels.gaussian.whitening import BLOCK, packed_size, whitened_norms
from fastem.kernels.mixtures.lanes import gather_weights, scatter_labels, scatter_rows
from fastem.kernels.mixtures.products import sum_tile
from fastem.kernels.mixtures.responsibilities import (
    DENSITY,
    last_likelihood,
    log_densities,
    log_likelihood,
    normalize_tile,
)
from fastem.kernels.runtime.arrays import as_weights, wanted
from fastem.kernels.runtime.chunks import round_up, summing_chunks
from fastem.kernels.runtime.compiling import inline, kernel
from fastem.kernels.runtime.parallel import next_chunk, run
from fastem.kernels.vectors.machine import LANES, TILE
from fastem.kernels.vectors.tiles import aligned_empty_like, fetch_start, gather_tile
from fastem.kernels.vectors.vector import load

_HALF_LOG_2_PI = 0.5 * math.log(2.0 * math.pi)

# What a batch of tiles may take of a core's cache, in bytes, and its most tiles.
_BATCH_BYTES, _MOST_TILES = 1 << 18, 8


class Sizes(NamedTuple):
    """How much room a pass needs.

    Parameters
    ----------
    batch : int
        Tiles taken together.
    scratch : int
        Values for ``add_products``.
    factor : int
        Values of a packed triangle.
    """

    batch: int
    scratch: int
    factor: int


@inline
def _pack(factors, n, n_features, span, n_components, packed):
    """As ``pack_triangles`` does, but that what is not read keeps what it was."""
    at = 0
    for first in range(0, n, BLOCK):
        stop = min(first + BLOCK, n)
        for i in range(stop):
            for j in range(max(first, i), stop):
                source, target = (i * n_features + j) * span, at + i * BLOCK + j - first
                for k in range(n_components):
                    packed[k, target] = factors[source + k]
        at += BLOCK * (first + BLOCK)


@inline
def _gather_sums(piece_totals, layout, n, span, n_components, sums):
    """A piece's totals as ``add_completed`` takes them."""
    for k in range(n_components):
        own = piece_totals[k * layout.sizes[n] :]
        sums[k] = own[layout.count_at]
        for i in range(n):
            sums[(1 + i) * span + k] = own[layout.sums_at[i]]
            for j in range(i + 1):
                sums[(1 + n + place(i, j)) * span + k] = own[layout.products_at[i, j]]


@inline
def _load_observed(X, rows, columns, n, shift, raw, tile):
    """Rows of a tile, of which only the columns observed stay."""
    one = X.dtype.type(1)
    if n == X.shape[1]:
        gather_tile(X, rows, one, shift, tile)
        return
    gather_tile(X, rows, one, shift, raw)
    for c in range(n):
        source, target = columns[c] * TILE, c * TILE
        for lane in range(TILE):
            tile[target + lane] = raw[source + lane]


@kernel
def grouped_pass(
    tickets,
    n_chunks,
    X,
    sample_weight,
    groups,
    log_weights,
    means,
    covariances,
    hard,
    sizes,
    layout,
    totals,
    objective,
    outputs,
):
    """Sums of each chunk, completed and about the means, unless ``totals`` is empty; and outputs.

    ``objective[c]`` receives the weighted sum of the chunk's log-densities. ``covariances`` are
    those of ``factoring.across_components``; ``totals`` has, with as many lanes, what
    ``completing.unpack_completed`` takes.
    """
    order, all_columns, n_observed, pieces, starts = groups
    log_density, labels, responsibilities, log_joint = outputs
    n_components, n_features = means.shape
    shift = np.zeros(n_features + LANES, X.dtype)
    rows = np.empty(TILE, np.int32)
    stride = n_components * TILE
    raw = aligned_empty_like(n_features * TILE, X)
    tiles = aligned_empty_like(sizes.batch * n_features * TILE, X)
    shares = aligned_empty_like(sizes.batch * stride, X)
    scratch = aligned_empty_like(sizes.scratch, X)
    weights = aligned_empty_like(TILE, X)
    density = aligned_empty_like(DENSITY, X)
    density[:] = 1.0
    numbers = np.arange(sizes.batch)
    centers = np.empty(2 * n_components * n_features, X.dtype)
    packed = np.empty((n_components, sizes.factor), X.dtype)
    peaks, references = np.empty(n_components), np.empty(n_components, X.dtype)
    # Of the components side by side.
    span = round_up(n_components, ABREAST)
    factors = aligned_empty_like(n_features * n_features * span, means)
    log_determinants = aligned_empty_like(span, means)
    sums = aligned_empty_like((1 + n_features + place(n_features, 0)) * span, means)
    sums[:] = 0.0
    whitened = aligned_empty_like(n_features * n_features * ABREAST, means)
    slopes = aligned_empty_like(n_features * n_features * ABREAST, means)
    work = aligned_empty_like(n_features * ABREAST, means)
    piece_totals = np.empty(n_components * layout.sizes[n_features])
    while True:
        chunk = next_chunk(tickets)
        if chunk >= n_chunks:
            return
        if len(totals):
            totals[chunk] = 0.0
        total_density = 0.0
        for piece in range(starts[chunk], starts[chunk + 1]):
            pattern, start, stop = pieces[piece, 0], pieces[piece, 1], pieces[piece, 2]
            columns, n = all_columns[pattern], np.intp(n_observed[pattern])
            reference = -np.inf
            some_centers = centers[: 2 * n_components * n].reshape((2, n_components, n))
            for lane in range(0, span, ABREAST):
                factor_observed(
                    covariances, columns, n, n_features, span, lane, factors, log_determinants
                )
            for k in range(n_components):
                for i in range(n):
                    mean = means[k, columns[i]]
                    some_centers[0, k, i] = mean
                    some_centers[1, k, i] = mean - np.float64(some_centers[0, k, i])
                peaks[k] = log_weights[k] - n * _HALF_LOG_2_PI + log_determinants[k]
                reference = max(reference, peaks[k])
            _pack(factors, n, n_features, span, n_components, packed)
            if not np.isfinite(reference):
                reference = 0.0
            for k in range(n_components):
                references[k] = peaks[k] - reference
            piece_totals[:] = 0.0
            for batch_start in range(start, stop, sizes.batch * TILE):
                n_tiles = 0
                for first in range(batch_start, min(batch_start + sizes.batch * TILE, stop), TILE):
                    n_lanes = min(TILE, stop - first)
                    for lane in range(TILE):
                        rows[lane] = order[min(first + lane, stop - 1)]
                        # The next tile's rows: scattered, they took a sixth of the time.
                        fetch_start(X, order[min(first + n_lanes + lane, len(order) - 1)])
                    gather_weights(sample_weight, rows, n_lanes, weights)
                    tile = tiles[n_tiles * n * TILE :]
                    joint = shares[n_tiles * stride :]
                    n_tiles += 1
                    _load_observed(X, rows, columns, n, shift, raw, tile)
                    for k in range(n_components):
                        whitened_norms(tile, n, some_centers, k, packed, references[k], joint)
                    if len(log_joint):
                        scatter_rows(joint, n_components, rows, n_lanes, reference, log_joint)
                    if len(labels):
                        scatter_labels(joint, n_components, rows, n_lanes, labels)
                    normalize_tile(joint, n_components, weights, hard, density)
                    ones = len(sample_weight) == 0 and n_lanes == TILE
                    total_density += log_likelihood(weights, density, ones)
                    total_density += reference * sum_tile(weights, 0)
                    if len(log_density):
                        log_densities(density)
                        for lane in range(n_lanes):
                            log_density[rows[lane]] = density[lane] + reference
                    if len(responsibilities):
                        scatter_rows(joint, n_components, rows, n_lanes, 0.0, responsibilities)
                if len(totals):
                    for k in range(n_components):
                        add_products(
                            tiles,
                            n,
                            numbers,
                            n_tiles,
                            some_centers,
                            k,
                            shares,
                            stride,
                            scratch,
                            piece_totals,
                        )
            if len(totals):
                _gather_sums(piece_totals, layout, n, span, n_components, sums)
                own = totals[chunk]
                for lane in range(0, span, ABREAST):
                    regress(
                        covariances,
                        columns,
                        n,
                        n_features,
                        span,
                        lane,
                        factors,
                        load(sums, lane, ABREAST),
                        whitened,
                        slopes,
                    )
                    add_completed(
                        covariances,
                        columns,
                        n,
                        n_features,
                        span,
                        lane,
                        whitened,
                        slopes,
                        sums,
                        work,
                        own,
                    )
        objective[chunk] = total_density + last_likelihood(density)


class GroupedPass:
    """Passes over rows of few patterns, in each of which something was observed.

    Parameters
    ----------
    X : ndarray of shape (n_rows, n_features), float32 or float64, C-contiguous, read-only
    weight : ndarray of float64
        The rows' weights; empty for ones.
    n_components : int
    order, counts, seen : ndarray
        As from ``patterns.find_patterns``, of the rows to take.
    """

    def __init__(self, X, weight, n_components, order, counts, seen):
        self._X, self._weight = X, weight
        self._n_components = n_components
        n_features = X.shape[1]
        self._size = size_of_completed(n_features) * round_up(n_components, ABREAST)
        work = n_components * (n_features * (n_features + 2) + 16)
        chunk_rows, self._n_chunks = summing_chunks(X[: len(order)], work, self._size)
        self._groups = group(order, counts, seen, chunk_rows)
        tile_bytes = 64 * X.itemsize * (n_features + n_components)
        batch = int(np.clip(_BATCH_BYTES // tile_bytes, 1, _MOST_TILES))
        self._sizes = Sizes(batch, scratch_size(batch), packed_size(n_features))
        self._layout = layout_of_totals(n_features)

    def sums(self, log_weights, means, covariances, hard):
        """The rows' CompletedSums; parameters are float64, covariances matrices."""
        totals = np.empty((self._n_chunks, self._size))
        parameters = log_weights, means, covariances
        objective = self._run(parameters, self._weight, hard, totals, wanted(dtype=self._X.dtype))
        k, d = means.shape
        totals = totals.sum(axis=0).reshape(size_of_completed(d), -1)[:, :k]
        counts, sums, observed, scatter = unpack_completed(totals, d)
        return CompletedSums(float(objective.sum()), counts, observed, sums, scatter)

    def evaluate(self, log_weights, means, covariances, outputs):
        """Write what is wanted of the rows."""
        parameters = log_weights, means, covariances
        self._run(parameters, as_weights(None), False, np.empty((0, 0)), outputs)

    def _run(self, parameters, weight, hard, totals, outputs):
        log_weights, means, covariances = parameters
        objective = np.empty(self._n_chunks)
        run(
            grouped_pass,
            self._n_chunks,
            self._X,
            weight,
            self._groups,
            log_weights,
            means,
            across_components(covariances),
            hard,
            self._sizes,
            self._layout,
            totals,
            objective,
            outputs,
        )
        return objective
