"""Rows that change clusters: written to the labels and listed, so that sums can follow."""

import numpy as np

from fastem.kernels.compiling import inline
from fastem.kernels.simd import LANES, TILE, bits, count_bits, first_bit, load, store


@inline
def move_row(row, label, labels, moved_rows, moved_from, n_moved, first, capacity):
    """Give ``row`` its new label; list the move while the chunk's list has room."""
    if n_moved < capacity:
        moved_rows[first + n_moved] = row
        moved_from[first + n_moved] = labels[row]
    labels[row] = label
    return n_moved + 1


@inline
def move_tile(first_row, nearest, labels, moved_rows, moved_from, n_moved, first, capacity):
    """Compare the labels of consecutive rows with a tile's results and move those that differ."""
    n_lanes = min(TILE, len(labels) - first_row)
    if n_lanes < TILE:
        for lane in range(n_lanes):
            if labels[first_row + lane] != nearest[lane]:
                n_moved = move_row(
                    first_row + lane,
                    nearest[lane],
                    labels,
                    moved_rows,
                    moved_from,
                    n_moved,
                    first,
                    capacity,
                )
        return n_moved
    for lane in range(0, TILE, LANES):
        at = first_row + lane
        new = load(nearest, lane, LANES)
        changed = bits(load(labels, at, LANES) != new)
        if changed == np.uint64(0):
            continue
        if n_moved >= capacity:
            n_moved += np.intp(count_bits(changed))
        else:
            while changed != np.uint64(0):
                i = at + np.intp(first_bit(changed))
                changed &= changed - np.uint64(1)
                if n_moved < capacity:
                    moved_rows[first + n_moved] = i
                    moved_from[first + n_moved] = labels[i]
                n_moved += 1
        store(new, labels, at)
    return n_moved
