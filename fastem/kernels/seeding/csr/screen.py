"""Bounds on what candidates would gain as seeds, from CSR rows by columns in 16 bits.

Of a text's values, a fifth lie in columns that one of a few candidates has.

A gain is ``d^2 - |x|^2 - |c|^2 + 2 x.c`` with the distance ``d`` to the nearest seed. As in
``fastem.kernels.kmeans.csr.table``, the sums of a row with ``n`` non-zeros err by at most
``(n + 24) 2^-24`` times ``d^2 + 2 |x|^2 + 2 |c|^2``, which leaves room for the rounding of float32
distances; and by the step of the row's codes times the sum of the magnitudes of ``c``. Where
numbers are subnormal, they err by less than ``_TINY`` more.
"""

import numpy as np

from fastem.kernels.columns.inverted import block_size, inverted_nbytes, inverted_rows
from fastem.kernels.runtime.compiling import inline, kernel
from fastem.kernels.runtime.memory import aligned_empty
from fastem.kernels.runtime.parallel import next_chunk, run
from fastem.kernels.seeding.base import no_bounds
from fastem.kernels.seeding.csr.points import BATCH
from fastem.kernels.vectors.vector import (
    bits,
    broadcast,
    double,
    fetch,
    greater,
    load,
    multiply_add,
    store,
)

# All of a row's bits: each point may be nearer.
ALL = (1 << BATCH) - 1
# What bounds the errors, with rows of fewer values, blocks of fewer, and squared lengths between
# this and its inverse, so that nothing overflows.
_SHARE, _MORE_TERMS, _TINY = 1.02 * 2.0**-24, 24, 2.0**-80
_MOST_STORED, _MOST_OF_BLOCK, _RANGE = 1 << 18, 1 << 31, 2.0**40


@inline
def _add_columns(inverted, block, features, lines, spans, sums):
    """Add the products of a block's rows with up to eight points, which have few features."""
    codes, _, starts, stops = inverted
    for n in range(1, len(features)):
        f = features[n]
        spans[n, 0] = starts[block] + (stops[block, f - 1] if f > 0 else 0)
        spans[n, 1] = starts[block] + stops[block, f]
        fetch(codes, 2 * spans[n, 0])
    for n in range(1, len(features)):
        line = load(lines, n * BATCH, BATCH)
        # Unsigned numbers can't count from an array's end, which takes instructions.
        for i in range(np.uint64(spans[n, 0]), np.uint64(spans[n, 1])):
            at = np.intp(codes[np.uint64(2) * i]) * BATCH
            code = broadcast(np.float32(codes[np.uint64(2) * i + np.uint64(1)]), BATCH)
            store(multiply_add(code, line, load(sums, at, BATCH)), sums, at)


@kernel
def _screen(
    tickets, n_blocks, block_rows, inverted, features, lines, norms, errors, squares, unit,
    sample_weight, closest, nearer, gains, total_errors,
):  # fmt: skip
    """Bound what up to eight points would gain as seeds.

    Parameters
    ----------
    inverted : Inverted
    features : int32 array of shape (n_lines,)
    lines : float32 array of shape (8 * n_lines,)
        As those of :class:`Placed`, times twice the rows' scale.
    norms : float32 array of shape (8,)
        The points' squared norms times ``unit``, infinite behind the last.
    errors : tuple of float
        The share of distances, of squared lengths, and of steps that gains err by; how much more.
    squares, unit, sample_weight, closest
        As for :func:`_try`.
    nearer : uint8 array of shape (n_rows,)
        Gets a bit for each point that may be nearer than the nearest seed.
    gains : float64 array of shape (n_blocks, 8)
        Gets by how much less each block's weighted sum of the distances would be.
    total_errors : float64 array of shape (n_blocks,)
        By how much these err at most.
    """
    sums, totals = aligned_empty(block_rows * BATCH), np.empty(BATCH)
    spans = np.empty((len(features), 2), np.int64)
    of_distance, of_square, of_step, more = errors
    while True:
        block = next_chunk(tickets)
        if block >= n_blocks:
            return
        for i in range(len(sums)):
            sums[i] = np.float32(0.0)
        _add_columns(inverted, block, features, lines, spans, sums)
        for j in range(BATCH):
            totals[j] = 0.0
        total, total_error = load(totals, 0, BATCH), 0.0
        first = block * block_rows
        for row in range(first, min(first + block_rows, len(closest))):
            near, square = np.float64(closest[row]), unit * squares[row]
            step = inverted.steps[row]
            error = of_distance * near + of_square * square + of_step * np.float64(step) + more
            gain = broadcast(np.float32(near - square), BATCH) - load(norms, 0, BATCH)
            product = load(sums, (row - first) * BATCH, BATCH)
            gain = multiply_add(broadcast(step, BATCH), product, gain)
            # What is not a number may be nearer, too.
            left = bits(gain <= broadcast(np.float32(-error), BATCH)) ^ np.uint64(ALL)
            nearer[row] = left
            weight = sample_weight[row] if len(sample_weight) else 1.0
            gain = greater(gain, broadcast(np.float32(0.0), BATCH))
            total = total + broadcast(weight, BATCH) * double(gain)
            total_error += weight * (error if left != np.uint64(0) else 0.0)
        store(total, totals, 0)
        for j in range(BATCH):
            gains[block, j] = totals[j]
        total_errors[block] = total_error


@kernel
def _scale(placed, n_points, scale, lines, norms):
    """Write placed points' values times twice a scale, and their squared norms times its square.

    Returns the greatest sum of a point's values so written, and the greatest norm.
    """
    sums = np.zeros(BATCH)
    for i in range(0, len(lines), BATCH):
        for j in range(BATCH):
            value = 2.0 * scale * placed.table[i + j]
            lines[i + j] = value
            sums[j] += abs(value)
    longest = most = 0.0
    for j in range(BATCH):
        norm = scale**2 * placed.norms[0, j]
        norms[j] = norm
        longest = max(longest, sums[j])
        if j < n_points:
            most = max(most, norm)
    return longest, most


@kernel
def _add_up(gains, errors, bounds):
    """Write the bounds that blocks' gains and errors add up to."""
    error = 0.0
    for block in range(len(errors)):
        error += errors[block]
    for j in range(bounds.shape[1]):
        gain = 0.0
        for block in range(len(errors)):
            gain += gains[block, j]
        bounds[0, j], bounds[1, j] = gain - error, gain + error


class ColumnScreen:
    """Compares points with CSR rows by columns.

    Parameters
    ----------
    rows : SparseRows
    block_rows : int
        As ``screened_rows`` returns it.
    squares : ndarray of shape (n_rows,), float64
        The rows' squared norms.
    sample_weight : float64 array of n_rows values, or of none
    n_features : int
    scale : float
        A power of two that the rows are multiplied by.
    """

    def __init__(self, rows, block_rows, squares, sample_weight, n_features, scale):
        self._block_rows, self._scale = block_rows, scale
        self._inverted = inverted_rows(rows, block_rows, n_features, scale)
        self._squares, self._weight = squares, sample_weight
        self._share = _SHARE * (int(np.diff(rows.indptr).max()) + _MORE_TERMS)

    def bounds(self, placed, n_points, closest, nearer):
        """Bounds on what each point would gain, (2, n_points).

        Parameters
        ----------
        placed : Placed
        n_points : int
        closest, nearer
            As for ``_screen``; all bits of ``nearer`` are set before.
        """
        n_lines = placed.n_lines
        lines, norms = np.empty(BATCH * n_lines, np.float32), np.empty(BATCH, np.float32)
        longest, most = _scale(placed, n_points, self._scale, lines, norms)
        if not most < _RANGE:
            return no_bounds(n_points)
        share, n_blocks = self._share, len(self._inverted.starts)
        gains, errors = np.empty((n_blocks, BATCH)), np.empty(n_blocks)
        run(
            _screen,
            n_blocks,
            self._block_rows,
            self._inverted,
            placed.features[:n_lines],
            lines,
            norms,
            (share, 2 * share, 0.52 * longest, 2 * share * most + _TINY),
            self._squares,
            self._scale**2,
            self._weight,
            closest,
            nearer,
            gains,
            errors,
        )
        bounds = np.empty((2, n_points))
        _add_up(gains, errors, bounds)
        return bounds


def screened_rows(X, squares, scale, room):
    """Of how many rows blocks are, 0 if there is no room for X by columns, or bounds don't hold.

    Parameters
    ----------
    X : CSR matrix
    squares : ndarray of shape (n_rows,), float64
        The rows' squared norms.
    scale : float
    room : int
        How many bytes they may take.
    """
    if inverted_nbytes(X) > room:
        return 0
    block_rows, most = block_size(X), int(np.diff(X.indptr).max())
    fits = most < _MOST_STORED and most * block_rows < _MOST_OF_BLOCK
    return block_rows if fits and 1 / _RANGE < scale**2 * squares.max() < _RANGE else 0
