"""One pass over the rows in the order of their most probable components; see ``bounds.py``.

As ``gaussian/driver.py``, but for each tile only the components that may matter are evaluated, and
of these only those are added to the statistics that do.
"""

from typing import NamedTuple

import numpy as np

from fastem.kernels.gaussian.driver import accumulate_tiles, log_joint_tile, prepare_tile
from fastem.kernels.gaussian.skip.bounds import (
    ROUNDING,
    bound_from,
    carry_bounds,
    list_possible,
    rebase,
)
from fastem.kernels.gaussian.skip.floors import (
    least_behind,
    least_of_tile,
    lower,
    most_fallen,
    raise_to_greatest,
)
from fastem.kernels.gaussian.skip.sorting import sort_keys
from fastem.kernels.mixtures.lanes import fill_column, gather_weights
from fastem.kernels.mixtures.products import sum_tile
from fastem.kernels.mixtures.responsibilities import (
    DENSITY,
    last_likelihood,
    log_likelihood,
    normalize_tile,
)
from fastem.kernels.runtime.compiling import inline, kernel
from fastem.kernels.runtime.parallel import next_chunk
from fastem.kernels.vectors.machine import LANES, TILE
from fastem.kernels.vectors.tiles import aligned_empty_like, fetch_start, gather_tile
from fastem.kernels.vectors.vector import fetch, load, store

_LEEWAY = 0.5  # by which T may be lower than it could


class Visit(NamedTuple):
    """How a skipping pass visits the rows.

    Parameters
    ----------
    block_rows : int
        Rows are sorted within blocks of so many.
    order : ndarray of shape (n_rows,), uint32
        Each block's rows as they are visited, relative to its first.
    keys : ndarray of shape (n_rows,) or (0,), uint16 or uint32
        Where the keys to sort the rows by go, if they are wanted.
    floors : ndarray of shape (n_tiles * TILE,), float32
        Each row's greatest logarithm of weight times density in the last pass, rounded down; in
        the order of the visit.
    least : ndarray of shape (n_tiles,)
        At most the tiles' least floors: T in (1). -inf where nothing is known.
    bounds : ndarray of shape (n_tiles * width,), float32
        b in (1), with ``width`` at least ``n_components``.
    shrink, drift, levels : ndarray of shape (width,), float32
        How bounds are carried to the present parameters. A component can be left out where its
        level minus 0.49 times the squared bound is below T.
    peaks : ndarray of shape (n_components,)
        The log-densities at the means, weights included: c in (1).
    negligible : ndarray of shape (n_components,)
        Weighted responsibilities times (1 + q) that a tile may have without adding to statistics.
    """

    block_rows: int
    order: np.ndarray
    keys: np.ndarray
    floors: np.ndarray
    least: np.ndarray
    bounds: np.ndarray
    shrink: np.ndarray
    drift: np.ndarray
    levels: np.ndarray
    peaks: np.ndarray
    negligible: np.ndarray


class Workspace(NamedTuple):
    """A thread's arrays for the tile that it works on.

    Parameters
    ----------
    rows : int64 array of TILE values
        The numbers of its rows.
    components : int64 array of width + 1 values
        The components that were evaluated for it; ``fresh`` those that are about to be.
    fresh : int64 array of ``width`` values
    greatest : array of TILE values, the rows' dtype
        Each row's greatest ``log(weight * density) - reference``, that of noise included.
    lowered : float32 array of TILE values
        The floors that follow.
    squares : float64 array of shape (n_components,)
        The greatest squared distances from the components that were evaluated.
    """

    rows: np.ndarray
    components: np.ndarray
    fresh: np.ndarray
    greatest: np.ndarray
    lowered: np.ndarray
    squares: np.ndarray


class Chosen(NamedTuple):
    """What of a batch is to be added to the statistics.

    Parameters
    ----------
    tiles : int64 array of shape (n_components, n_tiles)
        The tiles where a component's share matters, the first ``counts`` of each row.
    counts : int64 array of shape (n_components,)
    """

    tiles: np.ndarray
    counts: np.ndarray


@inline
def find_rows(X, visit, first, stop, rows):
    """The numbers of a tile's rows, and ask for their first features and what is known of them.

    The hardware's own prefetching is lost among the rows: a tile's bounds and floors, too, would be
    waited for.

    Parameters
    ----------
    X : array of shape (n_rows, n_features)
    visit : Visit
    first, stop : int
        The tile's first place in the order of the visit, and the chunk's end. Lanes behind that
        repeat the last row.
    rows : int64 array of TILE values
    """
    block = first // visit.block_rows * visit.block_rows
    order = visit.order[first:stop]
    for lane in range(TILE):
        row = block + np.intp(order[min(lane, len(order) - 1)])
        rows[lane] = row
        fetch_start(X, row)
    width = len(visit.shrink)
    for j in range(0, width, LANES):
        fetch(visit.bounds, first // TILE * width + j)
    for lane in range(0, TILE, LANES):
        fetch(visit.floors, first + lane)
        fetch(visit.order, first + TILE + lane)


@inline
def take_fresh(log_joint, n_fresh, n_listed, reference, work):
    """Take over what was evaluated of a tile.

    Parameters
    ----------
    log_joint : array
        ``log_joint[j * TILE + lane]``, as ``log_joint_tile`` writes it.
    n_fresh, n_listed : int
        How many components are in ``work.fresh``, and how many were in ``work.components``, to
        which they are added.
    reference : float, the rows' dtype
    work : Workspace
        ``greatest`` and ``lowered`` follow.
    """
    for i in range(n_fresh):
        work.components[n_listed + i] = work.fresh[i]
    raise_to_greatest(log_joint, work.fresh, n_fresh, work.greatest)
    lower(work.greatest, reference, work.lowered)


@inline
def carry_least(least, floors, number, lowered):
    """A T in (1) of ``bounds.py`` that a tile's bounds hold for.

    Parameters
    ----------
    least, floors
        Those of the :class:`Visit`.
    number : int
        The tile's.
    lowered : float32 array of TILE values
        The tile's new floors.
    """
    known = least[number]
    return known - most_fallen(floors, number * TILE, lowered) if known > -np.inf else known


@inline
def learn_bounds(log_joint, n_listed, carried, reference, visit, number, work):
    """Keep a tile's new floors, T and bounds, and find ``work.squares``.

    Parameters
    ----------
    log_joint : array
        ``log_joint[j * TILE + lane]``, relative to the reference.
    n_listed : int
        How many components are in ``work.components``.
    carried : float
        A T that the present bounds are about.
    reference : float
        What log-densities are relative to.
    visit : Visit
    number : int
        The tile's.
    work : Workspace
    """
    at = number * len(visit.shrink)
    for lane in range(0, TILE, LANES):
        store(load(work.lowered, lane, LANES), visit.floors, number * TILE + lane)
    worst = np.float64(least_of_tile(work.lowered, 0))
    if not worst - carried < _LEEWAY:
        rebase(visit.bounds, at, len(visit.shrink), worst - carried)
        carried = worst
    visit.least[number] = carried
    rounding = ROUNDING * (abs(worst) + abs(reference))
    for i in range(n_listed):
        component = work.components[i]
        peak = visit.peaks[component]
        gap = np.float64(least_behind(log_joint, component * TILE, work.greatest)) - rounding
        lowest = np.float64(least_of_tile(log_joint, component * TILE))
        visit.bounds[at + component] = bound_from(2.0 * (gap + peak - carried))
        work.squares[component] = 2.0 * (peak - reference - lowest)


@inline
def choose_components(shares, n_listed, visit, work, place, chosen):
    """Choose a tile for the components whose share in it matters to their statistics.

    Parameters
    ----------
    shares : array
        Weighted responsibilities, ``shares[j * TILE + lane]``.
    n_listed, visit, work
        As for :func:`learn_bounds`.
    place : int
        The tile's place in the batch.
    chosen : Chosen

    Returns
    -------
    n_added : int
        How many components that are.
    """
    n_added = 0
    for i in range(n_listed):
        component = work.components[i]
        share = sum_tile(shares, component * TILE)
        if share * (1.0 + work.squares[component]) > visit.negligible[component]:
            chosen.tiles[component, chosen.counts[component]] = place
            chosen.counts[component] += 1
            n_added += 1
    return n_added


@kernel
def skipping_pass(
    tickets,
    n_chunks,
    chunk_rows,
    batch,
    scratch_size,
    X,
    sample_weight,
    packed,
    centers,
    shift,
    hard,
    noise,
    visit,
    totals,
    objective,
    counted,
):
    """As ``driver.em_pass``, without what is negligible.

    Noise is part of every row's density, and so of m and T in (1) of ``bounds.py``.

    The placeholders are called here, and not in functions for one job: what they do would be
    compiled once more for each function around them, in a second or two.

    Parameters
    ----------
    chunk_rows, batch, scratch_size, X, sample_weight, packed, centers, hard, noise
    totals, objective
        As for ``em_pass``.
    shift : array of shape (n_features + LANES,), the rows' dtype
        Added to the rows; zeros behind the features.
    visit : Visit
    counted : int64 array of shape (n_chunks, 2)
        Receives the pairs of a tile and a component that were evaluated, and those that were added
        to the statistics.
    """
    n_rows, n_features = X.shape
    n_components = centers.shape[1]
    one, reference = X.dtype.type(1), X.dtype.type(packed.reference)
    noisy = noise > -np.inf
    stride = (n_components + noisy) * TILE
    width = len(visit.shrink)
    tiles = aligned_empty_like((batch * n_features + 1) * TILE, X)
    shares = aligned_empty_like(batch * stride, X)
    scratch = aligned_empty_like(scratch_size, X)
    weights, density = aligned_empty_like(TILE, X), aligned_empty_like(DENSITY, X)
    density[:] = 1.0
    keys = aligned_empty_like(TILE, X)
    next_rows = np.empty(TILE, np.int64)
    work = Workspace(
        np.empty(TILE, np.int64),
        np.empty(width + 1, np.int64),
        np.empty(width, np.int64),
        aligned_empty_like(TILE, X),
        aligned_empty_like(TILE, visit.floors),
        np.empty(n_components),
    )
    chosen = Chosen(np.empty((n_components, batch), np.int64), np.zeros(n_components, np.int64))
    while True:
        chunk = next_chunk(tickets)
        if chunk >= n_chunks:
            return
        start, stop = chunk * chunk_rows, min((chunk + 1) * chunk_rows, n_rows)
        chunk_totals = totals[chunk]
        chunk_totals[:] = 0.0
        total_density = total_weight = total_noise = 0.0
        n_evaluated = n_added = 0
        weights[:] = one
        find_rows(X, visit, start, stop, next_rows)
        for batch_start in range(start, stop, batch * TILE):
            n_tiles = 0
            for first in range(batch_start, min(batch_start + batch * TILE, stop), TILE):
                tile = tiles[n_tiles * n_features * TILE :]
                log_joint = shares[n_tiles * stride :]
                number, n_lanes = first // TILE, min(TILE, stop - first)
                for lane in range(TILE):
                    work.rows[lane] = next_rows[lane]
                    work.greatest[lane] = noise
                gather_tile(X, work.rows, one, shift, tile)
                if first + TILE < stop:
                    find_rows(X, visit, first + TILE, stop, next_rows)
                ones = len(sample_weight) == 0 and n_lanes == TILE
                if not ones:
                    gather_weights(sample_weight, work.rows, n_lanes, weights)

                prepare_tile(packed, tile, n_features, scratch)
                at = number * width
                carry_bounds(visit.bounds, at, visit.shrink, visit.drift)
                above, below, n_listed = visit.least[number], 1e38, 0
                while True:
                    n_fresh = list_possible(
                        visit.bounds, at, visit.levels, above, below, work.fresh
                    )
                    log_joint_tile(
                        packed, tile, n_features, scratch, work.fresh, n_fresh, log_joint
                    )
                    take_fresh(log_joint, n_fresh, n_listed, reference, work)
                    n_listed += n_fresh
                    carried = carry_least(visit.least, visit.floors, number, work.lowered)
                    if carried >= above:
                        break
                    # Rows turned out less probable than expected: more components may matter.
                    above, below = carried, above
                learn_bounds(log_joint, n_listed, carried, packed.reference, visit, number, work)
                if len(visit.keys):
                    sort_keys(log_joint, work.components, n_listed, work.greatest, density, keys)
                    for lane in range(n_lanes):
                        visit.keys[work.rows[lane]] = np.intp(keys[lane])

                if noisy:
                    fill_column(noise, n_components, log_joint)
                    work.components[n_listed] = n_components
                n_columns = n_listed + noisy
                normalize_tile(log_joint, n_columns, weights, hard, density, work.components)
                total_density += log_likelihood(weights, density, ones)
                if noisy:
                    total_noise += sum_tile(log_joint, n_components * TILE)
                total_weight += sum_tile(weights, 0)
                n_evaluated += n_listed
                n_added += choose_components(log_joint, n_listed, visit, work, n_tiles, chosen)
                n_tiles += 1
            for component in range(n_components):
                if chosen.counts[component]:
                    accumulate_tiles(
                        packed,
                        centers,
                        component,
                        tiles,
                        n_features,
                        chosen.tiles[component],
                        chosen.counts[component],
                        shares,
                        stride,
                        scratch,
                        chunk_totals,
                    )
                    chosen.counts[component] = 0
        objective[chunk, 0] = total_density + last_likelihood(density)
        objective[chunk, 1] = total_weight
        objective[chunk, 2] = total_noise
        counted[chunk, 0] = n_evaluated
        counted[chunk, 1] = n_added
