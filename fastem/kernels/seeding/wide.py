"""A pass of greedy k-means++ over rows of many features, of which few need be compared.

By the triangle inequality, no candidate is nearer to a row than its seed if the seed is more than
twice as far from every candidate as from the row. The rows left are compared whole.
"""

import numpy as np

from fastem.kernels.distances.direct_rows import row_distances
from fastem.kernels.distances.listed import LIST_SLACK, end_list
from fastem.kernels.runtime.compiling import inline, kernel
from fastem.kernels.runtime.parallel import next_chunk
from fastem.kernels.seeding.closest import judge_tile, sum_of_lesser, weigh
from fastem.kernels.vectors.machine import TILE
from fastem.kernels.vectors.tiles import aligned_empty_like
from fastem.kernels.vectors.vector import count_bits, first_bit

# What it costs to list a row and to spread its distances, in features compared.
_LISTING = 32
_TINY = 1e-30
_ALL = np.uint64(2**64 - 1)


@kernel
def _compare(X, rows, first, n_rows, scale, points, distances):
    # Called from three places: as a function of its own it is compiled once.
    row_distances(X, rows, first, n_rows, scale, points, distances)


@inline
def _limit(seeds, scale, candidates, margin, rows, distances, limits):
    """Write for each seed within which squared distance no candidate can be nearer to a row.

    That is where |c - s| >= 2 |x - s|, since |x - c| >= |c - s| - |x - s|. The margin makes that
    certain for the distances as they are computed; the bounds on their rounding hold for normal
    numbers only. ``rows`` and ``distances`` are scratch.
    """
    for first in range(0, len(seeds), TILE):
        n_listed = min(TILE, len(seeds) - first)
        for j in range(n_listed):
            rows[j] = first + j
        end_list(rows, n_listed, len(seeds))
        _compare(seeds, rows, 0, n_listed, scale, candidates, distances)
        for j in range(n_listed):
            least = distances[j]
            for i in range(1, len(candidates)):
                least = min(least, distances[i * TILE + j])
            limits[first + j] = least * margin if least > _TINY else -1


@inline
def _list_lanes(lanes, row, n_rows, rows, n_listed):
    """Append the rows of a tile whose bits are set; returns the list's length."""
    while lanes != np.uint64(0):
        rows[n_listed] = min(row + np.intp(first_bit(lanes)), n_rows - 1)
        lanes &= lanes - np.uint64(1)
        n_listed += 1
    return n_listed


@inline
def _settle(X, scale, last, number, tiles, known, rows, distances):
    """Bring tiles up to date with the last seed; ``rows`` and ``distances`` are scratch."""
    n_rows = len(X)
    n_listed = 0
    for tile in tiles:
        nearer = known.last_improved[tile]
        n_listed = _list_lanes(nearer, tile * TILE, n_rows, rows, n_listed)
        known.last_improved[tile] = np.uint64(0)
    end_list(rows, n_listed, n_rows)
    for first in range(0, n_listed, TILE):
        n_lanes = min(TILE, n_listed - first)
        _compare(X, rows, first, n_lanes, scale, last, distances)
        for j in range(n_lanes):
            known.closest[rows[first + j]] = distances[j]
            known.labels[rows[first + j]] = number


@inline
def _list_comparable(
    n_rows, most, tiles, known, limits, limit, tile_weight, rows, starts, comparable
):
    """List the rows of tiles that a candidate may be nearer to than their seed.

    Tile ``t``'s are ``rows[starts[t] : starts[t + 1]]``, and ``comparable[t]`` its lanes as bits:
    all if these are more than ``most``. ``limit`` and ``tile_weight`` are scratch.
    """
    n_listed = 0
    starts[0] = 0
    for t in range(len(tiles)):
        row = tiles[t] * TILE
        lanes = _ALL
        if len(limits) > 1:
            for lane in range(TILE):
                limit[lane] = limits[known.labels[row + lane]]
            _, lanes = sum_of_lesser(limit, 0, known.closest, row, tile_weight)
        if np.intp(count_bits(lanes)) > most:
            lanes = _ALL
            for lane in range(TILE):
                rows[n_listed + lane] = min(row + lane, n_rows - 1)
            n_listed += TILE
        else:
            n_listed = _list_lanes(lanes, row, n_rows, rows, n_listed)
        comparable[t] = lanes
        starts[t + 1] = n_listed
    end_list(rows, n_listed, n_rows)


@inline
def _spread(listed, lanes, n_listed, n_points, distances):
    """Put listed rows' distances into the lanes whose bits are set, infinity into the others."""
    for i in range(n_points * TILE):
        distances[i] = np.inf
    for j in range(n_listed):
        lane = np.intp(first_bit(lanes))
        lanes &= lanes - np.uint64(1)
        for i in range(n_points):
            distances[i * TILE + lane] = listed[i * TILE + j]


@kernel
def try_wide(
    tickets, n_chunks, chunk_tiles, tiles, X, scale, weight, last, seeds, margin, known, trial
):
    """Bring tiles up to date with the last seed and compare them with the candidates.

    Parameters
    ----------
    tiles : int64 array
        The tiles' numbers, of which a chunk takes ``chunk_tiles``.
    X : array of shape (n_rows, n_features)
    scale : X.dtype
        A power of two that brings the rows' distances near one.
    weight : float64 array of n_rows values, or of none
    last : array of shape (2, n_features)
        The last seed, from ``pad_points``.
    seeds : array of shape (n_seeds, n_features)
        All of them, the last included, as rows of the data.
    margin : X.dtype
        A quarter, less what rounding may make of two distances.
    known : Known
    trial : Trial
        Without candidates the tiles are only brought up to date.
    """
    n_rows, n_features = X.shape
    candidates = trial.points
    # Some values more than a tile's distances: those of pairs reach beyond.
    distances = aligned_empty_like(TILE * (len(candidates) + 2), X)
    listed = aligned_empty_like(TILE * (len(candidates) + 2), X)
    limits = np.zeros(len(seeds) + 1, X.dtype)  # the last is that of no seed
    tile_weight = np.empty(TILE)
    rows = np.empty(chunk_tiles * TILE + LIST_SLACK, np.int32)
    starts = np.empty(chunk_tiles + 1, np.int32)
    comparable = np.empty(chunk_tiles, np.uint64)
    # With more rows of a tile to be compared, it is faster to compare all.
    most = TILE * n_features // (n_features + _LISTING)
    if len(candidates) > 0:
        _limit(seeds, scale, candidates, margin, rows, distances, limits)
    while True:
        chunk = next_chunk(tickets)
        if chunk >= n_chunks:
            return
        own = tiles[chunk * chunk_tiles : (chunk + 1) * chunk_tiles]
        _settle(X, scale, last, np.int32(len(seeds) - 1), own, known, rows, distances)
        if len(candidates) == 0:
            continue
        _list_comparable(
            n_rows, most, own, known, limits, listed, tile_weight, rows, starts, comparable
        )
        for t in range(len(own)):
            n_listed = starts[t + 1] - starts[t]
            whole = n_listed == TILE
            target = distances if whole else listed
            _compare(X, rows, starts[t], n_listed, scale, candidates, target)
            if not whole:
                _spread(listed, comparable[t], n_listed, len(candidates), distances)
            weigh(weight, own[t] * TILE, n_rows, tile_weight)
            judge_tile(distances, own[t], known.closest, tile_weight, trial)
