"""The order in which a block's rows are visited: component by component."""

import numpy as np

from fastem.kernels.runtime.compiling import inline, kernel
from fastem.kernels.runtime.parallel import next_chunk
from fastem.kernels.vectors.machine import TILE

# A sorted block is sorted anew when it has so many more mixed tiles than it had.
_UNSORTED = 1.25


@inline
def count_mixed(keys, order, start, n_rows, steps):
    """Tiles whose rows differ in ``keys // steps``; ``keys`` are the block's own."""
    n_mixed = 0
    for first in range(0, n_rows, TILE):
        mixed = False
        label = np.intp(keys[order[start + first]]) // steps
        for i in range(first + 1, min(first + TILE, n_rows)):
            mixed |= label != np.intp(keys[order[start + i]]) // steps
        n_mixed += mixed
    return n_mixed


@inline
def sort_chunk(labels, order, start, n_rows, counts):
    """Write the order by labels of a chunk's rows, those of one label in their own order."""
    counts[:] = 0
    for i in range(n_rows):
        counts[labels[i]] += 1
    before = 0
    for label in range(len(counts)):
        count = counts[label]
        counts[label] = before
        before += count
    for i in range(n_rows):
        label = labels[i]
        order[start + counts[label]] = i
        counts[label] += 1


@kernel
def sort_pass(tickets, n_blocks, block_rows, keys, n_keys, steps, order, n_mixed, is_new):
    """Sort those blocks by their rows' keys that have become much more mixed.

    Keys are from 0 to ``n_keys`` excluded, ``steps`` for each component. ``n_mixed`` are the tiles
    with rows of several components, after the last sort; ``is_new`` receives whether there was one.
    """
    counts = np.empty(n_keys, np.int64)
    while True:
        block = next_chunk(tickets)
        if block >= n_blocks:
            return
        start = block * block_rows
        n_rows = min(block_rows, len(keys) - start)
        own = keys[start : start + n_rows]
        allowed = np.intp(_UNSORTED * n_mixed[block]) + n_rows // (8 * TILE)
        is_new[block] = count_mixed(own, order, start, n_rows, steps) > allowed
        if is_new[block]:
            sort_chunk(own, order, start, n_rows, counts)
            n_mixed[block] = count_mixed(own, order, start, n_rows, steps)
