"""Crowds: centres of a group that are as one to rows beyond it.

To find rows' bounds on their distances beyond their group, once centres have been grouped, rows
need not be compared with all: the mean of centres that are very near each other stands for them,
with an error that is their radius times the row's length.
"""

from typing import NamedTuple

import numpy as np

from fastem.kernels.distances.one_row import direct_distance
from fastem.kernels.distances.tile_nearest import nearest_two_of_all, pad_order, squared_norms
from fastem.kernels.kmeans.bytewise.groups import is_within
from fastem.kernels.runtime.arrays import read_only
from fastem.kernels.runtime.compiling import kernel
from fastem.kernels.vectors.machine import LANES, TILE
from fastem.kernels.vectors.tiles import aligned_empty, first_lanes, gather_tile
from fastem.kernels.vectors.vector import bits, broadcast, count_bits, first_bit, load

# Of the products of a row's and a crowd's lengths, codes of bytes leave about so much.
_CODED = 1 / 64

# There are no more crowds than this share of the centres.
_MOST_CROWDS = 0.6


class Crowds(NamedTuple):
    """Centres of a group that are very near each other, whose mean can stand for all of them.

    Parameters
    ----------
    members : ndarray of shape (n_clusters,), int32
        The clusters, crowd by crowd.
    ends : ndarray of shape (n_crowds + 1,), int64
        Where each crowd begins, and where all end.
    groups : ndarray of shape (n_crowds,), int32
    """

    members: np.ndarray
    ends: np.ndarray
    groups: np.ndarray


@kernel
def _find_crowds(centers, groups, square, most, numbers):
    """Give each centre the number of its group's first leader within reach; how many there are.

    More than ``most`` if there are more. Crowds are numbered group by group.
    """
    order, members = groups.order, groups.numbers
    leaders = np.empty(most, np.int64)
    n = first = 0
    for i in range(len(order)):
        j = order[i]
        if i > 0 and members[j] != members[order[i - 1]]:
            first = n
        crowd = first
        while crowd < n and not is_within(square, centers, j, leaders[crowd]):
            crowd += 1
        if crowd == n:
            if n == most:
                return most + 1
            leaders[n] = j
            n += 1
        numbers[j] = crowd
    return n


@kernel
def _measure_crowds(centers, members, ends, means, radii):
    """Write each crowd's mean, and how far its farthest member is from it."""
    n_features = centers.shape[1]
    for crowd in range(len(means)):
        first, last = ends[crowd], ends[crowd + 1]
        mean, greatest = means[crowd], 0.0
        for i in range(first, last):
            member = members[i]
            for f in range(n_features):
                mean[f] += centers[member, f] / (last - first)
        for i in range(first, last):
            greatest = max(greatest, direct_distance(centers, members[i], means, crowd))
        radii[crowd] = np.sqrt(greatest)


def crowd_centers(centers, groups, square):
    """Find crowds; what lies between a crowd's mean and its members.

    Parameters
    ----------
    centers : ndarray of shape (n_clusters, n_features), float32 or float64
    groups : Groups
        Not all in one.
    square : float
        Within which squared distance from a crowd's first centre its others are.

    Returns
    -------
    None
        If a comparison with all crowds would take nearly as long as one with all centres.
    crowds : Crowds
        By their radius.
    means : float64 array of shape (n_crowds, n_features)
    radii : float64 array of shape (n_crowds,)
    """
    n_clusters = len(centers)
    numbers = np.empty(n_clusters, np.int32)
    most = int(_MOST_CROWDS * n_clusters)
    n_crowds = _find_crowds(centers, groups, square, most, numbers)
    if n_crowds > most:
        return None
    members = np.argsort(numbers, kind="stable")
    counts = np.bincount(numbers, minlength=n_crowds)
    firsts = np.cumsum(counts) - counts
    means, radii = np.zeros((n_crowds, centers.shape[1])), np.empty(n_crowds)
    _measure_crowds(centers, members, np.append(firsts, n_clusters), means, radii)
    by_radius = np.argsort(radii, kind="stable")
    rank = np.empty(n_crowds, np.int64)
    rank[by_radius] = np.arange(n_crowds)
    members = np.argsort(rank[numbers], kind="stable").astype(np.int32)
    ends = np.concatenate([[0], np.cumsum(counts[by_radius])])
    crowds = Crowds(members, ends, groups.numbers[members[ends[:-1]]])
    return crowds, means[by_radius], radii[by_radius]


@kernel
def _count_opened(
    X, rows, labels, scale, shift, centers, numbers, crowd_groups, negated, halves, rests, order,
):  # fmt: skip
    n_features, n_rows = X.shape[1], len(rows)
    tile, norms = aligned_empty(n_features * TILE), aligned_empty(TILE)
    best, second, nearest = aligned_empty(TILE), aligned_empty(TILE), np.empty(TILE, np.int32)
    scores = aligned_empty(len(order) * TILE)
    own, lengths, groups = aligned_empty(TILE), aligned_empty(TILE), np.empty(TILE, np.int32)
    numbers_of_rows = np.empty(TILE, np.int64)
    for lane in range(TILE):
        numbers_of_rows[lane] = rows[min(lane, n_rows - 1)]
    gather_tile(X, numbers_of_rows, scale, shift, tile)
    squared_norms(tile, n_features, norms)
    nearest_two_of_all(
        tile, n_features, negated, halves, order, 0, len(order), best, second, nearest, scores
    )
    for lane in range(TILE):
        row = numbers_of_rows[lane]
        label = np.intp(labels[row])
        square = direct_distance(X, row, centers, label) * np.float64(scale) ** 2
        own[lane] = 0.5 * (square - norms[lane])
        lengths[lane] = np.sqrt(norms[lane])
        groups[lane] = numbers[label]
    opened, wanted = np.uint64(0), first_lanes(n_rows)
    for crowd in range(len(crowd_groups)):
        rest = broadcast(rests[crowd], LANES)
        for lane in range(0, TILE, LANES):
            low = load(scores, crowd * TILE + lane, LANES) - load(lengths, lane, LANES) * rest
            near = bits(low <= load(own, lane, LANES)) << np.uint64(lane)
            near &= wanted & ~opened
            while near != np.uint64(0):
                i = first_bit(near)
                near &= near - np.uint64(1)
                if groups[np.intp(i)] != crowd_groups[crowd]:
                    opened |= np.uint64(1) << i
    return count_bits(opened)


def share_opened(X, rows, labels, scale, shift, centers, groups, crowds, means, radii):
    """The share of rows that may be nearer to a crowd of another group than to their centre.

    Compiled, as NumPy's matrix product would wake threads of its own, which wait for more to do on
    the processors that ours need: a fit of 0.6 s of CPU time took 0.1 s more.

    Parameters
    ----------
    X : array of shape (n_rows, n_features)
    rows : int64 array
        The numbers of those to look at, no more than ``TILE``.
    labels : int32 array of shape (n_rows,)
    scale, shift
        What brings rows into a tile's units, as ``tiles.py`` says.
    centers : float64 array of shape (n_clusters, n_features)
    groups : Groups
    crowds, means, radii
        As of :func:`crowd_centers` for centres as ``tile_nearest.pack_centers`` writes them.

    Returns
    -------
    float
    """
    n_crowds = len(means)
    squares = np.einsum("ij,ij->i", means, means)
    negated = np.zeros((n_crowds + 1, X.shape[1]), np.float32)  # and no centre, as padding
    negated[:-1] = means
    opened = _count_opened(
        read_only(X), rows, labels, scale, shift, read_only(centers), groups.numbers,
        crowds.groups, negated, np.append(0.5 * squares, np.inf).astype(np.float32),
        (radii + _CODED * np.sqrt(squares)).astype(np.float32),
        pad_order(np.arange(n_crowds), n_crowds),
    )  # fmt: skip
    return int(opened) / len(rows)
