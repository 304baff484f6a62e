"""The order of rows along a curve that leaves a part of space when it has seen it all.

Cells of a grid have the bits of their coordinates in turn as their numbers (G. M. Morton, "A
computer oriented geodetic data base", IBM 1966). Rows are sorted by their cells, by counting.
"""

from typing import NamedTuple

import numpy as np

from fastem.kernels.runtime.arrays import read_only
from fastem.kernels.runtime.chunks import ceil_div
from fastem.kernels.runtime.compiling import inline, kernel
from fastem.kernels.runtime.parallel import next_chunk, run
from fastem.kernels.vectors.machine import TILE

# Rows of a cell there are to be on average, bits of a cell's number that are enough, and at most.
_CELL_ROWS, _ENOUGH_BITS, _MOST_BITS = 16, 14, 16
# The grid spans all of so many rows but this share at either end: few far rows don't widen it.
_SAMPLE, _OUTSIDE = 1024, 1 / 128
# Groups of rows are counted apart, by a thread each.
_MOST_GROUPS, _GROUP_ROWS = 8, 1 << 17


class Grid(NamedTuple):
    """Cells, each feature's side in ``len(spread)`` parts; rows outside belong to those at the end.

    Parameters
    ----------
    lows, inverses : ndarray of shape (n_features,)
        Where the grid begins, and how many cells there are to a unit.
    spread : ndarray of int32
        The bits of a cell's place along the first feature within its number.
    """

    lows: np.ndarray
    inverses: np.ndarray
    spread: np.ndarray


def _grid(X):
    n_rows, n_features = X.shape
    n_bits = round(np.log2(max(n_rows / _CELL_ROWS, 2)) / n_features)
    n_bits = max(1, min(n_bits, ceil_div(_ENOUGH_BITS, n_features), _MOST_BITS // n_features))
    numbers = np.arange(1 << n_bits)
    spread = np.zeros(len(numbers), np.int32)
    for bit in range(n_bits):
        spread |= ((numbers >> bit & 1) << (bit * n_features)).astype(np.int32)
    sample = np.sort(X[:: ceil_div(n_rows, _SAMPLE)].astype(np.float64), axis=0)
    outside = int(len(sample) * _OUTSIDE)
    lows, highs = sample[outside], sample[len(sample) - 1 - outside]
    widths = 0.5 * highs - 0.5 * lows  # differences stay in range
    inverses = np.zeros(n_features)
    wide = widths > np.finfo(np.float64).tiny * len(numbers)
    inverses[wide] = 0.5 * len(numbers) / widths[wide]
    return Grid(lows, inverses, spread)


@inline
def _cell_of(X, row, grid):
    cell, last = 0, np.float64(len(grid.spread) - 1)
    for f in range(X.shape[1]):
        place = (X[row, f] - grid.lows[f]) * grid.inverses[f]
        if not place > 0.0:
            place = 0.0
        cell |= np.intp(grid.spread[np.intp(min(place, last))]) << f
    return cell


@kernel
def _count_pass(tickets, n_groups, X, grid, cells, counts):
    """Find the rows' cells, and count each group's rows of each cell.

    Parameters
    ----------
    X : array of shape (n_rows, n_features)
    grid : Grid
    cells : uint16 array of shape (n_rows,)
    counts : int32 array of shape (n_groups, n_cells)
        Zeros before.
    """
    n_rows = len(X)
    while True:
        group = next_chunk(tickets)
        if group >= n_groups:
            return
        for row in range(group * n_rows // n_groups, (group + 1) * n_rows // n_groups):
            cell = _cell_of(X, row, grid)
            cells[row] = cell
            counts[group, cell] += 1


@kernel
def _place_pass(tickets, n_groups, cells, places, order):
    """Write the rows' numbers to their cells' places, which ``places`` counts up."""
    n_rows = len(cells)
    while True:
        group = next_chunk(tickets)
        if group >= n_groups:
            return
        for row in range(group * n_rows // n_groups, (group + 1) * n_rows // n_groups):
            cell = cells[row]
            order[places[group, cell]] = row
            places[group, cell] += 1


@kernel
def _counts_to_places(counts):
    """Turn the counts into where each cell's rows of each group begin."""
    place = 0
    for cell in range(counts.shape[1]):
        for group in range(counts.shape[0]):
            count = counts[group, cell]
            counts[group, cell] = place
            place += count


def order_on_curve(X):
    """The rows' numbers in their order along the curve.

    Parameters
    ----------
    X : ndarray of shape (n_rows, n_features), float32 or float64, C-contiguous
        Of at most ``near.NARROW`` features.

    Returns
    -------
    ndarray of int32
        In whole tiles: the last row's number fills up the last one.
    """
    n_rows = len(X)
    grid = _grid(X)
    n_groups = max(1, min(_MOST_GROUPS, n_rows // _GROUP_ROWS))
    cells = np.empty(n_rows, np.uint16)
    places = np.zeros((n_groups, len(grid.spread) ** X.shape[1]), np.int32)
    order = np.empty(ceil_div(n_rows, TILE) * TILE, np.int32)
    run(_count_pass, n_groups, read_only(X), grid, cells, places)
    _counts_to_places(places)
    run(_place_pass, n_groups, cells, places, order)
    order[n_rows:] = order[n_rows - 1]
    return order
