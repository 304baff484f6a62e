"""Groups of near centres: a row whose other centres are all far is compared with its group only.

Where clusters are parts of larger ones, as with many clusters they often are, several centres are
about as near to a row as its own, and all others much farther. So next to a row's bound on its
second nearest centre there is one on the distances from all centres beyond its group. It holds as
long as it exceeds the distance from its own centre, which is computed, by what the fastest of those
centres have moved since. What is compared in place of a group is all blocks that it touches.
"""

from typing import NamedTuple

import numpy as np

from fastem.kernels.kmeans.bytewise.tiles import BLOCK
from fastem.kernels.runtime.compiling import inline, kernel
from fastem.kernels.vectors.machine import LANES, TILE
from fastem.kernels.vectors.tiles import aligned_empty_like, first_lanes, gather_tile
from fastem.kernels.vectors.vector import (
    bits,
    broadcast,
    first_bit,
    lanes_of,
    load,
    multiply_add,
    sum_of_lanes,
)

# A group's blocks hold up to this share of the centres on average: alone, one is compared in the
# time that a tile of bytes takes for some five.
_MOST_SHARE = 1 / 32

# To find groups takes up to about a tenth of a pass, and much less where so many centres show that
# there are few: not this share of them belongs to another one's group.
_ROWS_A_GROUP = 200
_TRIED, _LEAST_TOGETHER = 512, 1 / 64

# After so many features it is seen whether two centres are already too far apart.
_FEATURES = 64


class Groups(NamedTuple):
    """Which centres belong together.

    Parameters
    ----------
    numbers : ndarray of shape (n_clusters,), int32
        Each cluster's group.
    firsts, counts : ndarrays of shape (n_groups,), int32
        Each group's first block of centres, and how many it touches; 0 if all is one group.
    order, places : ndarrays of shape (n_clusters,), int32
        The clusters, group by group, and where each is among them; empty if all is one group.
    """

    numbers: np.ndarray
    firsts: np.ndarray
    counts: np.ndarray
    order: np.ndarray
    places: np.ndarray


class Away(NamedTuple):
    """How far the centres are from where the rows' outer bounds saw them.

    Parameters
    ----------
    fast : ndarray of int32
        Centres that are farther than the others, the farthest first, in whole blocks: rows are
        compared with these besides their group.
    reaches : ndarray of len(fast) / BLOCK + 1 values, float64
        At least how far any is, in scaled units, but for the first 0, 1, ... blocks of ``fast`` and
        but for all of them; the last is infinite if nothing is known.
    greatest : float
        At least how far any is.
    """

    fast: np.ndarray
    reaches: np.ndarray
    greatest: float


@inline
def is_within(square, centers, one, other):
    """Whether the squared distance of two centres is no greater: mostly, some features tell."""
    n_features, lanes = centers.shape[1], lanes_of(centers)
    total = 0.0
    for start in range(0, n_features, _FEATURES):
        stop = min(start + _FEATURES, n_features)
        whole = start + (stop - start) // lanes * lanes
        sums = broadcast(centers.dtype.type(0), lanes)
        for f in range(start, whole, lanes):
            apart = load(centers[one], f, lanes) - load(centers[other], f, lanes)
            sums = multiply_add(apart, apart, sums)
        total += sum_of_lanes(sums)
        for f in range(whole, stop):
            total += (centers[one, f] - centers[other, f]) ** 2
        if total > square:
            return False
    return True


@inline
def _lanes_within(square, tile, centers, one, wanted):
    """Which of the wanted lanes of a tile are no farther from a centre than ``is_within`` says."""
    n_features, lanes = centers.shape[1], lanes_of(centers)
    limit = broadcast(centers.dtype.type(square), lanes)
    found = np.uint64(0)
    for lane in range(0, TILE, 4 * lanes):
        first = broadcast(centers.dtype.type(0), lanes)
        second, third, fourth = first, first, first
        within = wanted >> np.uint64(lane)
        for start in range(0, n_features, _FEATURES):
            for f in range(start, min(start + _FEATURES, n_features)):
                own, at = broadcast(centers[one, f], lanes), f * TILE + lane
                apart = load(tile, at, lanes) - own
                first = multiply_add(apart, apart, first)
                apart = load(tile, at + lanes, lanes) - own
                second = multiply_add(apart, apart, second)
                apart = load(tile, at + 2 * lanes, lanes) - own
                third = multiply_add(apart, apart, third)
                apart = load(tile, at + 3 * lanes, lanes) - own
                fourth = multiply_add(apart, apart, fourth)
            within &= (
                bits(first <= limit)
                | bits(second <= limit) << np.uint64(lanes)
                | bits(third <= limit) << np.uint64(2 * lanes)
                | bits(fourth <= limit) << np.uint64(3 * lanes)
            )
            if within == np.uint64(0):
                break
        found |= within << np.uint64(lane)
    return found


@kernel
def _find_groups(centers, square, most, numbers):
    """Give each centre the number of the first leader within reach; how many there are.

    More than ``most`` if there are more, or if it seems so. A tile of centres is compared with the
    leaders one by one: 500 of 768 features took twice as long, each with each.
    """
    n_clusters, n_features = centers.shape
    tile = aligned_empty_like(n_features * TILE, centers)
    shift = np.zeros(n_features + LANES, centers.dtype)
    rows = np.empty(TILE, np.int32)
    leaders = np.empty(most, np.int64)
    n = 0
    for j in range(0, n_clusters, TILE):
        if j == _TRIED and n > _TRIED * (1 - _LEAST_TOGETHER):
            return most + 1
        for lane in range(TILE):
            rows[lane] = min(j + lane, n_clusters - 1)
        gather_tile(centers, rows, centers.dtype.type(1), shift, tile)
        wanted = first_lanes(min(TILE, n_clusters - j))
        group = 0
        while wanted != np.uint64(0):
            within = np.uint64(0)
            if group == n:
                if n == most:
                    return most + 1
                within = first_bit(wanted)
                leaders[n] = j + np.intp(within)
                within = np.uint64(1) << within
                n += 1
            within |= _lanes_within(square, tile, centers, leaders[group], wanted)
            wanted &= ~within
            while within != np.uint64(0):
                numbers[j + np.intp(first_bit(within))] = group
                within &= within - np.uint64(1)
            group += 1
    return n


def no_groups(n_clusters):
    """All in one group."""
    zeros = np.zeros(max(n_clusters, 1), np.int32)
    return Groups(zeros, zeros[:1], zeros[:1], zeros[:0], zeros[:0])


def group_centers(centers, half_norms, square, n_rows):
    """Group centres that are nearer each other than most rows are to their own.

    Parameters
    ----------
    centers : ndarray of shape (n_clusters, n_features), float32 or float64
    half_norms : float32 array of shape (n_clusters + 1,)
        As ``tile_nearest.pack_centers`` writes them.
    square : float
        Within which squared distance from a group's first centre its others are.
    n_rows : int

    Returns
    -------
    Groups
    """
    n_clusters = len(centers)
    numbers = np.empty(n_clusters, np.int32)
    most = min(n_clusters // 2, n_rows // _ROWS_A_GROUP)
    n_groups = _find_groups(centers, square, most, numbers)
    if n_groups > most:
        return no_groups(n_clusters)
    order = np.lexsort((half_norms[:-1], numbers)).astype(np.int32)
    ends = np.cumsum(np.bincount(numbers, minlength=n_groups))
    firsts = np.concatenate([[0], ends[:-1]]) // BLOCK
    counts = (ends - 1) // BLOCK + 1 - firsts
    if BLOCK * counts[numbers].mean() > _MOST_SHARE * n_clusters:
        return no_groups(n_clusters)
    places = np.empty(n_clusters, np.int32)
    places[order] = np.arange(n_clusters)
    return Groups(numbers, firsts.astype(np.int32), counts.astype(np.int32), order, places)
