"""One pass of a Gaussian mixture over the rows, whatever the covariances' type.

A tile of rows is read, its log-densities under all components are normalised to responsibilities,
and its contributions to the statistics are added while it is in the cache. A few tiles make a
*batch*, over which a component's contributions are gathered in registers before they are added to
its *totals*: float64 values in a layout of the covariance type's own.

What depends on the type are the placeholders below. Its implementations are registered by
``compiling.variant`` and chosen by the class of ``packed``, a NamedTuple of the type's own that
holds the parameters as its kernels want them, in the rows' dtype. They take flat arrays: the
features of a tile are at ``tile[f * TILE + lane]``, and a tile's values of component j at
``values[j * TILE + lane]``.
"""

import numpy as np

from fastem.kernels.mixtures.lanes import assign, fill_column, load_weights, write_rows
from fastem.kernels.mixtures.products import sum_tile
from fastem.kernels.mixtures.responsibilities import (
    DENSITY,
    choose_tile,
    last_likelihood,
    log_densities,
    log_likelihood,
    normalize_tile,
)
from fastem.kernels.runtime.chunks import ceil_div
from fastem.kernels.runtime.compiling import inline, kernel
from fastem.kernels.runtime.parallel import next_chunk
from fastem.kernels.vectors.machine import LANES, LINE_BYTES, TILE
from fastem.kernels.vectors.tiles import aligned_empty_like, load_tile
from fastem.kernels.vectors.vector import fetch

_LINES = 16  # of the cache, fetched together
_SAMPLED = 8  # every so many tiles' shares are counted
_SHARE = 1e-16  # in a row's density, of which nothing remains when it is added to the rest


def prepare_tile(packed, tile, n_features, scratch):
    """Do what all components have in common for a tile.

    Parameters
    ----------
    packed : NamedTuple
        The parameters, of a class of the covariance type's own.
    tile : array of at least n_features * TILE values
        The rows' features.
    n_features : int
    scratch : array
        As large as the type's ``Kernel.scratch_size`` says; may receive what
        :func:`log_joint_tile` needs.
    """
    raise NotImplementedError("for kernels only")


def log_joint_tile(packed, tile, n_features, scratch, components, n_listed, log_joint):
    """Write ``log(weight * density) - reference`` of the listed components.

    Parameters
    ----------
    packed, tile, n_features, scratch
        As for :func:`prepare_tile`. ``packed.reference`` is a number that the pass adds to all:
        near the greatest constant, so that float32 keeps digits.
    components : int array
        ``components[:n_listed]`` are the listed ones.
    log_joint : array
        Receives component j's values at ``log_joint[j * TILE + lane]``.
    """
    raise NotImplementedError("for kernels only")


def accumulate_tiles(
    packed, centers, component, tiles, n_features, chosen, n_chosen, shares, stride, scratch, totals
):
    """Add a component's statistics of some tiles to its totals.

    Parameters
    ----------
    packed, n_features, scratch
        As for :func:`prepare_tile`.
    centers : array of shape (2, n_components, n_features), the rows' dtype
        What the statistics are about: the rows of ``centers[0]`` plus those of ``centers[1]``, the
        remainders of rounding to the dtype. ``(x - centers[0]) - centers[1]`` keeps all digits.
    tiles : array
        Tile t starts at ``t * n_features * TILE``.
    chosen : array of int
        ``chosen[:n_chosen]`` are the tiles to add; in the others the component has no share.
    shares : array
        Weighted responsibilities: tile t's start at ``t * stride + component * TILE``.
    totals : array of float64
        All components' totals, in the type's layout.
    """
    raise NotImplementedError("for kernels only")


@inline
def count_shares(shares, n):
    """How many of the first ``n`` are more than nothing."""
    count = 0
    for i in range(n):
        count += shares[i] > _SHARE
    return count


@inline
def fetch_tile(X, first):
    """Have the next tile's rows come while this one's are worked on."""
    for i in range(0, TILE * X.shape[1], LINE_BYTES // X.itemsize):
        fetch(X, first * X.shape[1] + i)


@inline
def _log_joint_fetching(
    packed, tile, n_features, scratch, numbers, n_components, log_joint, X, ahead
):
    """:func:`log_joint_tile` of all components; the tile of X from ``ahead`` on is fetched.

    A part of it before each of a few components: a core waits for few lines of the cache at once,
    and all of a tile's took 8 % of a pass over 8 features.
    """
    line = LINE_BYTES // X.itemsize
    n_lines = ceil_div(TILE * n_features, line)
    together = max(_LINES * n_components // n_lines, 1)
    n_fetched = ceil_div(n_lines * together, n_components)
    at = ahead * n_features
    for j in range(0, n_components, together):
        for _ in range(n_fetched):
            fetch(X, at)
            at += line
        n = min(together, n_components - j)
        log_joint_tile(packed, tile, n_features, scratch, numbers[j:], n, log_joint)


@kernel
def em_pass(
    tickets,
    n_chunks,
    chunk_rows,
    batch,
    scratch_size,
    X,
    sample_weight,
    packed,
    centers,
    labels,
    hard,
    noise,
    numbers,
    totals,
    objective,
    counted,
):
    """Each chunk's totals, and what it found.

    Parameters
    ----------
    chunk_rows, batch : int
        Rows of a chunk, and tiles of a batch.
    scratch_size : int
        Values that the placeholders need for a batch.
    X : array of shape (n_rows, n_features)
    sample_weight : float64 array of shape (n_rows,) or (0,)
    packed, centers
        As the placeholders take them.
    labels : int32 array of shape (n_rows,) or (0,)
        With these, every row belongs to its label alone, or to none if negative, and only the
        totals are found. A kernel for that could do less, but would have to be compiled, too.
    hard : bool
        Whether every row belongs to its most probable component alone.
    noise : float, the rows' dtype
        The logarithm of the noise's weight times density, relative to the reference; -inf for none.
    numbers : int64 array
        Counts from 0, at least ``n_components`` and ``batch``.
    totals : float64 array of shape (n_chunks, size)
        As ``accumulate_tiles`` lays them out.
    objective : float64 array of shape (n_chunks, 3)
        Receives the weighted sums of the log-densities, relative to the reference, and of the
        weights, and the noise's share of these.
    counted : int64 array of shape (n_chunks, 2)
        Receives, for a sample of tiles, the pairs of a row and a component, and those among them
        where the component has a share in the row.
    """
    n_rows, n_features = X.shape
    n_components = centers.shape[1]
    one = X.dtype.type(1)
    shift = aligned_empty_like(n_features + LANES, X)
    shift[:] = 0
    noisy = noise > -np.inf
    n_columns = n_components + noisy
    stride = n_columns * TILE
    tiles = aligned_empty_like(batch * n_features * TILE, X)
    shares = aligned_empty_like(batch * stride, X)
    scratch = aligned_empty_like(scratch_size, X)
    weights = aligned_empty_like(TILE, X)
    density = aligned_empty_like(DENSITY, X)
    density[:] = 1.0
    while True:
        chunk = next_chunk(tickets)
        if chunk >= n_chunks:
            return
        start, stop = chunk * chunk_rows, min((chunk + 1) * chunk_rows, n_rows)
        chunk_totals = totals[chunk]
        chunk_totals[:] = 0.0
        total_density = total_weight = total_noise = 0.0
        n_sampled = n_shares = 0
        weights[:] = one
        for batch_start in range(start, stop, batch * TILE):
            n_tiles = 0
            for first in range(batch_start, min(batch_start + batch * TILE, stop), TILE):
                tile = tiles[n_tiles * n_features * TILE :]
                log_joint = shares[n_tiles * stride :]
                n_tiles += 1
                load_tile(X, first, one, shift, tile)
                ones = len(sample_weight) == 0 and first + TILE <= stop
                if not ones:
                    load_weights(sample_weight, first, stop, weights)
                if len(labels):
                    assign(labels, first, stop, weights, n_components, log_joint)
                    continue
                prepare_tile(packed, tile, n_features, scratch)
                _log_joint_fetching(
                    packed,
                    tile,
                    n_features,
                    scratch,
                    numbers,
                    n_components,
                    log_joint,
                    X,
                    first + TILE,
                )
                if noisy:
                    fill_column(noise, n_components, log_joint)
                normalize_tile(log_joint, n_columns, weights, hard, density)
                total_density += log_likelihood(weights, density, ones)
                total_weight += sum_tile(weights, 0)
                if noisy:
                    total_noise += sum_tile(log_joint, n_components * TILE)
                if first // TILE % _SAMPLED == 0:
                    n_sampled += n_components * TILE
                    n_shares += count_shares(log_joint, n_components * TILE)
            for component in range(n_components):
                accumulate_tiles(
                    packed,
                    centers,
                    component,
                    tiles,
                    n_features,
                    numbers,
                    n_tiles,
                    shares,
                    stride,
                    scratch,
                    chunk_totals,
                )
        objective[chunk, 0] = total_density + last_likelihood(density)
        objective[chunk, 1] = total_weight
        objective[chunk, 2] = total_noise
        counted[chunk, 0] = n_sampled
        counted[chunk, 1] = n_shares


@kernel
def evaluate_pass(
    tickets,
    n_chunks,
    chunk_rows,
    scratch_size,
    n_components,
    X,
    shift,
    packed,
    noise,
    lowest,
    far,
    outputs,
):
    """Write what is asked for, for every row.

    Parameters
    ----------
    chunk_rows, scratch_size, X, packed, noise
        As for :func:`em_pass`. Tiles have room for one more feature. The label of noise is -1, and
        its values are in a column behind the components'.
    shift : array of shape (n_features + LANES,), the rows' dtype
        Added to the rows; zeros behind the features.
    lowest : float, the rows' dtype
        Log-densities below this are rounded too much.
    far : bool array of shape (n_rows,)
        Receives True for rows where that, or an overflow, may have hidden what is asked for.
    outputs : Outputs
        Those without rows aren't asked for.
    """
    log_density, labels, responsibilities, log_joint = outputs
    n_rows, n_features = X.shape
    one = X.dtype.type(1)
    noisy = noise > -np.inf
    n_columns = n_components + noisy
    tile = aligned_empty_like((n_features + 1) * TILE, X)
    shares = aligned_empty_like(n_columns * TILE, X)
    scratch = aligned_empty_like(scratch_size, X)
    weights = aligned_empty_like(TILE, X)
    weights[:] = one
    density = aligned_empty_like(2 * TILE, X)
    components = np.arange(n_components)
    while True:
        chunk = next_chunk(tickets)
        if chunk >= n_chunks:
            return
        for first in range(chunk * chunk_rows, min((chunk + 1) * chunk_rows, n_rows), TILE):
            n_lanes = min(TILE, n_rows - first)
            load_tile(X, first, one, shift, tile)
            fetch_tile(X, first + TILE)
            prepare_tile(packed, tile, n_features, scratch)
            log_joint_tile(packed, tile, n_features, scratch, components, n_components, shares)
            if noisy:
                fill_column(noise, n_components, shares)
            if len(log_joint):
                for lane in range(n_lanes):
                    for j in range(n_columns):
                        value = shares[j * TILE + lane] + packed.reference
                        log_joint[first + lane, j] = value
                        if np.isnan(value):
                            far[first + lane] = True
            if len(labels):
                choose_tile(shares, n_columns, density)
                for lane in range(n_lanes):
                    label = np.intp(density[lane])
                    labels[first + lane] = label if label < n_components else -1
                    if not lowest <= shares[label * TILE + lane] < np.inf:
                        far[first + lane] = True
            if len(log_density) or len(responsibilities):
                normalize_tile(shares, n_columns, weights, False, density)
                log_densities(density)
                for lane in range(n_lanes):
                    if not lowest <= density[lane] < np.inf:
                        far[first + lane] = True
                if len(log_density):
                    for lane in range(n_lanes):
                        log_density[first + lane] = density[lane] + packed.reference
                if len(responsibilities):
                    write_rows(shares, n_columns, first, n_lanes, responsibilities)
