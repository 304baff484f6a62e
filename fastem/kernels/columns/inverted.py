"""CSR rows by columns, in 16 bits: where a point has few values, few of the rows' are read.

The rows are cut into blocks. For each, the values of a column lie side by side, with the numbers of
their rows in the block.
"""

from typing import NamedTuple

import numpy as np

from fastem.kernels.runtime.chunks import ceil_div
from fastem.kernels.runtime.compiling import inline, kernel
from fastem.kernels.runtime.parallel import next_chunk, run
from fastem.kernels.vectors.vector import (
    broadcast,
    double,
    greater,
    greatest_of_lanes,
    load,
    magnitude,
)

# Blocks are of about so many rows, whose sums stay in the second-level cache; fewer where columns'
# ends would take more than this share of the rows' memory, and as many as threads are to share.
_ROWS, _STOPS_SHARE, _FEWEST_BLOCKS = 2048, 1 / 8, 4
_MOST_ROWS, _MOST_CODE = 1 << 15, 32767
# Rows of lesser values are taken for zeros: their inverse could overflow.
_LEAST = 2.0**-960
# Values whose greatest is looked for at once.
_LANES = 8


class Inverted(NamedTuple):
    """Rows by columns.

    Parameters
    ----------
    codes : int16 array of shape (2 * n_stored,)
        For each value its row, counted from the block's first, and its code.
    steps : float32 array of shape (n_rows,)
        What the codes of a row are multiples of: values err by less than 0.51 of it.
    starts : int64 array of shape (n_blocks,)
        Where each block's values begin.
    stops : int32 array of shape (n_blocks, n_features)
        Where each column's end, counted from there.
    """

    codes: np.ndarray
    steps: np.ndarray
    starts: np.ndarray
    stops: np.ndarray


@inline
def _greatest(data, start, stop):
    """The greatest magnitude of some values."""
    whole = stop - (stop - start) % _LANES
    lanes, most = broadcast(0.0, _LANES), 0.0
    for i in range(start, whole, _LANES):
        lanes = greater(lanes, magnitude(double(load(data, i, _LANES))))
    for i in range(whole, stop):
        most = max(most, abs(np.float64(data[i])))
    return max(most, greatest_of_lanes(lanes))


@kernel
def _invert(tickets, n_blocks, block_rows, rows, scale, inverted):
    codes, steps, starts, stops = inverted
    n_rows, n_features = len(steps), stops.shape[1]
    while True:
        block = next_chunk(tickets)
        if block >= n_blocks:
            return
        first, last = block * block_rows, min((block + 1) * block_rows, n_rows)
        begin, own = rows.indptr[first], stops[block]
        starts[block] = begin
        for f in range(n_features):
            own[f] = 0
        # Unsigned numbers can't count from an array's end, which takes instructions.
        for i in range(np.uint64(begin), np.uint64(rows.indptr[last])):
            own[np.uint64(rows.indices[i])] += np.int32(1)
        total = np.int32(0)
        for f in range(n_features):
            count = own[f]
            own[f] = total
            total += count
        for row in range(first, last):
            start, stop = rows.indptr[row], rows.indptr[row + 1]
            most = _greatest(rows.data, start, stop)
            # In float64: a step that is subnormal in float32 has few digits.
            factor = _MOST_CODE / most if most > _LEAST else 0.0
            steps[row] = most * scale / _MOST_CODE
            for i in range(np.uint64(start), np.uint64(stop)):
                f = np.uint64(rows.indices[i])
                at = np.uint64(2) * np.uint64(begin + own[f])
                own[f] += np.int32(1)
                codes[at] = row - first
                code = np.int32(np.rint(np.float64(rows.data[i]) * factor))
                codes[at + np.uint64(1)] = code


def block_size(X) -> int:
    """Of how many rows of a CSR matrix the blocks are."""
    n_rows, n_features = X.shape
    most = int(_STOPS_SHARE * (X.data.nbytes + X.indices.nbytes)) // (4 * n_features)
    n_blocks = max(min(ceil_div(n_rows, _ROWS), most), _FEWEST_BLOCKS)
    return min(ceil_div(n_rows, n_blocks), _MOST_ROWS)


def inverted_nbytes(X) -> int:
    """What the rows take by columns."""
    n_rows, n_features = X.shape
    return 4 * (X.nnz + n_rows + n_features * ceil_div(n_rows, block_size(X)))


def inverted_rows(rows, block_rows, n_features, scale) -> Inverted:
    """CSR rows by columns.

    Parameters
    ----------
    rows : SparseRows
    block_rows : int
    n_features : int
    scale : float
        A power of two that the rows are multiplied by.
    """
    n_rows = len(rows.indptr) - 1
    n_blocks = ceil_div(n_rows, block_rows)
    inverted = Inverted(
        np.empty(2 * len(rows.data), np.int16),
        np.empty(n_rows, np.float32),
        np.empty(n_blocks, np.int64),
        np.empty((n_blocks, n_features), np.int32),
    )
    run(_invert, n_blocks, block_rows, rows, scale, inverted)
    return inverted
