"""One pass of a Bernoulli mixture over the rows, dense or CSR.

A batch of rows gets its log-densities, these are normalised to responsibilities tile by tile, and
the batch's contributions to the statistics are added while all of this is in the cache. Nothing of
(rows, components) is kept but what the caller asks for.

What depends on the kind of rows are the placeholders below; ``dense.py`` and ``sparse.py`` register
theirs by ``compiling.variant``, chosen by the class of ``packed``. Components are taken in *groups*
of ``GROUP``: the values of a batch are at ``values[(group * batch_rows + row) * GROUP:]``, one
vector over the group.
"""

from fastem.kernels.bernoulli.tables import GROUP, transpose_group
from fastem.kernels.mixtures.lanes import load_weights, write_labels, write_rows
from fastem.kernels.mixtures.responsibilities import (
    DENSITY,
    last_likelihood,
    log_densities,
    log_likelihood,
    normalize_tile,
)
from fastem.kernels.runtime.chunks import ceil_div
from fastem.kernels.runtime.compiling import inline, kernel
from fastem.kernels.runtime.parallel import next_chunk
from fastem.kernels.vectors.machine import TILE
from fastem.kernels.vectors.tiles import aligned_empty_like
from fastem.kernels.vectors.vector import broadcast, load, store


def log_density_batch(packed, rows, first, n, batch_rows, scratch, joint):
    """Write the log-densities of the components for some rows, without the weights.

    Parameters
    ----------
    packed : NamedTuple
        The parameters as the kind of rows wants them.
    rows : array or tuple
        All rows of the part; those from ``first`` to ``first + n`` are the batch.
    batch_rows : int
        Rows of the largest batch.
    scratch : float64 array
    joint : float64 array of n_groups * batch_rows * GROUP values
    """
    raise NotImplementedError("for kernels only")


def accumulate_batch(packed, rows, first, n, batch_rows, scratch, shares, total):
    """Add the rows' shares, wherever a feature is one, to the features' sums.

    Parameters
    ----------
    packed, rows, first, n, batch_rows, scratch
        As for :func:`log_density_batch`.
    shares : float64 array of n_groups * batch_rows * GROUP values
    total : float64 array
        ``total[(group * width + feature) * GROUP:]`` is a vector over the group.
    """
    raise NotImplementedError("for kernels only")


@inline
def _to_tile(batch, row, batch_rows, n_groups, tile):
    """Values of TILE rows of a batch, from ``row`` on, as a tile."""
    for group in range(n_groups):
        for lane in range(0, TILE, GROUP):
            at = (group * batch_rows + row + lane) * GROUP
            transpose_group(batch, at, GROUP, tile, group * GROUP * TILE + lane, TILE)


@inline
def _from_tile(tile, row, batch_rows, n_groups, batch):
    """A tile's values back into the batch."""
    for group in range(n_groups):
        for lane in range(0, TILE, GROUP):
            at = (group * batch_rows + row + lane) * GROUP
            transpose_group(tile, group * GROUP * TILE + lane, TILE, batch, at, GROUP)


@inline
def _add_log_weights(log_weights, tile):
    """Add the components' logarithms of weights to a tile's values."""
    for j in range(len(log_weights)):
        value = broadcast(log_weights[j], GROUP)
        for lane in range(0, TILE, GROUP):
            store(load(tile, j * TILE + lane, GROUP) + value, tile, j * TILE + lane)


@inline
def _add_counts(tile, n_components, lane_counts):
    """Add a tile's shares to each component's GROUP values of ``lane_counts``."""
    for j in range(n_components):
        total = load(lane_counts, j * GROUP, GROUP)
        for lane in range(0, TILE, GROUP):
            total = total + load(tile, j * TILE + lane, GROUP)
        store(total, lane_counts, j * GROUP)


@kernel
def bernoulli_pass(
    tickets,
    n_chunks,
    chunk_rows,
    batch_rows,
    scratch_size,
    rows,
    n_rows,
    sample_weight,
    packed,
    hard,
    totals,
    counts,
    objective,
    outputs,
):
    """Statistics of each chunk, unless ``totals`` is empty, and the outputs that aren't.

    Parameters
    ----------
    chunk_rows, batch_rows, n_rows : int
        Rows of a chunk, of a batch, and in all.
    scratch_size : int
        Values that the placeholders need.
    rows : array or tuple
        As the placeholders take them.
    sample_weight : float64 array of shape (n_rows,) or (0,)
    packed : NamedTuple
        The parameters as the kind of rows wants them.
    hard : bool
        Whether every row belongs to its most probable component alone.
    totals : float64 array of shape (n_chunks, n_groups * width * GROUP) or (0, 0)
        The features' sums, as ``accumulate_batch`` lays them out.
    counts : float64 array of shape (n_chunks, n_components)
        Sums of weighted responsibilities.
    objective : float64 array of shape (n_chunks,)
        Weighted sums of log-densities.
    outputs : Outputs
    """
    log_density, labels, responsibilities, log_joint = outputs
    log_weights = packed.log_weights
    n_components = len(log_weights)
    n_groups = ceil_div(n_components, GROUP)
    scratch = aligned_empty_like(scratch_size, log_weights)
    batch = aligned_empty_like(n_groups * batch_rows * GROUP, log_weights)
    tile = aligned_empty_like(n_groups * GROUP * TILE, log_weights)
    weights = aligned_empty_like(TILE, log_weights)
    density = aligned_empty_like(DENSITY, log_weights)
    density[:] = 1.0
    lane_counts = aligned_empty_like(n_components * GROUP, log_weights)
    # Lanes behind the last row are computed too: no garbage.
    batch[:] = 0.0
    while True:
        chunk = next_chunk(tickets)
        if chunk >= n_chunks:
            return
        lane_counts[:] = 0.0
        total_density = 0.0
        if len(totals) > 0:
            total = totals[chunk]
            total[:] = 0.0
        stop = min((chunk + 1) * chunk_rows, n_rows)
        for first in range(chunk * chunk_rows, stop, batch_rows):
            n = min(batch_rows, stop - first)
            log_density_batch(packed, rows, first, n, batch_rows, scratch, batch)
            for row in range(0, n, TILE):
                inside = min(TILE, n - row)
                _to_tile(batch, row, batch_rows, n_groups, tile)
                _add_log_weights(log_weights, tile)
                load_weights(sample_weight, first + row, first + n, weights)
                if len(labels) > 0:
                    write_labels(tile, n_components, first + row, inside, labels)
                if len(log_joint) > 0:
                    write_rows(tile, n_components, first + row, inside, log_joint)
                normalize_tile(tile, n_components, weights, hard, density)
                ones = len(sample_weight) == 0 and inside == TILE
                total_density += log_likelihood(weights, density, ones)
                if len(log_density) > 0:
                    log_densities(density)
                    for lane in range(inside):
                        log_density[first + row + lane] = density[lane]
                if len(responsibilities) > 0:
                    write_rows(tile, n_components, first + row, inside, responsibilities)
                _add_counts(tile, n_components, lane_counts)
                _from_tile(tile, row, batch_rows, n_groups, batch)
            if len(totals) > 0:
                accumulate_batch(packed, rows, first, n, batch_rows, scratch, batch, total)
        if len(totals) > 0:
            objective[chunk] = total_density + last_likelihood(density)
            for j in range(n_components):
                counts[chunk, j] = 0.0
                for i in range(GROUP):
                    counts[chunk, j] += lane_counts[j * GROUP + i]
