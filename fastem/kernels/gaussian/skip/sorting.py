"""The order in which a block's rows are visited: component by component."""

import numpy as np

from fastem.kernels.runtime.compiling import inline, kernel
from fastem.kernels.runtime.parallel import next_chunk
from fastem.kernels.vectors.machine import TILE

# Rows of a component are sorted by how far the second most probable one is behind.
STEPS, _STEP = 8, 6.0

# A sorted block is sorted anew when it has so many more mixed tiles than it had.
_UNSORTED = 1.25


@inline
def sort_keys(log_joint, components, n_listed, greatest, second, keys):
    """Write each lane's key as a floating-point number.

    First the most probable component, then how far the next one is behind, in steps.

    Parameters
    ----------
    log_joint : array
        ``log_joint[j * TILE + lane]``, as ``log_joint_tile`` writes it.
    components : int array
        ``components[:n_listed]`` are those of interest.
    greatest, second : arrays of TILE values
        Scratch.
    keys : array of TILE values
    """
    for lane in range(TILE):
        greatest[lane] = -np.inf
        second[lane] = -np.inf
        keys[lane] = 0
    for i in range(n_listed):
        start = components[i] * TILE
        label = keys.dtype.type(components[i])
        for lane in range(TILE):
            value = log_joint[start + lane]
            closer = value > greatest[lane]
            other = greatest[lane] if closer else value
            second[lane] = other if other > second[lane] else second[lane]
            greatest[lane] = value if closer else greatest[lane]
            keys[lane] = label if closer else keys[lane]
    for lane in range(TILE):
        gap = np.float64(greatest[lane]) - np.float64(second[lane])
        gap = min(gap, 1e9) if gap > 0.0 else 0.0  # not a number where none is listed
        step = min(np.intp(gap / _STEP), STEPS - 1)
        keys[lane] = keys[lane] * STEPS + (STEPS - 1 - step)


@inline
def count_mixed(keys, order, start, n_rows, steps):
    """How many of a block's tiles have rows that differ in ``keys // steps``.

    Parameters
    ----------
    keys : int array of shape (n_rows,)
        The block's own.
    order : uint32 array
        All blocks' orders, this one's from ``start`` on.
    """
    n_mixed = 0
    for first in range(0, n_rows, TILE):
        mixed = False
        label = np.intp(keys[order[start + first]]) // steps
        for i in range(first + 1, min(first + TILE, n_rows)):
            mixed |= label != np.intp(keys[order[start + i]]) // steps
        n_mixed += mixed
    return n_mixed


@inline
def sort_block(keys, order, start, n_rows, counts):
    """Write the order of a block's rows by their keys, those of one key in their own order.

    Parameters
    ----------
    keys, order, start, n_rows
        As for :func:`count_mixed`.
    counts : int64 array
        Scratch, as long as there are keys.
    """
    counts[:] = 0
    for i in range(n_rows):
        counts[keys[i]] += 1
    before = 0
    for key in range(len(counts)):
        count = counts[key]
        counts[key] = before
        before += count
    for i in range(n_rows):
        key = keys[i]
        order[start + counts[key]] = i
        counts[key] += 1


@kernel
def sort_pass(tickets, n_blocks, block_rows, keys, n_keys, steps, order, n_mixed, is_new):
    """Sort those blocks by their rows' keys that have become much more mixed.

    Parameters
    ----------
    keys : uint16 or uint32 array of shape (n_rows,)
        From 0 to ``n_keys`` excluded, ``steps`` for each component.
    order : uint32 array of shape (n_rows,)
        Each block's rows as they are visited, relative to its first.
    n_mixed : int64 array of shape (n_blocks,)
        How many tiles had rows of several components after the last sort.
    is_new : bool array of shape (n_blocks,)
        Receives whether the block was sorted.
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
            sort_block(own, order, start, n_rows, counts)
            n_mixed[block] = count_mixed(own, order, start, n_rows, steps)
