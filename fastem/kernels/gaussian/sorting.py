"""The order in which a chunk's rows are visited: component by component."""

import numpy as np

from fastem.kernels.compiling import inline, kernel
from fastem.kernels.parallel import next_chunk
from fastem.kernels.simd import TILE

# A sorted chunk is sorted anew when it has so many more mixed tiles than it had.
_UNSORTED = 1.25


@inline
def count_mixed(labels, order, start, n_rows):
    """Tiles whose rows differ in their labels; ``labels`` and ``order`` are in the chunk."""
    n_mixed = 0
    for first in range(0, n_rows, TILE):
        mixed = False
        label = labels[order[start + first]]
        for i in range(first + 1, min(first + TILE, n_rows)):
            mixed |= label != labels[order[start + i]]
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


@inline
def keep_sorted(labels, order, start, n_rows, counts, n_mixed, chunk):
    """Sort a chunk anew if it has become much more mixed; whether it was."""
    allowed = np.intp(_UNSORTED * n_mixed[chunk]) + n_rows // (8 * TILE)
    if count_mixed(labels, order, start, n_rows) <= allowed:
        return False
    sort_chunk(labels, order, start, n_rows, counts)
    n_mixed[chunk] = count_mixed(labels, order, start, n_rows)
    return True


@kernel
def sort_pass(tickets, n_chunks, chunk_rows, labels, n_labels, order, n_mixed):
    """Sort every chunk by its rows' labels, from 0 to ``n_labels`` excluded."""
    counts = np.empty(n_labels, np.int64)
    while True:
        chunk = next_chunk(tickets)
        if chunk >= n_chunks:
            return
        start = chunk * chunk_rows
        n_rows = min(chunk_rows, len(labels) - start)
        own = labels[start : start + n_rows]
        sort_chunk(own, order, start, n_rows, counts)
        n_mixed[chunk] = count_mixed(own, order, start, n_rows)
