"""One pass of a user's own mixture over the rows.

As the built-in mixtures' passes: a tile of rows is read, its log-densities are normalised to
responsibilities, and its contributions to the statistics are added while it is in the cache. What
the user wrote is called by its address (``functions.py``), once for a tile.
"""

from typing import NamedTuple

import numpy as np

from fastem.kernels.mixtures.lanes import assign, load_weights, write_labels, write_rows
from fastem.kernels.mixtures.products import add_terms, sum_tile, weighted_sum
from fastem.kernels.mixtures.responsibilities import (
    DENSITY,
    last_likelihood,
    log_densities,
    log_likelihood,
    normalize_tile,
)
from fastem.kernels.own.functions import call
from fastem.kernels.runtime.arrays import write_row
from fastem.kernels.runtime.compiling import inline, kernel
from fastem.kernels.runtime.parallel import next_chunk
from fastem.kernels.vectors.machine import LANES, TILE
from fastem.kernels.vectors.tiles import aligned_empty_like, load_tile


class Addresses(NamedTuple):
    """Of the user's compiled functions, 0 where there is none.

    Rows without ``log_base`` have one of 0; without ``statistics`` the features are the statistics.
    """

    log_density: int
    log_base: int
    statistics: int


class Sizes(NamedTuple):
    """Of a mixture; the components of each group have their statistics in common."""

    n_components: int
    n_statistics: int
    n_groups: int


@inline
def _write_joint(tile, n_components, base, first, n_lanes, output):
    """A tile's values of the components, plus the lanes' ``base``, as rows of ``output``."""
    for lane in range(n_lanes):
        for j in range(n_components):
            output[first + lane, j] = tile[j * TILE + lane] + base[lane]


@kernel
def own_pass(
    tickets,
    n_chunks,
    chunk_rows,
    X,
    sample_weight,
    addresses,
    values,
    layout,
    sizes,
    given,
    hard,
    counts,
    sums,
    objective,
    outputs,
):
    """Statistics of each chunk, unless ``sums`` is empty, and the outputs that aren't.

    Parameters
    ----------
    chunk_rows : int
        Rows of a chunk.
    X : array of shape (n_rows, n_features)
    sample_weight : float64 array of shape (n_rows,) or (0,)
    addresses : Addresses
    values, layout
        The components, as ``functions.Arguments`` has them.
    sizes : Sizes
    given : int32 array of shape (n_rows,) or (0,)
        The rows' labels where these are known, -1 for none.
    hard : bool
        Whether every row belongs to its most probable component alone.
    counts : float64 array of shape (n_chunks, n_components)
        Sums of weighted responsibilities.
    sums : float64 array of shape (n_chunks, size) or (0, 0)
        Of weighted statistics, the groups' one after the other, as ``add_terms`` lays them out.
    objective : float64 array of shape (n_chunks, 2)
        Receives the weighted sums of the chunk's log-densities and of ``log_base``.
    outputs : Outputs
    """
    log_density_at, log_base_at, statistics_at = addresses
    n_components, n_statistics, n_groups = sizes
    log_density, labels, responsibilities, log_joint = outputs
    n_rows, n_features = X.shape
    one = X.dtype.type(1)
    shift = np.zeros(n_features + LANES, X.dtype)
    tile = aligned_empty_like(n_features * TILE, values)
    together = n_components // n_groups
    size = sums.shape[1] // n_groups
    terms = tile
    if statistics_at != 0:
        terms = aligned_empty_like(n_statistics * TILE, values)
    shares = aligned_empty_like(n_components * TILE, values)
    scratch = aligned_empty_like(n_features + n_statistics, values)
    weights = aligned_empty_like(TILE, values)
    density = aligned_empty_like(DENSITY, values)
    density[:] = 1.0
    base = aligned_empty_like(TILE, values)
    # Of this thread alone: chunks side by side in ``sums`` would have cache lines in common.
    chunk_counts = aligned_empty_like(n_components, values)
    chunk_sums = aligned_empty_like(sums.shape[1], values)
    base[:] = 0.0
    while True:
        chunk = next_chunk(tickets)
        if chunk >= n_chunks:
            return
        start, stop = chunk * chunk_rows, min((chunk + 1) * chunk_rows, n_rows)
        chunk_counts[:] = 0.0
        chunk_sums[:] = 0.0
        total_density = total_base = 0.0
        weights[:] = 1.0
        for first in range(start, stop, TILE):
            n_lanes = min(TILE, stop - first)
            load_tile(X, first, one, shift, tile)
            ones = len(sample_weight) == 0 and n_lanes == TILE
            if not ones:
                load_weights(sample_weight, first, stop, weights)
            if log_base_at != 0:
                call(log_base_at, tile, n_features, values, layout, 0, 1, scratch, base)
                total_base += weighted_sum(weights, base)
            if len(given) > 0:
                assign(given, first, stop, weights, n_components, shares)
            else:
                call(
                    log_density_at,
                    tile,
                    n_features,
                    values,
                    layout,
                    0,
                    n_components,
                    scratch,
                    shares,
                )
                if len(labels) > 0:
                    write_labels(shares, n_components, first, n_lanes, labels)
                if len(log_joint) > 0:
                    _write_joint(shares, n_components, base, first, n_lanes, log_joint)
                if hard:  # which passes NaN over
                    for i in range(n_components * TILE):
                        if np.isnan(shares[i]):
                            total_density = np.nan
                normalize_tile(shares, n_components, weights, hard, density)
                total_density += log_likelihood(weights, density, ones)
                if len(log_density) > 0:
                    log_densities(density)
                    for lane in range(n_lanes):
                        log_density[first + lane] = density[lane] + base[lane]
                if len(responsibilities) > 0:
                    write_rows(shares, n_components, first, n_lanes, responsibilities)
            if len(sums) == 0:
                continue
            for j in range(n_components):
                chunk_counts[j] += sum_tile(shares, j * TILE)
            for group in range(n_groups):
                if statistics_at != 0:
                    call(
                        statistics_at,
                        tile,
                        n_features,
                        values,
                        layout,
                        group,
                        n_components,
                        scratch,
                        terms,
                    )
                group_shares = shares[group * together * TILE : (group + 1) * together * TILE]
                group_sums = chunk_sums[group * size : (group + 1) * size]
                ahead = first + TILE
                add_terms(group_shares, together, terms, n_statistics, group_sums, X, ahead)
        if len(sums) > 0:
            write_row(chunk_counts, counts, chunk)
            write_row(chunk_sums, sums, chunk)
            objective[chunk, 0] = total_density + last_likelihood(density)
            objective[chunk, 1] = total_base
