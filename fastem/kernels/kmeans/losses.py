"""What clusters lose without their centres: their rows' second nearest ones.

A cluster's rows are gathered into tiles, whose nearest centre is looked for among those others that
can be it for any of them: none is farther from the cluster's own centre than the nearest one and
twice the longest way of these rows to their own.
"""

from typing import NamedTuple

import numpy as np

from fastem.kernels.distances.metric import compare_tile, length_between, row_distance
from fastem.kernels.distances.sparse import distances_of_row
from fastem.kernels.distances.tile_nearest import BLOCK
from fastem.kernels.medians.members import count_members, members_of
from fastem.kernels.runtime.arrays import write_row
from fastem.kernels.runtime.chunks import round_up
from fastem.kernels.runtime.compiling import inline, kernel
from fastem.kernels.runtime.parallel import next_chunk, run
from fastem.kernels.vectors.machine import TILE
from fastem.kernels.vectors.tiles import aligned_empty, gather_tile, tiles_fit


class Losses(NamedTuple):
    """What the rows of some clusters lose if they go to their second nearest centres.

    Of two parts of the data, they add up.

    Parameters
    ----------
    losses : ndarray of shape (n_chosen, n_clusters)
        By how much the distances of the rows that go from one cluster to another are larger there,
        weighted.
    weights : ndarray of shape (n_chosen, n_clusters)
        The weights of these rows.
    """

    losses: np.ndarray
    weights: np.ndarray


# Of more features, few centres are out of reach, and it takes long to tell.
_NARROW = 8
# Covers the rounding of lengths.
_SLACK = 1 + 1e-9


@inline
def _measure_apart(packed, centers, cluster, apart):
    """Write how far the other centres are from a cluster's own; return the least."""
    least = np.inf
    for j in range(len(centers)):
        if j != cluster:
            apart[j] = length_between(packed, centers, cluster, centers, j)
            least = min(least, apart[j])
    return least


@inline
def _list_near(cluster, apart, reach, others):
    """List the other centres that aren't out of reach, in whole blocks; return their number."""
    n_near = 0
    for j in range(len(apart)):
        others[n_near] = j
        n_near += (j != cluster) & (not apart[j] > reach)
    while n_near % BLOCK > 0:
        others[n_near] = len(apart)  # no centre
        n_near += 1
    return n_near


@kernel
def _dense_losses(
    tickets,
    n_chosen,
    chosen,
    members,
    starts,
    X,
    scale,
    shift,
    sample_weight,
    packed,
    centers,
    losses,
    weights,
):
    n_features, n_clusters = X.shape[1], len(centers)
    tiled = tiles_fit(X)
    tile = aligned_empty(n_features * TILE if tiled else 0)
    norms, best, second = aligned_empty(TILE), aligned_empty(TILE), aligned_empty(TILE)
    nearest = np.empty(TILE, np.int32)
    rows = np.empty(TILE, np.int32)
    others = np.empty(round_up(n_clusters, BLOCK), np.int32)
    apart, own = np.zeros(n_clusters), np.empty(TILE)
    while True:
        chunk = next_chunk(tickets)
        if chunk >= n_chosen:
            return
        cluster = chosen[chunk]
        least_apart = np.inf
        if n_features <= _NARROW:
            least_apart = _measure_apart(packed, centers, cluster, apart)
        own_losses, own_weights = np.zeros(n_clusters), np.zeros(n_clusters)
        for first in range(starts[cluster], starts[cluster + 1], TILE):
            n_lanes = min(TILE, starts[cluster + 1] - first)
            farthest = 0
            for lane in range(TILE):
                rows[lane] = members[first + min(lane, n_lanes - 1)]
            for lane in range(n_lanes):
                own[lane] = row_distance(packed, X, np.intp(rows[lane]), centers, cluster)
                farthest = lane if own[lane] > own[farthest] else farthest
            longest = length_between(packed, X, np.intp(rows[farthest]), centers, cluster)
            n_near = _list_near(cluster, apart, (least_apart + 2.0 * longest) * _SLACK, others)
            if tiled:
                gather_tile(X, rows, scale, shift, tile)
                compare_tile(
                    packed, tile, n_features, others[:n_near], norms, best, second, nearest
                )
            for lane in range(n_lanes):
                row = np.intp(rows[lane])
                if tiled:
                    to = nearest[lane]
                    distance = row_distance(packed, X, row, centers, to)
                else:
                    to, distance = np.int32(0), np.inf
                    for i in range(n_near):
                        if others[i] == n_clusters:
                            break
                        another = row_distance(packed, X, row, centers, others[i])
                        if another < distance:
                            to, distance = others[i], another
                loss = max(distance - own[lane], 0.0)
                weight = sample_weight[row] if len(sample_weight) else 1.0
                own_losses[to] += loss * weight
                own_weights[to] += weight
        write_row(own_losses, losses, chunk)
        write_row(own_weights, weights, chunk)


@kernel
def _sparse_losses(
    tickets, n_chosen, chosen, members, starts, rows, sample_weight, packed, losses, weights
):
    n_clusters = len(packed.high)
    sums, distances = np.empty((2, n_clusters)), np.empty(n_clusters)
    while True:
        chunk = next_chunk(tickets)
        if chunk >= n_chosen:
            return
        cluster = chosen[chunk]
        own_losses, own_weights = np.zeros(n_clusters), np.zeros(n_clusters)
        for i in range(starts[cluster], starts[cluster + 1]):
            row = np.intp(members[i])
            distances_of_row(rows, row, packed, sums, distances)
            to, distance = 0, np.inf
            for j in range(n_clusters):
                if j != cluster and distances[j] < distance:
                    to, distance = j, distances[j]
            weight = sample_weight[row] if len(sample_weight) else 1.0
            own_losses[to] += max(distance - distances[cluster], 0.0) * weight
            own_weights[to] += weight
        write_row(own_losses, losses, chunk)
        write_row(own_weights, weights, chunk)


def _members(chosen, n_clusters, labels, sample_weight, chunk_rows, n_chunks):
    """The rows of the chosen clusters, and where each cluster's begin."""
    counts = np.empty((n_chunks, n_clusters), np.int64)
    run(count_members, n_chunks, chunk_rows, labels, sample_weight, counts)
    wanted = np.zeros(n_clusters, bool)
    wanted[chosen] = True
    return members_of(wanted, labels, sample_weight, chunk_rows, counts)


def _empty(chosen, n_clusters):
    return Losses(*(np.empty((len(chosen), n_clusters)) for _ in range(2)))


def dense_losses(
    X, scale, shift, sample_weight, labels, chunk_rows, n_chunks, packed, centers, chosen
):
    """The losses of some clusters of dense rows.

    Parameters
    ----------
    X : array of shape (n_rows, n_features)
    scale, shift
        What brings rows into a tile's units, as ``tiles.py`` says.
    sample_weight : float64 array of n_rows values, or of none
    labels : int32 array of shape (n_rows,)
    chunk_rows, n_chunks : int
    packed : NamedTuple
        The centres, as the metric packs them.
    centers : float64 array of shape (n_clusters, n_features)
        Two at least.
    chosen : int array of shape (n_chosen,)
        The clusters.

    Returns
    -------
    Losses
    """
    found = _empty(chosen, len(centers))
    members, starts = _members(chosen, len(centers), labels, sample_weight, chunk_rows, n_chunks)
    run(
        _dense_losses,
        len(chosen),
        chosen,
        members,
        starts,
        X,
        scale,
        shift,
        sample_weight,
        packed,
        centers,
        *found,
    )
    return found


def sparse_losses(rows, sample_weight, labels, chunk_rows, n_chunks, packed, chosen):
    """As :func:`dense_losses`, of CSR rows; ``packed`` is a SparsePacked."""
    n_clusters = len(packed.high)
    found = _empty(chosen, n_clusters)
    members, starts = _members(chosen, n_clusters, labels, sample_weight, chunk_rows, n_chunks)
    run(
        _sparse_losses,
        len(chosen),
        chosen,
        members,
        starts,
        rows,
        sample_weight,
        packed,
        *found,
    )
    return found
