"""Rows that change clusters: written to the labels and listed, so that sums can follow."""

from typing import NamedTuple

import numpy as np

from fastem.kernels.runtime.compiling import inline
from fastem.kernels.vectors.machine import LANES, TILE
from fastem.kernels.vectors.vector import bits, count_bits, first_bit, load, store

# A chunk lists up to this share of its rows as moved; beyond it, sums are made anew.
LISTED_SHARE = 1 / 8


class Moves(NamedTuple):
    """The rows that changed clusters in a pass, listed chunk by chunk.

    Parameters
    ----------
    rows, origins : ndarray of shape (n_chunks * capacity,), int32
        In each chunk's place, rows and their clusters before, -1 for none.
    counts : ndarray of shape (n_chunks,), int64
        How many rows of each chunk have moved. If these are more than ``capacity``, the others
        aren't listed.
    capacity : int
    """

    rows: np.ndarray
    origins: np.ndarray
    counts: np.ndarray
    capacity: int


def no_moves(chunk_rows, n_chunks, share=LISTED_SHARE):
    """Empty lists, of up to this share of the rows."""
    capacity = int(chunk_rows * share)
    rows, origins = (np.empty(n_chunks * capacity, np.int32) for _ in range(2))
    return Moves(rows, origins, np.zeros(n_chunks, np.int64), capacity)


@inline
def move_row(row, label, labels, moves, chunk, n_moved):
    """Give ``row`` its new label; list the move while the chunk's list has room."""
    if n_moved < moves.capacity:
        at = chunk * moves.capacity + n_moved
        moves.rows[at] = row
        moves.origins[at] = labels[row]
    labels[row] = label
    return n_moved + 1


@inline
def move_tile(first_row, nearest, labels, moves, chunk, n_moved):
    """Compare the labels of consecutive rows with a tile's results and move those that differ."""
    n_lanes = min(TILE, len(labels) - first_row)
    if n_lanes < TILE:
        for lane in range(n_lanes):
            if labels[first_row + lane] != nearest[lane]:
                n_moved = move_row(first_row + lane, nearest[lane], labels, moves, chunk, n_moved)
        return n_moved
    for lane in range(0, TILE, LANES):
        at = first_row + lane
        new = load(nearest, lane, LANES)
        changed = bits(load(labels, at, LANES) != new)
        if changed == np.uint64(0):
            continue
        if n_moved >= moves.capacity:
            n_moved += np.intp(count_bits(changed))
        else:
            while changed != np.uint64(0):
                i = at + np.intp(first_bit(changed))
                changed &= changed - np.uint64(1)
                if n_moved < moves.capacity:
                    moves.rows[chunk * moves.capacity + n_moved] = i
                    moves.origins[chunk * moves.capacity + n_moved] = labels[i]
                n_moved += 1
        store(new, labels, at)
    return n_moved
