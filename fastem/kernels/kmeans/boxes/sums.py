"""The clusters' sums of rows that lie in tiles.

Those of each chunk stand in a row of float64 values, cluster after cluster: the sums of
``w * (x - origin)``, of the weights, and the number of rows whose weight isn't zero.
"""

import numpy as np

from fastem.kernels.runtime.compiling import inline
from fastem.kernels.vectors.machine import LANES, TILE
from fastem.kernels.vectors.vector import (
    bits,
    broadcast,
    double,
    first_bit,
    load,
    multiply_add,
    store,
    sum_of_lanes,
)


@inline
def load_weights(sample_weight, rows, n_lanes, weights):
    """The weights of a tile's rows, and 0 in the lanes behind the last one."""
    for lane in range(TILE):
        weights[lane] = np.float64(lane < n_lanes)
    if len(sample_weight):
        for lane in range(n_lanes):
            weights[lane] = sample_weight[rows[lane]]


@inline
def sum_tile(tile, origin, weights, totals):
    """Write the sums of a tile's rows, as of one cluster."""
    n_features = len(origin)
    for f in range(n_features):
        total = broadcast(0.0, LANES)
        for lane in range(0, TILE, LANES):
            values = double(load(tile, f * TILE + lane, LANES)) - broadcast(origin[f], LANES)
            total = multiply_add(values, load(weights, lane, LANES), total)
        totals[f] = sum_of_lanes(total)
    weight, count = 0.0, 0.0
    for lane in range(TILE):
        weight += weights[lane]
        count += np.float64(weights[lane] != 0.0)
    totals[n_features], totals[n_features + 1] = weight, count


@inline
def add_tile(tile_totals, label, totals):
    """Add a tile's sums to a cluster's."""
    start = label * len(tile_totals)
    for i in range(len(tile_totals)):
        totals[start + i] += tile_totals[i]


@inline
def add_rows(tile, tile_totals, owner, labels, origin, weights, n_lanes, totals):
    """Add a tile's rows to the sums of their clusters, at once if one has them all.

    Parameters
    ----------
    owner : int32
        This one; -1 if they have several.
    weights : float64 array of TILE values
        Not looked at if one has them all.
    """
    if owner >= 0:
        add_tile(tile_totals, owner, totals)
        return
    for lane in range(n_lanes):
        move_row(tile, lane, origin, weights[lane], np.int32(-1), labels[lane], totals)


@inline
def move_whole(tile_totals, old, new, totals):
    """Take a tile's sums out of one cluster's, and add them to another's."""
    old_start, new_start = old * len(tile_totals), new * len(tile_totals)
    for i in range(len(tile_totals)):
        totals[old_start + i] -= tile_totals[i]
        totals[new_start + i] += tile_totals[i]


@inline
def move_row(tile, lane, origin, weight, old, new, totals):
    """Take a row out of a cluster's sums, if it had one, and add it to another's."""
    n_features = len(origin)
    old_start, new_start = old * (n_features + 2), new * (n_features + 2)
    for f in range(n_features):
        addend = weight * (np.float64(tile[f * TILE + lane]) - origin[f])
        totals[new_start + f] += addend
        if old >= 0:
            totals[old_start + f] -= addend
    counted = np.float64(weight != 0.0)
    totals[new_start + n_features] += weight
    totals[new_start + n_features + 1] += counted
    if old >= 0:
        totals[old_start + n_features] -= weight
        totals[old_start + n_features + 1] -= counted


@inline
def move_lanes(tile, origin, sample_weight, rows, n_lanes, nearest, labels, totals):
    """Give a tile's rows their new labels, and move those that differ; how many do.

    Parameters
    ----------
    rows : int32 array of TILE values
        Their numbers.
    nearest, labels : int32 arrays of TILE values
        The new labels and the old ones, which become the new.
    """
    n_moved = 0
    for first in range(0, TILE, LANES):
        new = load(nearest, first, LANES)
        changed = bits(load(labels, first, LANES) != new)
        while changed != np.uint64(0):
            lane = first + np.intp(first_bit(changed))
            changed &= changed - np.uint64(1)
            if lane < n_lanes:
                weight = sample_weight[rows[lane]] if len(sample_weight) else 1.0
                move_row(tile, lane, origin, weight, labels[lane], nearest[lane], totals)
                n_moved += 1
        store(new, labels, first)
    return n_moved


@inline
def forget_empty(n_clusters, n_features, totals):
    """Zero the sums of clusters without rows: subtraction leaves rounding errors there."""
    width = n_features + 2
    for j in range(n_clusters):
        if totals[j * width + n_features + 1] == 0.0:
            for i in range(j * width, (j + 1) * width):
                totals[i] = 0.0
