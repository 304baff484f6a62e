"""Crowds: centres of a group that are as one to rows beyond it.

To find rows' bounds on their distances beyond their group, once centres have been grouped, rows
need not be compared with all: the mean of centres that are very near each other stands for them,
with an error that is their radius times the row's length.
"""

from typing import NamedTuple

import numpy as np

from fastem.kernels.distances.one_row import direct_distance, direct_product
from fastem.kernels.kmeans.bytewise.groups import is_within
from fastem.kernels.runtime.arrays import read_only
from fastem.kernels.runtime.compiling import kernel
from fastem.kernels.runtime.parallel import next_chunk, run

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
    tickets, n_chunks, X, rows, labels, origin, centers, numbers, crowd_groups, means, halves,
    rests, opened,
):  # fmt: skip
    while True:
        i = next_chunk(tickets)
        if i >= n_chunks:
            return
        row, label = rows[i], np.intp(labels[rows[i]])
        norm = direct_distance(X, row, origin, 0)
        own = 0.5 * (direct_distance(X, row, centers, label) - norm)
        for crowd in range(len(means)):
            if crowd_groups[crowd] == numbers[label]:
                continue
            score = halves[crowd] - direct_product(X, row, origin[0], means, crowd)
            if score - np.sqrt(norm) * rests[crowd] <= own:
                opened[i] = True
                break


def share_opened(X, rows, labels, origin, centers, groups, crowds, means, radii):
    """The share of rows that may be nearer to a crowd of another group than to their centre.

    Compiled, as NumPy's matrix product would wake threads of its own, which wait for more to do on
    the processors that ours need: a fit of 0.6 s of CPU time took 0.1 s more.

    Parameters
    ----------
    X : array of shape (n_rows, n_features)
    rows : int64 array
        The numbers of those to look at.
    labels : int32 array of shape (n_rows,)
    origin : float64 array of shape (n_features,)
        From where codes tell places.
    centers : float64 array of shape (n_clusters, n_features)
    groups : Groups
    crowds, means, radii
        As of :func:`crowd_centers`, in the rows' units, the means relative to the origin.

    Returns
    -------
    float
    """
    squares = np.einsum("ij,ij->i", means, means)
    opened = np.zeros(len(rows), np.bool_)
    run(
        _count_opened, len(rows), X, rows, labels, read_only(origin[np.newaxis]),
        read_only(centers), groups.numbers, crowds.groups, means, 0.5 * squares,
        radii + _CODED * np.sqrt(squares), opened,
    )  # fmt: skip
    return float(opened.mean())
