"""What clusters lose without their centres: their rows' second nearest ones.

A cluster's rows are gathered into tiles, whose nearest centre is looked for among all others.
"""

from typing import NamedTuple

import numpy as np

from fastem.kernels.distances.metric import compare_tile, row_distance
from fastem.kernels.distances.sparse import distances_of_row
from fastem.kernels.distances.tile_nearest import BLOCK
from fastem.kernels.medians.members import count_members, members_of
from fastem.kernels.runtime.arrays import write_row
from fastem.kernels.runtime.chunks import round_up
from fastem.kernels.runtime.compiling import kernel
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
    others = np.empty(round_up(n_clusters - 1, BLOCK), np.int32)
    while True:
        chunk = next_chunk(tickets)
        if chunk >= n_chosen:
            return
        cluster = chosen[chunk]
        for i in range(len(others)):
            others[i] = min(i + (i >= cluster), n_clusters)  # behind the last is no centre
        own_losses, own_weights = np.zeros(n_clusters), np.zeros(n_clusters)
        for first in range(starts[cluster], starts[cluster + 1], TILE):
            n_lanes = min(TILE, starts[cluster + 1] - first)
            if tiled:
                for lane in range(TILE):
                    rows[lane] = members[first + min(lane, n_lanes - 1)]
                gather_tile(X, rows, scale, shift, tile)
                compare_tile(packed, tile, n_features, others, norms, best, second, nearest)
            for lane in range(n_lanes):
                row = np.intp(members[first + lane])
                if tiled:
                    to = nearest[lane]
                    distance = row_distance(packed, X, row, centers, to)
                else:
                    to, distance = np.int32(0), np.inf
                    for i in range(n_clusters - 1):
                        another = row_distance(packed, X, row, centers, others[i])
                        if another < distance:
                            to, distance = others[i], another
                loss = max(distance - row_distance(packed, X, row, centers, cluster), 0.0)
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
